//! The guest's one way out. A request is parsed once, judged, given its credential, written to the audit, sent, followed
//! through its redirects, and scrubbed; each of these is done in one place, in that order, on every hop.
//!
//! It may call `credential`, `transport`, `manifest` and `audit`. It knows nothing of wasmtime, and decides nothing about
//! consent: what a connection may reach is handed in as [`Access`]. What must never happen here: a credential on a request
//! to an origin outside the audience; a request that should carry one and does not; an answer to the guest that was not
//! scrubbed; a request that the audit does not know of.

mod headers;
mod policy;
mod redirect;
mod scrub;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

pub use policy::{Destination, Reachable};
pub use scrub::SHORTEST as SHORTEST_SCRUBBED;

use crate::{
    audit::{Audit, Event, Subject},
    credential::{self, Attached, Existing},
    error::{Error, Kind, Result},
    manifest::{Attachment, Values, jwt::Jwt, template::Moment},
    secret::Secret,
    transport::{self, Outgoing, PoolKey, Transport},
};

/// Redirects that one request may be led through; RFC 9110 section 15.4 leaves the number to the client, and browsers
/// stop at 20.
const REDIRECTS: usize = 10;

/// A request as the guest asked for it.
#[derive(Debug)]
pub struct Request {
    /// As written.
    pub method: String,
    /// As written.
    pub url: String,
    /// As written, in order.
    pub headers: Vec<(String, String)>,
    /// None for no body.
    pub body: Option<Vec<u8>>,
    /// Whether it is to carry the credential.
    pub attach: bool,
}

/// An answer as the guest may see it.
#[derive(Debug)]
pub struct Response {
    /// RFC 9110 status code.
    pub status: u16,
    /// In order, scrubbed.
    pub headers: Vec<(String, String)>,
    /// Decoded and scrubbed.
    pub body: Vec<u8>,
}

/// Everything about one connection that its requests depend on.
pub struct Access {
    /// Whose pool of network connections is used.
    pub pool: PoolKey,
    /// Where it may go.
    pub reachable: Reachable,
    /// What is put on.
    pub attachments: Vec<Attachment>,
    /// Which tokens are made for that.
    pub jwts: Vec<Jwt>,
    /// With which values.
    pub values: Values,
    /// What the transport allows.
    pub limits: transport::Limits,
}

/// What a dry run shows instead of sending.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The method.
    pub method: Method,
    /// The URL, with attached values masked.
    pub url: String,
    /// What the connector wrote, and what is attached with its value masked, in order.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// Where credentials were put.
    pub attached: Vec<String>,
    /// What the origin is to the connection.
    pub destination: Destination,
}

/// The requests of one call.
pub struct Session {
    access: Arc<Access>,
    transport: Arc<Transport>,
    audit: Arc<Audit>,
    subject: Subject,
    /// The last request that the host refused or could not deliver: what the caller is told if the call fails.
    fault: Arc<Mutex<Option<Error>>>,
    preview: Option<Arc<Mutex<Option<Preview>>>>,
}

impl Session {
    /// For one call of one connection.
    pub fn new(access: Arc<Access>, transport: Arc<Transport>, audit: Arc<Audit>, subject: Subject) -> Self {
        Self { access, transport, audit, subject, fault: Arc::default(), preview: None }
    }

    /// Instead of sending the first request, shows it.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.preview = Some(Arc::default());
        self
    }

    /// Where the last refusal is noted, for the one who reports the call's end.
    pub fn fault(&self) -> Arc<Mutex<Option<Error>>> {
        self.fault.clone()
    }

    /// Where a dry run's request is noted.
    pub fn preview(&self) -> Option<Arc<Mutex<Option<Preview>>>> {
        self.preview.clone()
    }

    /// Whether a dry run has seen what it wanted to see.
    pub fn is_over(&self) -> bool {
        self.preview.as_ref().is_some_and(|preview| lock(preview).is_some())
    }

    /// Sends one request of the guest's.
    ///
    /// # Errors
    /// With a sentence that says what was refused and what would allow it. It is the guest's to handle, and noted as the
    /// call's own fault besides.
    pub async fn send(&self, request: Request) -> Result<Response> {
        let answer = self.follow(request).await;
        // A later request that went well means that the guest got over the earlier refusal.
        *lock(&self.fault) = answer.as_ref().err().cloned();
        answer
    }

    async fn follow(&self, request: Request) -> Result<Response> {
        let mut method = parse_method(&request.method)?;
        let mut url = parse_url(&request.url)?;
        let mut headers = headers::from_guest(&request.headers)?;
        let mut body = Bytes::from(request.body.unwrap_or_default());
        let mut attached_before: Vec<Secret> = Vec::new();
        for hop in 0..=REDIRECTS {
            let destination = self
                .access
                .reachable
                .judge(&url)
                .inspect_err(|error| self.note_denied(&method, &without(&attached_before, &url), error))?;
            let mut outgoing =
                Outgoing { method: method.clone(), url: url.clone(), headers: headers.clone(), body: body.clone() };
            let attached = self.attach(destination, request.attach, hop, &attached_before, &mut outgoing)?;
            if let Some(preview) = &self.preview {
                *lock(preview) = Some(show(&outgoing, &url, &attached, destination));
                return Err(Kind::Internal.error("A dry run sends nothing."));
            }
            // The URL without what was attached, since that may be in the path.
            let shown = without(&attached_before, &url);
            self.audit.write(&Event::request(&self.subject, &method, &shown, hop, &attached.places))?;
            let sent = self
                .transport
                .send(&self.access.pool, &self.access.reachable.private, outgoing, &self.access.limits)
                .await;
            let answer = match sent {
                Ok(answer) => answer,
                Err(fault) => {
                    self.audit.write(&Event::fault(&self.subject, &fault.to_string()))?;
                    return Err(fault.into());
                }
            };
            attached_before.extend(attached.values);
            match redirect::next(&method, &url, answer.status, &answer.headers)
                .inspect_err(|error| self.note_denied(&method, &without(&attached_before, &url), error))?
            {
                None => return self.hand_over(answer, &attached_before),
                Some(next) => {
                    self.audit.write(&Event::answer(&self.subject, answer.status.as_u16(), answer.body.len(), 0))?;
                    (method, url) = (next.method, next.url);
                    if !next.keeps_body {
                        redirect::without_body(&mut headers, &mut body);
                    }
                }
            }
        }
        Err(Kind::ServiceFailed.error(format!("The service redirected more than {REDIRECTS} times.")))
    }

    /// Puts the credential on where the origin is in the audience, and nowhere else.
    fn attach(
        &self,
        destination: Destination,
        wanted: bool,
        hop: usize,
        attached_before: &[Secret],
        outgoing: &mut Outgoing,
    ) -> Result<Attached> {
        let existing = if hop == 0 { Existing::Refuse } else { Existing::Replace };
        let shown = without(attached_before, &outgoing.url);
        let result = match destination {
            Destination::Audience if wanted => {
                let Access { attachments, jwts, values, .. } = &*self.access;
                // Each hop is a request of its own: a service that saw a nonce does not take it again.
                credential::attach(attachments, jwts, values, &Moment::now(), existing, outgoing)
            }
            // What goes without the credential it should carry is an error, not a 401 that nobody understands.
            Destination::Open if wanted && hop == 0 && !self.access.attachments.is_empty() => Err(Kind::Denied
                .error(format!(
                    "{} is an open host, which is called without the credential.",
                    outgoing.url.origin().ascii_serialization()
                ))
                .hint(
                    "The connector must send this request with `credential: omit`, or name the origin in its audience.",
                )),
            _ => self.refuse_carried_over(attached_before, outgoing).map(|()| Attached::default()),
        };
        result.inspect_err(|error| self.note_denied(&outgoing.method, &shown, error))
    }

    /// A service that saw the credential may write it into a redirect that leaves the audience.
    fn refuse_carried_over(&self, attached_before: &[Secret], outgoing: &Outgoing) -> Result<()> {
        let mut text = outgoing.url.as_str().to_owned();
        if scrub::Scrubber::new(attached_before).mask_text(&mut text) == 0 {
            return Ok(());
        }
        Err(Kind::Denied
            .error("The service redirects out of the audience with the credential in the URL, which is not followed.")
            .hint("If that origin is trusted with the credential, the connector must name it in its audience."))
    }

    fn hand_over(&self, answer: transport::Incoming, attached: &[Secret]) -> Result<Response> {
        let scrubber = scrub::Scrubber::new(attached);
        let mut body = Vec::from(answer.body);
        let mut masked = scrubber.mask(&mut body);
        let mut headers = headers::for_guest(&answer.headers);
        for (name, value) in &mut headers {
            masked += scrubber.mask_text(name) + scrubber.mask_text(value);
        }
        self.audit.write(&Event::answer(&self.subject, answer.status.as_u16(), body.len(), masked))?;
        Ok(Response { status: answer.status.as_u16(), headers, body })
    }

    fn note_denied(&self, method: &Method, url: &Url, error: &Error) {
        if self.preview.is_none()
            && let Err(unwritable) = self.audit.write(&Event::denied(&self.subject, method, url, error.message()))
        {
            // Nothing was sent, so the refusal itself stands; the next request will not pass the audit.
            tracing::error!(error = %unwritable, "the audit cannot be written");
        }
    }
}

/// What a rehearsal found out.
#[derive(Debug, Default)]
pub struct Rehearsed {
    /// Where the credential is placed, with names filled in.
    pub places: Vec<String>,
    /// Secrets that are too short to be scrubbed.
    pub short_secrets: Vec<String>,
}

/// Puts a connection's attachments on a request that is never sent, to find out when connecting, and not at the first
/// call, that a value does not fit.
///
/// # Errors
/// As for [`credential::attach`].
pub fn rehearse(attachments: &[Attachment], jwts: &[Jwt], values: &Values, url: &Url) -> Result<Rehearsed> {
    // A method that has content, since the credential may have its place there.
    let mut outgoing =
        Outgoing { method: Method::POST, url: url.clone(), headers: HeaderMap::new(), body: Bytes::new() };
    let attached = credential::attach(attachments, jwts, values, &Moment::now(), Existing::Refuse, &mut outgoing)?;
    let short = values.secret().iter().filter(|(_, value)| value.len() < SHORTEST_SCRUBBED);
    Ok(Rehearsed { places: attached.places, short_secrets: short.map(|(name, _)| name.clone()).collect() })
}

fn parse_method(method: &str) -> Result<Method> {
    match Method::from_bytes(method.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => {
            Err(Kind::Denied
                .error("The methods CONNECT and TRACE are not sent: one opens a tunnel, the other reflects."))
        }
        Ok(method) => Ok(method),
        Err(_) => Err(Kind::InvalidInput.error("The request's method is not a token (RFC 9110 section 9.1).")),
    }
}

fn parse_url(url: &str) -> Result<Url> {
    // Tabs and line breaks are dropped by URL parsers, so what was judged by eye is not what is sent.
    if url.chars().any(char::is_control) {
        return Err(Kind::InvalidInput.error("The request's URL holds a control character."));
    }
    let mut parsed =
        Url::parse(url).map_err(|error| Kind::InvalidInput.error(format!("The request's URL is not one: {error}.")))?;
    parsed.set_fragment(None);
    Ok(parsed)
}

/// A URL as it may be written down: a service that redirects may have put into its path what was attached.
fn without(attached: &[Secret], url: &Url) -> Url {
    let mut path = url.path().to_owned();
    let mut shown = url.clone();
    if scrub::Scrubber::new(attached).mask_text(&mut path) > 0 {
        shown.set_path(&path);
    }
    shown
}

/// `asked` is the URL before anything was attached.
fn show(outgoing: &Outgoing, asked: &Url, attached: &Attached, destination: Destination) -> Preview {
    let scrubber = scrub::Scrubber::new(&attached.values);
    let mut url = outgoing.url.clone();
    // By its place: a value too short to be scrubbed is hidden too.
    if attached.places.iter().any(|place| place.starts_with("path ")) {
        url.set_path(&format!("/********{}", asked.path()));
    }
    let mut url = url.to_string();
    scrubber.mask_text(&mut url);
    mask_query(&mut url, attached);
    let headers = outgoing
        .headers
        .iter()
        .map(|(name, value)| {
            let value = if value.is_sensitive() {
                "********".into()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.to_string(), value)
        })
        .collect();
    Preview {
        method: outgoing.method.clone(),
        url,
        headers,
        body_bytes: outgoing.body.len(),
        attached: attached.places.clone(),
        destination,
    }
}

/// Masks attached query parameters by name: a value too short to be scrubbed is hidden too.
fn mask_query(url: &mut String, attached: &Attached) {
    let Ok(mut parsed) = Url::parse(url) else { return };
    let names: Vec<&str> = attached.places.iter().filter_map(|place| place.strip_prefix("query ")).collect();
    if names.is_empty() {
        return;
    }
    let pairs: Vec<(String, String)> = parsed
        .query_pairs()
        .map(|(name, value)| {
            let value = if names.contains(&name.as_ref()) { "********".into() } else { value.into_owned() };
            (name.into_owned(), value)
        })
        .collect();
    parsed.query_pairs_mut().clear().extend_pairs(pairs);
    *url = parsed.into();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind it is replaced whole, so a panic elsewhere leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_path_that_repeats_what_was_attached_is_not_written_down() {
        let attached = [Secret::new("s3cret:token")];
        let of = |text: &str| without(&attached, &url(text)).to_string();
        assert_eq!(of("https://a.example/bots3cret%3Atoken/x?y"), "https://a.example/bot**************/x?y");
        assert_eq!(of("https://a.example/bots3cret:token"), "https://a.example/bot************");
        assert_eq!(of("https://a.example/x"), "https://a.example/x");
    }

    #[test]
    fn a_dry_run_hides_what_stands_before_the_path_however_short_it_is() {
        let asked = url("https://a.example/getMe");
        let mut outgoing =
            Outgoing { method: Method::GET, url: asked.clone(), headers: HeaderMap::new(), body: Bytes::new() };
        outgoing.url.set_path("/botpin/getMe");
        let attached = Attached { places: vec!["path /bot{pin}".into()], values: vec![Secret::new("pin")] };
        let preview = show(&outgoing, &asked, &attached, Destination::Audience);
        assert_eq!(preview.url, "https://a.example/********/getMe");
    }
}
