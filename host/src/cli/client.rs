//! How verbs ask the host. Where one runs on the data directory, through its socket; with `--server`, over the network, with a
//! caller key; else this process is the host, which has the store open for as long as one answer takes. The API is the same.

use std::{collections::BTreeMap, io::Write, os::unix::net::UnixStream, sync::Arc};

use axum::{
    Extension,
    body::{Body, to_bytes},
};
use bytes::BytesMut;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, UPGRADE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tower::ServiceExt;
use url::{Url, form_urlencoded};

use super::{given, with_host};
use crate::{
    backup::BackedUp,
    connect::ConnectProposal,
    error::{Error, Kind, Result},
    host::Host,
    secret::Secret,
    server::{
        api::{Api, List, Operator, Proposals, Written},
        backup::{Asked, Part},
        control::{CALLER, socket},
        mcp::stdio::{PROTOCOL, Wanted},
        rotation,
    },
    settings::Settings,
    store::{NewKey, Rotated, unwritten},
    transport::{no_client, trusting_also, why_none_came},
};

/// What stands in a segment of a path as it is (RFC 3986, 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Asks a host.
pub(super) struct Client {
    way: Way,
    caller: String,
    environment: Option<String>,
}

enum Way {
    /// This process.
    Here { settings: Box<Settings>, proposals: Arc<Proposals> },
    /// The one that runs on the data directory.
    Socket(reqwest::Client),
    /// One elsewhere.
    Server { client: reqwest::Client, base: Url, key: Secret },
}

/// A host elsewhere, and the key that it is asked with.
pub(super) struct Server {
    pub(super) url: Url,
    pub(super) key: Secret,
}

/// What is sent along.
enum Content {
    Nothing,
    Json(Vec<u8>),
    Wasm(Vec<u8>),
}

impl Client {
    /// The way there is now. `environment` is none where a caller key decides.
    pub(super) fn new(
        settings: &Settings,
        server: Option<Server>,
        caller: &str,
        environment: Option<&str>,
    ) -> Result<Self> {
        let way = match server {
            Some(Server { url, key }) => {
                let is_plain = url.scheme() == "http";
                let ca_file = settings.ca_file.as_ref().map(|it| it.value.as_path()).filter(|_| !is_plain);
                let builder = trusting_also(reqwest::Client::builder(), ca_file)?;
                Way::Server { client: http_client(builder, is_plain)?, base: url, key }
            }
            None if somebody_serves(settings) => {
                let socket = socket(&settings.data_dir.value);
                Way::Socket(http_client(reqwest::Client::builder().unix_socket(socket), true)?)
            }
            None => Way::Here { settings: Box::new(settings.clone()), proposals: Arc::default() },
        };
        Ok(Self { way, caller: caller.to_owned(), environment: environment.map(str::to_owned) })
    }

    /// Whether this process is the host.
    pub(super) fn is_here(&self) -> bool {
        matches!(self.way, Way::Here { .. })
    }

    /// What was proposed in this process.
    pub(super) fn proposal(&self, id: &str) -> Result<Arc<ConnectProposal>> {
        match &self.way {
            Way::Here { proposals, .. } => proposals.connection(id),
            _ => Err(Kind::Internal.error("What was proposed is with the host that runs.")),
        }
    }

    /// The same, by another name.
    pub(super) fn called(self, caller: &str) -> Self {
        Self { caller: caller.to_owned(), ..self }
    }

    /// A connection to the host that runs, on which it speaks MCP from now on.
    pub(super) async fn become_mcp(&self, wanted: &Wanted) -> Result<reqwest::Upgraded> {
        let Way::Socket(client) = &self.way else {
            return Err(Kind::Internal.error("Only a host that runs on this machine is asked to speak MCP."));
        };
        let asked = client.post(self.uri(&["mcp"], &[])?).body(json(wanted)?).header(CONTENT_TYPE, "application/json");
        let asked = asked.header(CALLER, self.shown_caller()).header(CONNECTION, "upgrade").header(UPGRADE, PROTOCOL);
        let response = asked.send().await.map_err(|why| silent(&why))?;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return response.upgrade().await.map_err(|why| silent(&why));
        }
        answer(status, &response.bytes().await.map_err(|why| silent(&why))?)?;
        Err(garbled())
    }

    /// Has a backup made and writes it, as it comes.
    pub(super) async fn back_up(&self, passphrase: Option<Secret>, mut to: impl Write) -> Result<BackedUp> {
        let client = match &self.way {
            Way::Here { settings, .. } => {
                return with_host(settings, async |host| host.back_up(passphrase.as_ref(), to, &self.caller)).await;
            }
            Way::Socket(client) => client,
            Way::Server { .. } => return Err(Kind::Internal.error("A backup is asked for at the socket only.")),
        };
        let passphrase = passphrase.map(|it| BTreeMap::from([("passphrase".to_owned(), it)]));
        let passphrase = passphrase.map(given::texts).transpose()?.and_then(|mut texts| texts.remove("passphrase"));
        let asked = client.post(self.uri(&["backup"], &[])?).body(json(&Asked { passphrase })?);
        let asked = asked.header(CONTENT_TYPE, "application/json").header(CALLER, self.shown_caller());
        let mut response = asked.send().await.map_err(|why| silent(&why))?;
        let status = response.status();
        if !status.is_success() {
            let problem = response.bytes().await.map_err(|why| silent(&why))?;
            return Err(answer(status, &problem).err().unwrap_or_else(garbled));
        }
        let mut came = BytesMut::new();
        // One that ends in the middle says nothing more.
        while let Ok(Some(some)) = response.chunk().await {
            came.extend_from_slice(&some);
            while let Some(part) = Part::take(&mut came)? {
                match part {
                    Part::File(bytes) => to.write_all(&bytes).map_err(|error| unwritten(&error))?,
                    Part::Done(made) => return Ok(made),
                    Part::Failed(error) => return Err(error),
                }
            }
        }
        Err(Kind::StoreUnavailable
            .error("The host ended while it made the backup, which is therefore none.")
            .hint("Make it again."))
    }

    /// Has everything sealed anew under another key.
    pub(super) async fn rotate_key(&self, to: &NewKey) -> Result<Rotated> {
        match &self.way {
            Way::Here { settings, .. } => with_host(settings, async |host| host.rotate_key(to, &self.caller)).await,
            Way::Socket(_) => self.post(&["key", "rotate"], &rotation::Asked::of(to)).await,
            Way::Server { .. } => Err(Kind::Internal.error("A key is rotated at the socket only.")),
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T> {
        read(self.ask(Method::GET, path, query, Content::Nothing).await?)
    }

    /// Every item of a list.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Vec<T>> {
        let (mut all, mut query) = (Vec::new(), vec![("limit", "1000".to_owned())]);
        loop {
            let List { mut items, next } = self.get(path, &query).await?;
            all.append(&mut items);
            let Some(next) = next else { return Ok(all) };
            query = vec![("limit", "1000".to_owned()), ("after", next)];
        }
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        read(self.ask(Method::POST, path, &[], Content::Json(json(body)?)).await?)
    }

    pub(super) async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        read(self.ask(Method::PUT, path, &[], Content::Json(json(body)?)).await?)
    }

    pub(super) async fn patch<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        read(self.ask(Method::PATCH, path, &[], Content::Json(json(body)?)).await?)
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        read(self.ask(Method::DELETE, path, &[], Content::Nothing).await?)
    }

    /// Sends a connector's bytes.
    pub(super) async fn post_wasm<T: DeserializeOwned>(&self, path: &[&str], bytes: Vec<u8>) -> Result<T> {
        read(self.ask(Method::POST, path, &[], Content::Wasm(bytes)).await?)
    }

    async fn ask(&self, method: Method, path: &[&str], query: &[(&str, String)], content: Content) -> Result<Value> {
        let mut request = Request::builder().method(method).uri(self.uri(path, query)?);
        let body = match content {
            Content::Nothing => Vec::new(),
            Content::Json(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                body
            }
            Content::Wasm(body) => {
                request = request.header(CONTENT_TYPE, "application/wasm");
                body
            }
        };
        let request = request.body(body).map_err(|error| Kind::Internal.error(format!("No request: {error}.")))?;
        let (status, bytes) = match &self.way {
            Way::Here { settings, proposals } => self.ask_here(settings, proposals, request).await?,
            Way::Socket(client) => {
                send(client, request, (CALLER, self.shown_caller())).await.map_err(|why| silent(&why))?
            }
            Way::Server { client, base, key } => {
                let mut shown = HeaderValue::from_bytes(&[b"Bearer ", key.expose()].concat())
                    .map_err(|_| Kind::InvalidInput.error("The caller key has characters that no header takes."))?;
                shown.set_sensitive(true);
                send(client, request, (AUTHORIZATION.as_str(), shown)).await.map_err(|why| unreachable(base, &why))?
            }
        };
        answer(status, &bytes)
    }

    fn shown_caller(&self) -> HeaderValue {
        HeaderValue::from_str(&self.caller).unwrap_or(HeaderValue::from_static("cli"))
    }

    async fn ask_here(
        &self,
        settings: &Settings,
        proposals: &Arc<Proposals>,
        request: Request<Vec<u8>>,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let host = Arc::new(Host::open(settings)?);
        let api = Api::new(host.clone(), proposals.clone(), None);
        let operator = Extension(Operator { caller: self.caller.clone() });
        let routes = api.routes_for(request.uri()).layer(operator);
        let Ok(response) = routes.oneshot(request.map(Body::from)).await;
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await;
        let closed = host.close();
        let bytes = bytes.map_err(|error| Kind::Internal.error(format!("The answer was cut off: {error}.")))?;
        // What was asked for and failed matters more than that closing failed too.
        if status.is_success() {
            closed?;
        }
        Ok((status, bytes.to_vec()))
    }

    fn uri(&self, path: &[&str], query: &[(&str, String)]) -> Result<String> {
        let mut uri = String::from("/v1");
        for segment in path {
            uri.push('/');
            // A segment of dots would be taken for a way up.
            match *segment {
                "." | ".." | "" => return Err(Kind::NotFound.error(format!("There is nothing called `{segment}`."))),
                segment => uri.extend(utf8_percent_encode(segment, SEGMENT)),
            }
        }
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        if let Some(environment) = &self.environment {
            pairs.append_pair("environment", environment);
        }
        pairs.extend_pairs(query);
        let pairs = pairs.finish();
        if !pairs.is_empty() {
            uri = format!("{uri}?{pairs}");
        }
        Ok(match &self.way {
            Way::Here { .. } => uri,
            Way::Socket(_) => format!("http://localhost{uri}"),
            Way::Server { base, .. } => format!("{}{uri}", base.as_str().trim_end_matches('/')),
        })
    }
}

/// Whether a host runs on the data directory. A socket that nobody listens at was left behind; one that cannot be asked for is
/// explained by whoever then opens the store.
fn somebody_serves(settings: &Settings) -> bool {
    UnixStream::connect(socket(&settings.data_dir.value)).is_ok()
}

/// Where nothing of TLS is spoken, a machine without certificate authorities will do.
fn http_client(builder: reqwest::ClientBuilder, is_plain: bool) -> Result<reqwest::Client> {
    let builder = if is_plain { builder.tls_certs_only([]) } else { builder };
    let builder = builder.no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|why| no_client(&why))
}

async fn send(
    client: &reqwest::Client,
    request: Request<Vec<u8>>,
    (name, value): (&str, HeaderValue),
) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
    let (parts, body) = request.into_parts();
    let asked = client.request(parts.method, parts.uri.to_string()).headers(parts.headers).header(name, value);
    let response = asked.body(body).send().await?;
    let status = response.status();
    Ok((status, response.bytes().await?.to_vec()))
}

fn json(body: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| Kind::Internal.error(format!("No body: {error}.")))
}

/// What came back: a problem is the error that it was.
fn answer(status: StatusCode, bytes: &[u8]) -> Result<Value> {
    if status.is_success() {
        return if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(bytes).map_err(|_| garbled()) };
    }
    let problem: Written = serde_json::from_slice(bytes).map_err(|_| garbled())?;
    Err(problem.error())
}

fn read<T: DeserializeOwned>(json: Value) -> Result<T> {
    serde_json::from_value(json).map_err(|_| garbled())
}

fn silent(why: &reqwest::Error) -> Error {
    let why = why_none_came(why);
    Kind::NotFound.error(format!("The host that runs on this data directory does not answer: {why}."))
}

fn unreachable(base: &Url, why: &reqwest::Error) -> Error {
    let why = why_none_came(why);
    Kind::Unreachable
        .error(format!("The host at {base} cannot be reached: {why}."))
        .hint("Look whether it runs and the URL is its own; an authority that this machine does not know is named in `ca-file`.")
}

fn garbled() -> Error {
    Kind::Internal
        .error("What the host answered is not understood.")
        .hint("It may be of another version than this command; use the same.")
}
