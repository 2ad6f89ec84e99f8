//! The guest's one way out. A request is parsed once, judged, given its credential, written to the audit, sent, followed
//! through its redirects, and scrubbed; each of these is done in one place, in that order, on every hop.
//!
//! It may call `credential`, `transport`, `manifest` and `audit`. It knows nothing of wasmtime, and decides nothing about
//! consent: what a connection may reach is handed in as [`Access`]. What must never happen here: a credential on a request
//! to an origin outside the audience; a request that should carry one and does not; an answer to the guest that was not
//! scrubbed; a request that the audit does not know of.

mod challenge;
mod credentials;
mod effect;
mod headers;
mod policy;
mod preview;
mod redirect;
mod retry;
mod scrub;
mod through;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;
use tracing::{Instrument, Span};
use url::Url;

use challenge::Verdict;
pub use credentials::{Credentials, Held, Stands, Typed};
pub use policy::{Destination, Reachable};
pub use preview::Preview;
pub(crate) use scrub::Scrubber;
pub use scrub::{Known, SHORTEST as SHORTEST_SCRUBBED, stands_in};
pub use through::{Leaving, Returned, Through};

use crate::{
    audit::{Audit, Event, Subject},
    credential::{self, Attached, Existing},
    error::{Error, Kind, Result},
    manifest::{Attachment, Effect, Values, jwt::Jwt, template::Moment},
    origin::Origin,
    sync::lock,
    trace,
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
    pub credentials: Arc<dyn Credentials>,
    /// What the connector may read, by name.
    pub readable: BTreeMap<String, String>,
    /// Where requests may go that carry a secret of the operator's app; none where they carry none.
    pub app_origins: Option<BTreeSet<Origin>>,
    /// What the transport allows.
    pub limits: transport::Limits,
    /// How to find what was attached before.
    pub known: Known,
    /// Who attaches and sends, where that is not this host.
    pub through: Option<Arc<dyn Through>>,
    /// Who knows when it is over; none while there is no connection yet.
    pub stands: Option<Arc<dyn Stands>>,
}

/// The requests of one call.
pub struct Session {
    access: Arc<Access>,
    transport: Arc<Transport>,
    audit: Arc<Audit>,
    subject: Subject,
    /// What the operation is declared to do.
    effect: Effect,
    /// The last request that the host refused or could not deliver: what the caller is told if the call fails.
    fault: Arc<Mutex<Option<Error>>>,
    preview: Option<Arc<Mutex<Option<Preview>>>>,
    /// What its requests are told as a part of.
    span: Span,
    /// When the call is to be over; without that nothing is asked again.
    until: Option<Instant>,
    /// What its requests brought to services so far.
    sent: Mutex<Scrubber>,
}

impl Session {
    /// For one call of one connection, of an operation that is declared to do this.
    pub fn new(
        access: Arc<Access>,
        transport: Arc<Transport>,
        audit: Arc<Audit>,
        subject: Subject,
        effect: Effect,
    ) -> Self {
        Self {
            access,
            transport,
            audit,
            subject,
            effect,
            fault: Arc::default(),
            preview: None,
            span: Span::current(),
            until: None,
            sent: Mutex::default(),
        }
    }

    /// The call is over then at the latest.
    #[must_use]
    pub fn until(mut self, until: Instant) -> Self {
        self.until = Some(until);
        self
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

    /// Whether the call ends here: a dry run has seen what it wanted to see, or the host itself cannot go on, which is nothing for
    /// the connector to get over.
    pub fn is_over(&self) -> bool {
        let is_seen = self.preview.as_ref().is_some_and(|preview| lock(preview).is_some());
        is_seen || lock(&self.fault).as_ref().is_some_and(|fault| fault.kind() == Kind::StoreUnavailable)
    }

    /// Sends one request of the guest's.
    ///
    /// # Errors
    /// With a sentence that says what was refused and what would allow it. It is the guest's to handle, and noted as the
    /// call's own fault besides.
    pub async fn send(&self, request: Request) -> Result<Response> {
        let mut sent = lock(&self.sent).clone();
        let answer = self.follow(request, &mut sent).await;
        lock(&self.sent).clone_from(&sent);
        // A service can lead a redirect wherever it likes, and an error names where that was.
        let answer = answer.map_err(|error| error.map_text(|text| sent.masked(text)));
        // A later request that went well means that the guest got over the earlier refusal.
        *lock(&self.fault) = answer.as_ref().err().cloned();
        answer
    }

    /// `sent` is what the service was given, over all hops: what must not come back, nor be written anywhere by way of a URL
    /// that the service made up.
    async fn follow(&self, request: Request, sent: &mut Scrubber) -> Result<Response> {
        let mut method = parse_method(&request.method)?;
        let mut url = parse_url(&request.url)?;
        let mut headers = headers::from_guest(&request.headers)?;
        // Once is enough: a redirect keeps the method, or makes GET of it.
        effect::permit(self.effect, &method, &headers)
            .inspect_err(|error| self.note_denied(&method, &url, sent, error))?;
        let mut body = Bytes::from(request.body.unwrap_or_default());
        let mut hop = 0;
        // One renewal and one repetition for a request of the guest's, however many hops refuse it.
        let mut renewed = false;
        // However often it was sent again since a service said when.
        let mut repeated = 0;
        while hop <= REDIRECTS {
            self.stand()?;
            let destination = self
                .refuse_secret_host(&url, sent)
                .and_then(|()| self.access.reachable.judge(&url))
                .inspect_err(|error| self.note_denied(&method, &url, sent, error))?;
            let held = match destination {
                Destination::Audience if self.attaches(request.attach) => Some(self.held().await?),
                _ => None,
            };
            if matches!(destination, Destination::Audience)
                && let Some(finder) =
                    held.clone().or_else(|| self.access.credentials.known()).as_deref().and_then(Held::finder)
            {
                sent.add_all(finder);
            }
            let mut outgoing = Outgoing::new(method.clone(), url.clone(), headers.clone(), body.clone());
            let existing = if hop == 0 { Existing::Refuse } else { Existing::Replace };
            let attached = self
                .attach(destination, held.as_deref(), request.attach, existing, sent, &mut outgoing)
                .inspect_err(|error| self.note_denied(&method, &url, sent, error))?;
            // With a credential in its path or query it is another address, perhaps one that only the host calls.
            if outgoing.url != url {
                let judged = self.access.reachable.judge(&outgoing.url);
                judged.inspect_err(|error| self.note_denied(&method, &url, sent, error))?;
            }
            if let Some(preview) = &self.preview {
                *lock(preview) = Some(Preview::of(&outgoing, &url, &attached, destination));
                return Err(Kind::Internal.error("A dry run sends nothing."));
            }
            // The URL as it was before anything was attached: a credential may stand in its path.
            let leaving = Event::request(&self.subject, &method, &url, hop, &attached.places).repeated(repeated);
            self.audit.leaving(&leaving.map_text(&|text| sent.masked(text))).await?;
            sent.add(&self.access.known, attached.values);
            let span = trace::request(&self.span, &method, &url);
            let attach = destination == Destination::Audience && self.attaches(request.attach);
            let exchange = self.exchange(outgoing, (attach, held.as_deref()), existing, (hop, repeated));
            let answered = tokio::select! {
                // Before each step: what was taken back while the line was written does not leave.
                biased;
                over = self.over() => Err(over),
                answered = exchange.instrument(span.clone()) => answered,
            };
            let Returned { answer, masked } = match answered {
                Ok(returned) => returned,
                Err(error) => {
                    self.note(Event::fault(&self.subject, error.message()), sent)?;
                    return Err(error);
                }
            };
            span.record("http.response.status_code", i64::from(answer.status.as_u16()));
            if let Some(held) = held
                && self.is_refused(&answer)?
                && !std::mem::replace(&mut renewed, true)
            {
                let renewal = self.access.credentials.renewed(&held, &self.subject).await;
                if !matches!(renewal, Ok(None)) {
                    self.note(Event::answer(&self.subject, answer.status.as_u16(), answer.body.len(), 0), sent)?;
                }
                if renewal?.is_some() {
                    continue;
                }
            }
            if let Some(wait) = retry::wait((self.effect, &method), &answer, repeated, self.until) {
                self.note(Event::answer(&self.subject, answer.status.as_u16(), answer.body.len(), 0), sent)?;
                repeated += 1;
                tokio::time::sleep(wait).await;
                continue;
            }
            match redirect::next(&method, &url, answer.status, &answer.headers)
                .inspect_err(|error| self.note_denied(&method, &url, sent, error))?
            {
                None => return self.hand_over(answer, masked, sent),
                Some(next) => {
                    self.note(Event::answer(&self.subject, answer.status.as_u16(), answer.body.len(), 0), sent)?;
                    (method, url) = (next.method, next.url);
                    if !next.keeps_body {
                        redirect::without_body(&mut headers, &mut body);
                    }
                    hop += 1;
                }
            }
        }
        Err(Kind::ServiceFailed.error(format!("The service redirected more than {REDIRECTS} times.")))
    }

    /// Whether the connection is still what the call was begun with: it may be ended in the middle of it.
    fn stand(&self) -> Result<()> {
        self.access.stands.as_ref().map_or(Ok(()), |stands| stands.stand(&self.subject))
    }

    /// Returns once it is not.
    async fn over(&self) -> Error {
        let Some(stands) = &self.access.stands else { return std::future::pending().await };
        // The sender lives as long as `stands`, so this ends only when it says so.
        let _ = stands.ended().wait_for(|ended| *ended).await;
        stands.over(&self.subject)
    }

    fn attaches(&self, wanted: bool) -> bool {
        wanted && !self.access.attachments.is_empty()
    }

    /// Sends from here, or through whoever attaches what this host does not have.
    async fn exchange(
        &self,
        outgoing: Outgoing,
        (attach, held): (bool, Option<&Held>),
        existing: Existing,
        (hop, repeated): (usize, u32),
    ) -> Result<Returned> {
        let Access { through, pool, reachable, limits, .. } = &*self.access;
        let Some(through) = through else {
            // In a place of its own: a future that holds another one is moved with it, at each step between here and the guest.
            let sending = Box::pin(self.transport.send_sparing(pool, &reachable.private, outgoing, limits));
            let answer = sending.await?;
            return Ok(Returned { answer, masked: 0 });
        };
        let (about, reads) = (self.subject.about(), self.effect == Effect::Read);
        through.send(Leaving { outgoing, attach, held, existing, about, hop, repeated, reads, limits }).await
    }

    /// Whether the service refuses the credential, so that a newer one may help.
    fn is_refused(&self, answer: &transport::Incoming) -> Result<bool> {
        if !self.access.credentials.are_bearer() {
            return Ok(answer.status == StatusCode::UNAUTHORIZED);
        }
        match challenge::judge(answer.status, &answer.headers) {
            Verdict::Taken => Ok(false),
            Verdict::Invalid => Ok(true),
            Verdict::Insufficient(scopes) => {
                self.audit.note(&Event::answer(&self.subject, answer.status.as_u16(), answer.body.len(), 0))?;
                let asked = scopes.as_deref().unwrap_or("more than was granted");
                // A command is only made of words that mean nothing to a shell.
                let plain = |scope: &&str| scope.chars().all(|c| c.is_ascii_alphanumeric() || "._:/+-".contains(c));
                let flags = scopes.iter().flat_map(|it| it.split(' ')).filter(plain);
                let flags: String = flags.map(|scope| format!(" --scope {scope}")).collect();
                Err(Kind::ConsentNeeded
                    .error(format!("The service wants “{asked}” for this (`insufficient_scope`)."))
                    .hint(format!(
                        "`attache connection reconnect {}{flags}` asks for it, if the connector declares it.",
                        self.subject.connection(),
                    )))
            }
        }
    }

    /// A service that saw the credential may write it into the host of a redirect: looking that name up would tell it to
    /// whoever sees the question.
    fn refuse_secret_host(&self, url: &Url, sent: &Scrubber) -> Result<()> {
        if sent.finds(url.host_str().unwrap_or_default()) {
            return Err(Kind::Denied.error(
                "The service redirects to a host name with the credential in it, which is neither looked up nor followed.",
            ));
        }
        Ok(())
    }

    /// What is to be attached. A dry run sends nothing, not even to sign in.
    async fn held(&self) -> Result<Arc<Held>> {
        let credentials = &self.access.credentials;
        if self.preview.is_none() {
            return credentials.current(&self.subject).await;
        }
        credentials.at_hand().ok_or_else(|| {
            Kind::ReconnectNeeded
                .error("The connection is not signed in, and a dry run sends nothing.")
                .hint("`attache connection check NAME` signs in.")
        })
    }

    /// Puts the credential on where the origin is in the audience, and nowhere else.
    fn attach(
        &self,
        destination: Destination,
        held: Option<&Held>,
        wanted: bool,
        existing: Existing,
        sent: &Scrubber,
        outgoing: &mut Outgoing,
    ) -> Result<Attached> {
        match (destination, held) {
            (Destination::Audience, Some(_)) if self.access.through.is_some() => {
                let places = self.access.attachments.iter().map(Attachment::place).collect();
                Ok(Attached { places, values: Vec::new() })
            }
            (Destination::Audience, Some(held)) => {
                self.confine_app(&outgoing.url)?;
                // Each hop is a request of its own: a service that saw a nonce does not take it again.
                credential::attach(
                    &self.access.attachments,
                    &self.access.jwts,
                    &held.values,
                    &Moment::now(),
                    existing,
                    outgoing,
                )
            }
            // What goes without the credential it should carry is an error, not a 401 that nobody understands.
            (Destination::Open, _)
                if wanted && existing == Existing::Refuse && !self.access.attachments.is_empty() =>
            {
                Err(Kind::Denied
                    .error(format!(
                        "{} is an open host, which is called without the credential.",
                        outgoing.url.origin().ascii_serialization()
                    ))
                    .hint(
                        "The connector must send this request with `credential: omit`, or name the origin in its audience.",
                    ))
            }
            (Destination::Open, _) => self.refuse_carried_over(sent, outgoing).map(|()| Attached::default()),
            (Destination::Audience, None) => Ok(Attached::default()),
        }
    }

    /// A secret of the operator's app goes to the app's origins, whatever the owner of a connection typed.
    fn confine_app(&self, url: &Url) -> Result<()> {
        let Some(origins) = &self.access.app_origins else { return Ok(()) };
        let origin = Origin::of(url)?;
        if origins.contains(&origin) {
            return Ok(());
        }
        Err(Kind::Denied
            .error(format!(
                "The request would carry a secret of the operator's app to {origin}, which is none of its origins."
            ))
            .hint(format!(
                "If that is right, the operator allows it with `attache app set CONNECTOR --origin {origin}`."
            )))
    }

    /// A service that saw the credential may write it into a redirect that leaves the audience.
    fn refuse_carried_over(&self, sent: &Scrubber, outgoing: &Outgoing) -> Result<()> {
        if !sent.finds(outgoing.url.as_str()) {
            return Ok(());
        }
        Err(Kind::Denied
            .error("The service redirects out of the audience with the credential in the URL, which is not followed.")
            .hint("If that origin is trusted with the credential, the connector must name it in its audience."))
    }

    /// In some places it may have been masked already.
    fn hand_over(&self, answer: transport::Incoming, masked: u64, sent: &Scrubber) -> Result<Response> {
        let mut body = Vec::from(answer.body);
        let mut masked = masked + sent.mask(&mut body);
        let mut headers = headers::for_guest(&answer.headers);
        for (name, value) in &mut headers {
            masked += sent.mask_text(name) + sent.mask_text(value);
        }
        self.note(Event::answer(&self.subject, answer.status.as_u16(), body.len(), masked), sent)?;
        Ok(Response { status: answer.status.as_u16(), headers, body })
    }

    fn note_denied(&self, method: &Method, url: &Url, sent: &Scrubber, error: &Error) {
        if self.preview.is_none()
            && let Err(unwritable) = self.note(Event::denied(&self.subject, method, url, error.message()), sent)
        {
            // Nothing was sent, so the refusal itself stands; the next request will not pass the audit.
            tracing::error!(error = %unwritable, "the audit cannot be written");
        }
    }

    /// For what has happened already; what is about to leave is written before it does.
    fn note(&self, event: Event, sent: &Scrubber) -> Result<()> {
        self.audit.note(&event.map_text(&|text| sent.masked(text)))
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
    let mut outgoing = Outgoing::new(Method::POST, url.clone(), HeaderMap::new(), Bytes::new());
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
