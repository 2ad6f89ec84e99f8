//! What the next requests get in place of, or beside, what they would: refusals, odd answers, slow ones, and none at all.

use std::{collections::BTreeMap, time::Duration};

use axum::http::{HeaderName, StatusCode, header::CONTENT_TYPE, header::LOCATION};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::{
    answer::Reply,
    asked::{Asked, Endpoint},
};

/// Before the work (nothing is consumed or rotated), or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum When {
    Before,
    After,
}

impl When {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What is to happen with the next requests of an endpoint, as `/simulate/next` takes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Act {
    /// Of which endpoint.
    endpoint: Endpoint,
    /// Only of this path.
    path: Option<String>,
    /// Only of this grant.
    grant: Option<String>,
    /// How many; one unless given.
    #[serde(default = "once")]
    times: u32,
    /// The answer's, in place of the real one.
    status: Option<u16>,
    /// Name and value; the answer's, beside the real ones where there is a real answer.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text is sent as it is, anything else as JSON.
    body: Option<Value>,
    /// Sends elsewhere, with 307 unless there is a status.
    redirect: Option<String>,
    /// Laid over the members of the real answer, or over the parameters of where it sends a person; null takes one away.
    merge: Option<Map<String, Value>>,
    /// Does the work although the answer is another.
    #[serde(default)]
    work: bool,
    /// Answers later, by everybody's clock.
    #[serde(default)]
    delay_milliseconds: u64,
    /// Waits for `/simulate/release`.
    pub(super) hold: Option<When>,
    /// Ends the connection in place of answering.
    pub(super) drop: Option<When>,
}

fn once() -> u32 {
    1
}

impl Act {
    /// Whether the request has its effect.
    pub(super) fn works(&self) -> bool {
        self.drop != Some(When::Before) && (self.work || !self.replaces())
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_milliseconds)
    }

    fn replaces(&self) -> bool {
        self.status.is_some() || self.body.is_some() || self.redirect.is_some()
    }

    /// Makes the answer what it is to be.
    pub(super) fn shape(&self, mut reply: Reply) -> Reply {
        if self.replaces() {
            let otherwise = if self.redirect.is_some() { 307 } else { 200 };
            reply.status = StatusCode::from_u16(self.status.unwrap_or(otherwise)).unwrap_or(reply.status);
            reply.headers.clear();
            let (body, is_json) = match &self.body {
                None => (String::new(), false),
                Some(Value::String(text)) => (text.clone(), false),
                Some(value) => (value.to_string(), true),
            };
            reply.body = body.into_bytes();
            if is_json && !self.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
                reply = reply.header(CONTENT_TYPE, "application/json");
            }
            if let Some(to) = &self.redirect {
                reply = reply.header(LOCATION, to);
            }
        }
        if let Some(members) = &self.merge {
            lay_over(&mut reply, members);
        }
        for (name, value) in &self.headers {
            if let Ok(name) = name.parse::<HeaderName>() {
                reply.headers.retain(|(known, _)| *known != name);
                reply = reply.header(name, value);
            }
        }
        reply
    }

    /// What makes no sense in it, as a sentence.
    fn fault(&self) -> Option<String> {
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return Some("`status` is from 200 to 599.".into());
        }
        if self.times == 0 {
            return Some("`times` is at least 1.".into());
        }
        if let Some(name) = self.headers.keys().find(|name| name.parse::<HeaderName>().is_err()) {
            return Some(format!("`{name}` is not the name of a header."));
        }
        (self.merge.is_some() && self.replaces())
            .then(|| "`merge` is for the real answer, and this one is another.".into())
    }
}

fn lay_over(reply: &mut Reply, members: &Map<String, Value>) {
    for (_, value) in reply.headers.iter_mut().filter(|(name, _)| *name == LOCATION) {
        let Ok(mut url) = Url::parse(value) else { continue };
        let kept: Vec<(String, String)> =
            url.query_pairs().into_owned().filter(|(name, _)| !members.contains_key(name)).collect();
        let laid = members.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        url.query_pairs_mut().clear().extend_pairs(kept.into_iter().chain(laid));
        *value = url.into();
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(&reply.body) else { return };
    for (name, value) in members {
        match value {
            Value::Null => drop(body.remove(name)),
            value => drop(body.insert(name.clone(), value.clone())),
        }
    }
    reply.body = Value::Object(body).to_string().into_bytes();
}

/// What is still to happen, in order.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<Act>);

impl Script {
    /// Adds to the end.
    ///
    /// # Errors
    /// A sentence that says what makes no sense.
    pub(super) fn add(&mut self, act: Act) -> Result<(), String> {
        match act.fault() {
            Some(fault) => Err(fault),
            None => {
                self.0.push(act);
                Ok(())
            }
        }
    }

    /// What is to happen with this request: the first that is meant for it.
    pub(super) fn take(&mut self, asked: &Asked) -> Option<Act> {
        let index = self.0.iter().position(|act| {
            act.endpoint == asked.endpoint
                && act.path.as_ref().is_none_or(|path| *path == asked.path)
                && act.grant.as_deref().is_none_or(|grant| asked.grant() == Some(grant))
        })?;
        self.0[index].times -= 1;
        if self.0[index].times == 0 { Some(self.0.remove(index)) } else { Some(self.0[index].clone()) }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Method, Uri};
    use serde_json::json;

    use super::*;

    fn act(json: Value) -> Act {
        serde_json::from_value(json).unwrap()
    }

    fn api(path: &'static str) -> Asked {
        Asked::read(Method::GET, &Uri::from_static(path), HeaderMap::new(), axum::body::Bytes::new())
    }

    #[test]
    fn each_act_is_for_so_many_requests_of_its_own() {
        let mut script = Script::default();
        script.add(act(json!({ "endpoint": "token", "status": 500 }))).unwrap();
        script.add(act(json!({ "endpoint": "api", "path": "/api/me", "times": 2, "status": 503 }))).unwrap();
        assert!(script.take(&api("/api/items")).is_none());
        assert!(script.take(&api("/api/me")).is_some() && script.take(&api("/api/me")).is_some());
        assert!(script.take(&api("/api/me")).is_none());
    }

    #[test]
    fn an_answer_is_replaced_verbatim_or_laid_over() {
        let real = || Reply::json(StatusCode::OK, &json!({ "a": 1, "b": 2 }));
        let body = r#"{"a":1,"a":2}"#;
        let replaced = act(json!({ "endpoint": "token", "status": 502, "body": body, "headers": { "x-a": "b" } }));
        assert!(!replaced.works());
        let reply = replaced.shape(real());
        assert_eq!((reply.status.as_u16(), reply.body.as_slice()), (502, body.as_bytes()));
        assert_eq!(reply.headers, [(HeaderName::from_static("x-a"), "b".to_owned())]);
        let merged = act(json!({ "endpoint": "token", "merge": { "a": "x", "b": null } }));
        assert!(merged.works());
        assert_eq!(merged.shape(real()).body, br#"{"a":"x"}"#);
        let callback =
            act(json!({ "endpoint": "authorize", "merge": { "iss": "https://other.example", "state": null } }))
                .shape(Reply::redirect("http://127.0.0.1:1/?code=a&state=b&iss=c"));
        assert_eq!(callback.headers[1].1, "http://127.0.0.1:1/?code=a&iss=https%3A%2F%2Fother.example");
        let redirected = act(json!({ "endpoint": "token", "redirect": "http://127.0.0.1:1/" })).shape(real());
        assert_eq!((redirected.status.as_u16(), redirected.headers[0].1.as_str()), (307, "http://127.0.0.1:1/"));
    }

    #[test]
    fn an_answer_that_is_lost_before_the_work_has_no_effect() {
        assert!(!act(json!({ "endpoint": "token", "drop": "before" })).works());
        assert!(act(json!({ "endpoint": "token", "drop": "after" })).works());
        assert!(act(json!({ "endpoint": "token", "status": 502, "work": true })).works());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        for (json, words) in [
            (json!({ "endpoint": "token", "status": 99 }), "from 200 to 599"),
            (json!({ "endpoint": "token", "times": 0 }), "at least 1"),
            (json!({ "endpoint": "token", "headers": { "a b": "" } }), "not the name of a header"),
            (json!({ "endpoint": "token", "status": 200, "merge": {} }), "this one is another"),
        ] {
            assert!(Script::default().add(act(json)).unwrap_err().contains(words), "{words}");
        }
        let unknown = serde_json::from_value::<Act>(json!({ "endpoint": "token", "dealy": 1 }));
        assert!(unknown.unwrap_err().to_string().contains("unknown field `dealy`"));
    }
}
