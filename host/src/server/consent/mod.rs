//! The Consent Server: a page that says in plain words what is asked of whom, the way to the provider, and the way back. The
//! command line runs it on a port of loopback for as long as one person takes; `attache serve` runs it for everybody.

mod pages;
mod sessions;

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use axum::{
    Form, Router,
    extract::{
        DefaultBodyLimit, Path, RawQuery, State,
        rejection::{FormRejection, PathRejection},
    },
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{COOKIE, HOST, SET_COOKIE},
    },
    response::Response,
    routing::get,
};
use serde::Deserialize;
use url::Url;

use self::sessions::Sessions;
pub(super) use self::sessions::random_name;
pub use self::sessions::{Asked, LASTS, Progress, Whose};
use super::page::page;
use crate::{
    connect::{ConnectProposal, SignedIn, Trip},
    consent::CameBack,
    error::{Error, Kind, Result},
    origin::Origin,
};

/// What a form of these pages has: a token, and what separates it.
const FORM_BYTES: usize = 4 << 10;

/// Who takes what a person brought back.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Begins the trip of a person who agreed.
    ///
    /// # Errors
    /// Whatever stands against it; the person is told.
    async fn send_away(&self, proposal: Arc<ConnectProposal>, redirect_uri: &Url) -> Result<Trip>;

    /// Makes the connection, or what will be one when it is confirmed. The session is called that by those who may not use
    /// its link.
    ///
    /// # Errors
    /// Whatever stands against it; the person is told.
    async fn take(&self, session: &str, asked: Asked, signed_in: SignedIn) -> Result<Taken>;

    /// Notes a session before anybody has its link.
    ///
    /// # Errors
    /// Whatever stands against it; then nobody gets the link.
    fn opened(&self, _session: &Whose) -> Result<()> {
        Ok(())
    }

    /// Notes sessions that ended before anybody came back, or with somebody who went away when they did.
    fn ran_out(&self, _sessions: Vec<Whose>) {}
}

/// What came of it, for the person.
pub enum Taken {
    /// There is a connection now.
    Connected {
        /// Its name.
        name: String,
        /// Whose it is, in the service's words.
        account: String,
    },
    /// The one who asked confirms it; the browser goes there.
    Confirm(Url),
}

/// The pages and what stands behind them.
pub struct ConsentServer {
    /// Where browsers find this server: as its operator says, never as a request does.
    base: Url,
    /// Where providers send people back to.
    redirect_uri: Url,
    /// What links have before the session, below the base.
    links: &'static str,
    /// Whether it is reached under exactly that name, so that another in a request is another's (DNS rebinding).
    is_local: bool,
    sessions: Sessions,
    desk: Arc<dyn Desk>,
}

impl ConsentServer {
    /// One that browsers find under `base`. Providers send people back to `redirect_uri`, `/callback` unless given.
    ///
    /// # Errors
    /// `internal` where there are no random bytes.
    pub fn new(base: Url, redirect_uri: Option<Url>, desk: Arc<dyn Desk>) -> Result<Arc<Self>> {
        Self::by_clock(base, redirect_uri, desk, Instant::now)
    }

    /// The same, whose sessions last by another clock.
    ///
    /// # Errors
    /// As [`ConsentServer::new`].
    pub fn by_clock(
        base: Url,
        redirect_uri: Option<Url>,
        desk: Arc<dyn Desk>,
        now: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        let redirect_uri = redirect_uri.unwrap_or_else(|| below(&base, "callback"));
        let is_local = Origin::of(&base)?.is_loopback();
        // An app may have people sent back to any path, this one too.
        let is_taken = redirect_uri.path().trim_end_matches('/') == below(&base, "connect").path();
        let links = if is_taken { "sign-in" } else { "connect" };
        Ok(Arc::new(Self { base, redirect_uri, links, is_local, sessions: Sessions::new(Box::new(now))?, desk }))
    }

    /// Opens a session, and gives its name and its link.
    ///
    /// # Errors
    /// `rate-limited` where too many are open; `denied` where the app has people sent back elsewhere; those of the desk.
    pub fn open(&self, asked: Asked) -> Result<(String, Url)> {
        let elsewhere = asked.proposal.redirect_uri().filter(|_| !asked.proposal.comes_back_to(&self.redirect_uri));
        if let Some(elsewhere) = elsewhere {
            return Err(Kind::Denied
                .error(format!("The app has people sent back to {elsewhere}, and this host listens at {}.", self.redirect_uri))
                .hint("Register this one with the provider, or one below it that no other app has, and set it with `attache app set CONNECTOR --redirect-uri URI`."));
        }
        // Without somewhere to go, it is said here, and not on a page that a person has opened.
        if asked.proposal.grant.is_some() {
            asked.proposal.trip(&self.redirect_uri)?;
        }
        let (environment, owner) = (asked.proposal.asked_by().1.to_owned(), asked.owner.clone());
        let name = self.sessions.open(asked)?;
        let opened = Whose { environment, session: sessions::public_name(&name), owner };
        self.desk.opened(&opened)?;
        let link = below(&self.base, &format!("{}/{name}", self.links));
        Ok((opened.session, link))
    }

    /// Has the desk note which sessions ran out since the last time.
    pub fn note_ran_out(&self) {
        self.desk.ran_out(self.sessions.ran_out());
    }

    /// How far a session is that this holder opened ([`ConnectProposal::asked_by`]).
    pub fn progress(&self, public_name: &str, holder: &str, environment: &str) -> Progress {
        self.sessions.progress(public_name, holder, environment)
    }

    /// How far it is once it is further than the holder knows, or than now where they say nothing; at once where it gets no
    /// further.
    pub async fn further(&self, public_name: &str, holder: &str, environment: &str, known: Option<&str>) -> Progress {
        let began = self.progress(public_name, holder, environment).name();
        // What changed since they looked last is not waited for.
        let known = known.unwrap_or(began);
        loop {
            let mut changed = std::pin::pin!(self.sessions.changed.notified());
            // Before it is looked, so that no change is missed.
            changed.as_mut().enable();
            let now = self.progress(public_name, holder, environment);
            if !matches!(now, Progress::Open | Progress::Begun) || now.name() != known {
                return now;
            }
            changed.await;
        }
    }

    /// Its routes.
    pub fn routes(self: &Arc<Self>) -> Router {
        // A path of an operator's may have colons and stars.
        Router::new()
            .without_v07_checks()
            .route(&format!("{}/{{session}}", below(&self.base, self.links).path()), get(show).post(begin))
            .route(self.redirect_uri.path(), get(came_back))
            .route(&format!("{}/{{below}}", self.redirect_uri.path().trim_end_matches('/')), get(came_back))
            .method_not_allowed_fallback(async || {
                page(
                    StatusCode::METHOD_NOT_ALLOWED,
                    &pages::Refused::of(&Kind::Usage.error("This page does not take that method.")),
                )
            })
            .layer(DefaultBodyLimit::max(FORM_BYTES))
            .with_state(self.clone())
    }

    /// The page that says what came of it.
    pub fn told(outcome: Result<Taken>) -> Response {
        match outcome {
            Ok(Taken::Connected { name, account }) => page(StatusCode::OK, &pages::Connected::of(&name, &account)),
            // The provider's own policy may hold for where its form leads in the end, too.
            Ok(Taken::Confirm(url)) => page(StatusCode::OK, &pages::Onward::to(&url)),
            Err(error) => refuse(&error),
        }
    }

    /// A page that is not there.
    pub fn no_page() -> Response {
        refuse(&Kind::NotFound.error("There is no such page."))
    }

    /// What a browser calls itself; none where it was not here yet.
    fn browser<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>> {
        if self.is_local {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let known = &self.base[url::Position::BeforeHost..url::Position::AfterPort];
            if host != known {
                return Err(Kind::Denied.error("This server is not called that."));
            }
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (known, _) = self.cookie_kind();
        Ok(pairs.find(|(name, value)| *name == known && value.len() == 43).map(|(_, value)| value))
    }

    /// What a browser's name here is called. Over TLS nobody but this very host can set it (RFC 6265bis, 4.1.3.2); without,
    /// ports share cookies, so that each host of this machine has a name of its own.
    fn cookie_kind(&self) -> (String, &'static str) {
        match self.base.scheme() {
            "https" => ("__Host-attache-browser".to_owned(), "; Secure"),
            _ => (format!("attache-browser-{}", self.base.port_or_known_default().unwrap_or_default()), ""),
        }
    }

    fn cookie(&self, browser: &str) -> Result<HeaderValue> {
        let (name, secure) = self.cookie_kind();
        HeaderValue::try_from(format!("{name}={browser}; Path=/; HttpOnly; SameSite=Lax{secure}"))
            .map_err(|_| Kind::Internal.error("A cookie was no header value."))
    }
}

/// What is asked, in plain words.
async fn show(State(server): State<Arc<ConsentServer>>, name: Named, headers: HeaderMap) -> Response {
    let shown = || -> Result<Response> {
        let Path(name) = name.map_err(|_| unreadable())?;
        let known = server.browser(&headers)?;
        let browser = known.map_or_else(sessions::random_name, |known| Ok(known.to_owned()))?;
        let token = server.sessions.token(&name, &browser);
        let asked = server.sessions.look(&name, &browser, |asked| pages::Consent::of(asked, token))?;
        let mut response = page(StatusCode::OK, &asked);
        if known.is_none() {
            response.headers_mut().insert(SET_COOKIE, server.cookie(&browser)?);
        }
        Ok(response)
    };
    shown().unwrap_or_else(|error| refuse(&error))
}

#[derive(Deserialize)]
struct Agreed {
    token: String,
}

/// A session's name in a path, which anybody may write anything into.
type Named = std::result::Result<Path<String>, PathRejection>;

fn unreadable() -> Error {
    Kind::NotFound.error("There is no such page: its address cannot be read.")
}

/// The person agreed, and goes to the provider.
async fn begin(
    State(server): State<Arc<ConsentServer>>,
    name: Named,
    headers: HeaderMap,
    form: std::result::Result<Form<Agreed>, FormRejection>,
) -> Response {
    let begun = async || -> Result<Response> {
        let Path(name) = name.map_err(|_| unreadable())?;
        let Form(Agreed { token }) = form
            .map_err(|_| Kind::Usage.error("This is not the form that the page has.").hint("Open the link again."))?;
        // A page elsewhere may not press this button for somebody.
        if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Kind::Denied.error("This was not asked for by the page itself."));
        }
        let browser = server.browser(&headers)?.ok_or_else(|| {
            Kind::Denied
                .error("Your browser did not keep the cookie that this sign-in is tied to.")
                .hint("Allow cookies for this page, and open the link again.")
        })?;
        let proposal = server.sessions.agreed(&name, browser, &token)?;
        let trip = server.desk.send_away(proposal, &server.redirect_uri).await?;
        let provider = server.sessions.send(&name, browser, trip)?;
        // A page, not a redirect: a redirect would count as the form's target all the way through the provider and back (CSP 3,
        // 6.4.2), wherever that leads.
        Ok(page(StatusCode::OK, &pages::Onward::to(&provider)))
    };
    begun().await.unwrap_or_else(|error| refuse(&error))
}

/// The provider sent the person back.
async fn came_back(
    State(server): State<Arc<ConsentServer>>,
    below: std::result::Result<Option<Path<String>>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Ok(below) = below else { return refuse(&unreadable()) };
    let came = CameBack { below: below.map(|Path(below)| below), query: query.unwrap_or_default() };
    ConsentServer::told(finish(&server, came, &headers).await)
}

async fn finish(server: &ConsentServer, came: CameBack, headers: &HeaderMap) -> Result<Taken> {
    let browser = server.browser(headers)?.unwrap_or_default();
    let (name, asked, trip) = server.sessions.end(&came, browser)?;
    let proposal = asked.proposal.clone();
    let taken = server.desk.take(&sessions::public_name(&name), asked, SignedIn::CameBack { trip, came }).await;
    server.sessions.note(&name, &proposal, taken.as_ref().map(|_| ()).map_err(Clone::clone));
    taken
}

fn refuse(error: &Error) -> Response {
    let status = match error.kind() {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    page(status, &pages::Refused::of(error))
}

/// A path of this server, wherever its base is.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}
