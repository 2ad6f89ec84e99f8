//! The Consent Server: a page that says in plain words what is asked of whom, the way to the provider, and the way back. The
//! command line runs it on a port of loopback for as long as one person takes; `attache serve` runs it for everybody.

mod form;
mod pages;
mod posted;
mod session;
mod sessions;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use async_trait::async_trait;
use axum::{
    Router,
    extract::{Path, RawQuery, Request, State, rejection::PathRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{COOKIE, HOST, LOCATION, SET_COOKIE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use url::Url;

pub use self::session::{Asked, LASTS, Progress, Whose};
pub(super) use self::sessions::random_name;
use self::{
    posted::Posted,
    session::{Making, Matter, Session, Step, Tokens},
    sessions::Sessions,
};
use super::page::{guarded, page};
use crate::{
    connect::{Answers, Blank, ConnectProposal, SignedIn, Trip},
    consent::CameBack,
    error::{Error, Kind, Result},
    origin::Origin,
};

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

    /// Finds out what a person would connect who typed this.
    ///
    /// # Errors
    /// Whatever stands against it; the person is told, and types again.
    async fn fill_in(&self, _blank: &Blank, _answers: Answers) -> Result<ConnectProposal> {
        Err(Kind::Internal.error("Nobody here takes what is typed."))
    }

    /// Notes a session before anybody has its link.
    ///
    /// # Errors
    /// Whatever stands against it; then nobody gets the link.
    fn opened(&self, _session: &Whose) -> Result<()> {
        Ok(())
    }

    /// Notes that a session is over, and that nothing came of it.
    fn failed(&self, _session: &Whose, _error: &Error) {}

    /// Notes sessions that ended before anybody came back, or with somebody who went away when they did.
    fn ran_out(&self, _sessions: Vec<Whose>) {}
}

/// What came of it, for the person.
#[derive(Clone)]
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
    pub fn open(&self, Asked { proposal, owner, return_url }: Asked) -> Result<(String, Url)> {
        self.refuse_elsewhere(&proposal)?;
        self.open_for(Matter::Terms(proposal), owner, return_url)
    }

    /// Opens one that begins with a form.
    ///
    /// # Errors
    /// As [`ConsentServer::open`].
    pub fn open_form(&self, blank: Blank, owner: String, return_url: Url) -> Result<(String, Url)> {
        if blank.sends_away() && !blank.comes_back_to(&self.redirect_uri) {
            return Err(self.sent_back_elsewhere(blank.redirect_uri()));
        }
        self.open_for(Matter::Form(Arc::new(blank), None), Some(owner), Some(return_url))
    }

    fn open_for(&self, matter: Matter, owner: Option<String>, return_url: Option<Url>) -> Result<(String, Url)> {
        let environment = matter.asked_by().1.to_owned();
        let name = self.sessions.open(matter, owner.clone(), return_url)?;
        let opened = Whose { environment, session: sessions::public_name(&name), owner };
        self.desk.opened(&opened)?;
        Ok((opened.session, self.link(&name)))
    }

    /// Refuses to send somebody away who would not come back here, or without somewhere to go: it is said where the link is
    /// made, or the form filled in, and not when they agree.
    fn refuse_elsewhere(&self, proposal: &ConnectProposal) -> Result<()> {
        if !proposal.comes_back_to(&self.redirect_uri) {
            return Err(self.sent_back_elsewhere(proposal.redirect_uri()));
        }
        if proposal.grant.is_some() {
            proposal.trip(&self.redirect_uri)?;
        }
        Ok(())
    }

    fn sent_back_elsewhere(&self, elsewhere: Option<&Url>) -> Error {
        let elsewhere = elsewhere.unwrap_or(&self.redirect_uri);
        Kind::Denied
            .error(format!("The app has people sent back to {elsewhere}, and this host listens at {}.", self.redirect_uri))
            .hint("Register this one with the provider, or one below it that no other app has, and set it with `attache app set CONNECTOR --redirect-uri URI`.")
    }

    fn link(&self, name: &str) -> Url {
        below(&self.base, &format!("{}/{name}", self.links))
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

/// What a person is shown: what is to be typed, or what is asked, in plain words.
enum Shown {
    Form(form::Form),
    Terms(pages::Consent),
}

impl Shown {
    /// The form is shown too where what was typed is to be changed.
    fn of(session: &Session, tokens: Tokens, changes: bool) -> Self {
        match &session.matter {
            Matter::Terms(proposal) => {
                Self::Terms(pages::Consent::of(&session.asked(proposal.clone()), tokens.agreement, false))
            }
            Matter::Form(_, Some(filled)) if !changes => {
                Self::Terms(pages::Consent::of(&session.asked(filled.proposal.clone()), tokens.agreement, true))
            }
            Matter::Form(blank, filled) => {
                let typed = filled.as_ref().map(|filled| &filled.proposal.connection.parameters);
                let whose = (session.owner.as_deref(), session.return_url.as_ref());
                Self::Form(form::Form::of(blank, whose, tokens.form, typed))
            }
        }
    }

    fn response(self, status: StatusCode) -> Response {
        match self {
            Self::Form(form) => page(status, &form),
            Self::Terms(terms) => page(status, &terms),
        }
    }
}

/// What is typed, or asked, in plain words.
async fn show(
    State(server): State<Arc<ConsentServer>>,
    name: Named,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let shown = || -> Result<Response> {
        let Path(name) = name.map_err(|_| unreadable())?;
        let known = server.browser(&headers)?;
        let browser = known.map_or_else(sessions::random_name, |known| Ok(known.to_owned()))?;
        let changes = query.as_deref() == Some(form::CHANGE);
        let shown = server.sessions.look(&name, &browser, |session, tokens| Shown::of(session, tokens, changes))?;
        let mut response = shown.response(StatusCode::OK);
        if known.is_none() {
            response.headers_mut().insert(SET_COOKIE, server.cookie(&browser)?);
        }
        Ok(response)
    };
    shown().unwrap_or_else(|error| refuse(&error))
}

/// A session's name in a path, which anybody may write anything into.
type Named = std::result::Result<Path<String>, PathRejection>;

fn unreadable() -> Error {
    Kind::NotFound.error("There is no such page: its address cannot be read.")
}

/// The person sent what they typed, or agreed.
async fn begin(State(server): State<Arc<ConsentServer>>, name: Named, request: Request) -> Response {
    let begun = async || -> Result<Response> {
        let Path(name) = name.map_err(|_| unreadable())?;
        let posted = Posted::read(&server, &name, request).await?;
        match server.sessions.step(&name, &posted.browser, &posted.token, posted.agrees)? {
            Step::FillIn(blank) => server.fill_in(&name, &blank, &posted).await,
            Step::Agree(proposal) if proposal.sends_away() => server.send_away(&name, proposal, &posted).await,
            Step::Agree(proposal) => server.make(&name, proposal, &posted).await,
        }
    };
    begun().await.unwrap_or_else(|error| refuse(&error))
}

impl ConsentServer {
    /// Shows what comes of what was typed, or the form again with what stands against it.
    async fn fill_in(&self, name: &str, blank: &Blank, posted: &Posted) -> Result<Response> {
        let typed = async || {
            let answers = form::answers(blank, &posted.fields)?;
            let bytes = answers.bytes();
            let proposal = Arc::new(self.desk.fill_in(blank, answers).await?);
            if proposal.sends_away() {
                self.refuse_elsewhere(&proposal)?;
            }
            self.sessions.fill_in(name, &posted.browser, proposal, bytes)
        };
        match typed().await {
            // Whoever loads the page again sends nothing again.
            Ok(()) => Ok(guarded((StatusCode::SEE_OTHER, [(LOCATION, self.link(name).to_string())]).into_response())),
            Err(error) => self.ask_again(name, posted, &form::readable(blank, &posted.fields), &error),
        }
    }

    /// The form once more, with what was typed but for secrets.
    fn ask_again(
        &self,
        name: &str,
        posted: &Posted,
        typed: &BTreeMap<String, String>,
        error: &Error,
    ) -> Result<Response> {
        let form = self.sessions.look(name, &posted.browser, |session, tokens| match &session.matter {
            Matter::Terms(_) => None,
            Matter::Form(blank, _) => {
                let whose = (session.owner.as_deref(), session.return_url.as_ref());
                Some(form::Form::of(blank, whose, tokens.form, Some(typed)).with(error))
            }
        })?;
        Ok(form.map_or_else(|| refuse(error), |form| page(status_of(error), &form)))
    }

    async fn send_away(&self, name: &str, proposal: Arc<ConnectProposal>, posted: &Posted) -> Result<Response> {
        let trip = self.desk.send_away(proposal.clone(), &self.redirect_uri).await?;
        let provider = self.sessions.send(name, &posted.browser, proposal, trip)?;
        // A page, not a redirect: a redirect would count as the form's target all the way through the provider and back (CSP 3,
        // 6.4.2), wherever that leads.
        Ok(page(StatusCode::OK, &pages::Onward::to(&provider)))
    }

    /// Makes what was agreed to where nobody is sent away. Whoever pressed twice, or left the page, gets one of it.
    async fn make(self: &Arc<Self>, name: &str, proposal: Arc<ConnectProposal>, posted: &Posted) -> Result<Response> {
        let mut hears = match self.sessions.make(name, &posted.browser, &proposal)? {
            Making::Goes(hears) => hears,
            Making::Begins(asked, tells, hears) => {
                let (server, name) = (self.clone(), name.to_owned());
                tokio::spawn(async move {
                    let outcome = server.make_once(&name, asked).await;
                    tells.send_replace(Some(outcome));
                });
                hears
            }
        };
        let heard = hears.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match heard.ok().flatten() {
            Some(Err(error)) => self.ask_again(name, posted, &proposal.connection.parameters, &error),
            Some(taken) => Ok(Self::told(taken)),
            None => Err(not_known()),
        }
    }

    async fn make_once(&self, name: &str, asked: Asked) -> Result<Taken> {
        let public_name = sessions::public_name(name);
        let (proposal, whose) = (asked.proposal.clone(), asked.whose(public_name.clone()));
        let taken = self.desk.take(&public_name, asked, SignedIn::Agreed).await;
        let outcome = taken.as_ref().map(|_| ()).map_err(Clone::clone);
        if self.sessions.made(name, &proposal, outcome)
            && let Err(error) = &taken
        {
            self.desk.failed(&whose, error);
        }
        taken
    }
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

async fn finish(server: &Arc<ConsentServer>, came: CameBack, headers: &HeaderMap) -> Result<Taken> {
    let browser = server.browser(headers)?.unwrap_or_default();
    let (name, asked, trip) = server.sessions.end(&came, browser)?;
    let server = server.clone();
    // Whoever leaves the page takes nothing with them: a token that was got is kept or given back.
    let taking = tokio::spawn(async move {
        let public_name = sessions::public_name(&name);
        let (proposal, whose) = (asked.proposal.clone(), asked.whose(public_name.clone()));
        let taken = server.desk.take(&public_name, asked, SignedIn::CameBack { trip, came }).await;
        if let Err(error) = &taken {
            server.desk.failed(&whose, error);
        }
        server.sessions.note(&name, &proposal, taken.as_ref().map(|_| ()).map_err(Clone::clone));
        taken
    });
    taking.await.unwrap_or_else(|_| Err(not_known()))
}

fn not_known() -> Error {
    Kind::Internal.error("It is not known what came of this.")
}

fn refuse(error: &Error) -> Response {
    page(status_of(error), &pages::Refused::of(error))
}

fn status_of(error: &Error) -> StatusCode {
    match error.kind() {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// A path of this server, wherever its base is.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}
