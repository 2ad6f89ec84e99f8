//! What a page asks the HTTP API, in this process: the operator's word goes along, and the environment of the session, which no
//! page chooses.

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, header::CONTENT_TYPE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tower::ServiceExt;
use url::form_urlencoded;

use super::gate::{Acting, Visitor};
use crate::{
    error::{Error, Kind, Result},
    server::api::{List, Operator, Written},
};

/// What stands in a segment of a path as it is (RFC 3986, 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What one page shows of a list at most that does not grow with the accounts that are connected.
const LONGEST_LIST: &str = "1000";
/// What one page shows of a list that does.
const ROWS: &str = "100";

/// Which part of a list is looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    /// The name that the part before ended with.
    after: Option<String>,
    /// Who is looked for instead.
    name: Option<String>,
}

impl Place {
    /// The name, where somebody typed one.
    pub(super) fn looked_for(&self) -> Option<String> {
        self.name.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
    }
}

/// One part of a list.
pub(super) struct Part<T> {
    pub(super) items: Vec<T>,
    /// Whether it is the first.
    pub(super) is_first: bool,
    /// The query of the next one, if there is one.
    pub(super) next: Option<String>,
}

impl Visitor {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        read(self.ask(Method::GET, path, &[], "", Vec::new()).await?)
    }

    /// The items of a list, and whether there are more than a page shows.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &[&str]) -> Result<(Vec<T>, bool)> {
        let list: List<T> = read(self.ask(Method::GET, path, &[("limit", LONGEST_LIST)], "", Vec::new()).await?)?;
        Ok((list.items, list.next.is_some()))
    }

    /// One part of a list that may be long.
    pub(super) async fn part<T: DeserializeOwned>(&self, path: &[&str], place: &Place) -> Result<Part<T>> {
        let after = place.after.as_deref().map(|after| ("after", after));
        let query: Vec<_> = [("limit", ROWS)].into_iter().chain(after).collect();
        let list: List<T> = read(self.ask(Method::GET, path, &query, "", Vec::new()).await?)?;
        let onward =
            |after: String| form_urlencoded::Serializer::new(String::new()).append_pair("after", &after).finish();
        let next = list.next.map(onward);
        Ok(Part { items: list.items, is_first: place.after.is_none(), next })
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        content: &str,
        body: Vec<u8>,
    ) -> Result<Value> {
        let mut request = Request::builder().method(method).uri(self.uri(path, query)?);
        if !content.is_empty() {
            request = request.header(CONTENT_TYPE, content);
        }
        let operator = Operator { caller: self.session.who.caller.clone() };
        let request = request.extension(operator).body(Body::from(body));
        let request = request.map_err(|error| Kind::Internal.error(format!("No request: {error}.")))?;
        let Ok(response) = self.console.api.clone().oneshot(request).await;
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await;
        let bytes = bytes.map_err(|error| Kind::Internal.error(format!("The answer was cut off: {error}.")))?;
        match status.is_success() {
            true if bytes.is_empty() => Ok(Value::Null),
            true => serde_json::from_slice(&bytes).map_err(|_| garbled()),
            false => Err(serde_json::from_slice::<Written>(&bytes).map_err(|_| garbled())?.error()),
        }
    }

    fn uri(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String> {
        let mut uri = String::from("/v1");
        for segment in path {
            match *segment {
                // A segment of dots would be taken for a way up.
                "." | ".." | "" => return Err(Kind::NotFound.error(format!("There is nothing called `{segment}`."))),
                segment => uri.extend(["/"].into_iter().chain(utf8_percent_encode(segment, SEGMENT))),
            }
        }
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.append_pair("environment", self.environment()).extend_pairs(query);
        Ok(format!("{uri}?{}", pairs.finish()))
    }
}

impl Acting {
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        read(self.send(Method::POST, path, body).await?)
    }

    pub(super) async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        read(self.send(Method::PUT, path, body).await?)
    }

    pub(super) async fn patch<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        read(self.send(Method::PATCH, path, body).await?)
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        read(self.ask(Method::DELETE, path, &[], "", Vec::new()).await?)
    }

    /// Sends a connector's bytes.
    pub(super) async fn post_wasm<T: DeserializeOwned>(&self, path: &[&str], bytes: Vec<u8>) -> Result<T> {
        read(self.ask(Method::POST, path, &[], "application/wasm", bytes).await?)
    }

    async fn send(&self, method: Method, path: &[&str], body: &impl Serialize) -> Result<Value> {
        let bytes = serde_json::to_vec(body).map_err(|error| Kind::Internal.error(format!("No body: {error}.")))?;
        self.ask(method, path, &[], "application/json", bytes).await
    }
}

fn read<T: DeserializeOwned>(json: Value) -> Result<T> {
    serde_json::from_value(json).map_err(|_| garbled())
}

fn garbled() -> Error {
    Kind::Internal.error("What the API answered is not understood.")
}
