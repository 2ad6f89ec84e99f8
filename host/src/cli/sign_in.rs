//! Signing in while connecting: a browser that comes back to this machine, or a code for another device. The store is open only
//! for as long as the host works, never while a person is on their way.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    Router,
    extract::{Query, rejection::QueryRejection},
    routing::get,
};
use oauth2::CsrfToken;
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use url::{Host as UrlHost, Url};

use super::{Context, client::Client, prompt};
use crate::{
    connect::{ConnectProposal, SignedIn, Trip},
    error::{Error, Kind, Result},
    host::Host,
    manifest::oauth2::Grant,
    origin::Origin,
    server::{
        api::{
            Agree, Confirm, ConnectProposalView, DeviceAnswer, DeviceView, MadeView, NewConnection, NewSession,
            SealedSecrets, SessionState, SessionView,
        },
        consent::{Asked, ConsentServer, Desk, LASTS, Taken},
    },
};

/// How often the host is asked what came of a sign-in.
const POLL: Duration = Duration::from_millis(500);
/// How long the last page may take to reach the browser.
const LAST_PAGE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct SignInArguments {
    /// Sign in on another device, with a code (RFC 8628)
    #[arg(long, conflicts_with_all = ["client_credentials", "browser"])]
    device: bool,
    /// Sign in with a browser on this machine, where the connector would ask for something else first
    #[arg(long, conflicts_with = "client_credentials")]
    browser: bool,
    /// Sign in as the app itself, without a person (RFC 6749, 4.4)
    #[arg(long)]
    client_credentials: bool,
    /// Print the link to sign in with, and open no browser
    #[arg(long)]
    no_browser: bool,
    /// How long to wait for the sign-in, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = LASTS.as_secs(), value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

impl SignInArguments {
    /// The grant that is asked for; none for the connector's first.
    pub(super) fn grant(&self) -> Option<Grant> {
        match self {
            Self { device: true, .. } => Some(Grant::DeviceCode),
            Self { browser: true, .. } => Some(Grant::AuthorizationCode),
            Self { client_credentials: true, .. } => Some(Grant::ClientCredentials),
            _ => None,
        }
    }
}

/// Signs in as was proposed, and keeps the connection.
pub(super) async fn connect(
    context: &Context,
    client: &Client,
    asked: NewConnection,
    proposal: ConnectProposalView,
    sealed: Option<SealedSecrets>,
    arguments: &SignInArguments,
) -> Result<MadeView> {
    let agreed = Agree { proposal: proposal.proposal, sealed };
    if !proposal.sends_away {
        return match proposal.grant {
            Some(Grant::DeviceCode) => on_another_device(client, &agreed).await,
            _ => client.post(&["connections"], &agreed).await,
        };
    }
    match client.is_here() {
        true => {
            let proposal = client.proposal(&agreed.proposal)?;
            agreed.take_sealed(&proposal)?;
            in_a_browser(context, proposal, arguments).await
        }
        false if agreed.sealed.is_some() => through_the_host(context, client, (None, Some(agreed)), arguments).await,
        false => through_the_host(context, client, (Some(asked), None), arguments).await,
    }
}

async fn on_another_device(client: &Client, agreed: &Agree) -> Result<MadeView> {
    let device: DeviceView = client.post(&["device-authorizations"], agreed).await?;
    prompt::show(&format!("Go to {} and enter the code {}\n", device.verification_uri, device.user_code));
    if let Some(complete) = &device.verification_uri_complete {
        prompt::show(&format!("or open {complete}\n"));
    }
    let mut interval = device.interval;
    loop {
        tokio::time::sleep(Duration::from_millis(interval)).await;
        let answer: DeviceAnswer =
            client.post(&["device-authorizations", &device.authorization], &serde_json::json!({})).await?;
        if let Some(made) = answer.made {
            return Ok(made);
        }
        interval = answer.interval;
    }
}

/// Has the host that runs send the person away, and waits on this machine for what they bring back: whoever is sent the link
/// by another has no such command waiting, and connects nothing.
async fn through_the_host(
    context: &Context,
    client: &Client,
    (connection, agreed): (Option<NewConnection>, Option<Agree>),
    arguments: &SignInArguments,
) -> Result<MadeView> {
    let listeners = listen(None).await?;
    let mut return_url = address_of(&listeners)?;
    return_url.set_path("/connected");
    let state = CsrfToken::new_random_len(32).secret().clone();
    let session =
        NewSession { connection, agreed, owner: context.caller.clone(), return_url, state: Some(state.clone()) };
    let opened: SessionView = client.post(&["connect-sessions"], &session).await?;
    let link = Url::parse(&opened.link).map_err(|_| Kind::Internal.error("The host gave a link that is none."))?;
    let (desk, mut waiting) = mpsc::channel(1);
    let routes = Router::new()
        .route(
            "/connected",
            get(async move |back: Brought| {
                came_back(desk, &state, back.map(|Query(back)| back).unwrap_or_default()).await
            }),
        )
        .fallback(async || ConsentServer::no_page());
    say_where(&link, arguments);
    serve_until(listeners, routes, arguments, async {
        let (code, told) = tokio::select! {
            came = waiting.recv() => came.ok_or_else(|| Kind::Internal.error("The sign-in ended without a word."))?,
            failed = failure(client, &opened.id) => return Err(failed),
        };
        let confirm = Confirm { code, owner: context.caller.clone() };
        let made = client.post::<MadeView>(&["connect-sessions", "confirmations"], &confirm).await;
        let _ = told.send(for_page(&made));
        made
    })
    .await
}

/// Waits until the host says that nothing came of a session.
async fn failure(client: &Client, session: &str) -> Error {
    loop {
        tokio::time::sleep(POLL).await;
        // What cannot be asked now may be later; the time is over some day.
        if let Ok(SessionState { problem: Some(problem), .. }) = client.get(&["connect-sessions", session], &[]).await {
            return problem.error();
        }
    }
}

/// What cannot be read has no state.
type Brought = std::result::Result<Query<Back>, QueryRejection>;

#[derive(Default, Deserialize)]
struct Back {
    #[serde(default)]
    attache_code: String,
    #[serde(default)]
    state: String,
}

async fn came_back(
    desk: mpsc::Sender<(String, oneshot::Sender<Result<Taken>>)>,
    state: &str,
    back: Back,
) -> axum::response::Response {
    let over = || Kind::NotFound.error("Nobody waits for this sign-in any longer.");
    let taken = async || -> Result<Taken> {
        if verify_slices_are_equal(back.state.as_bytes(), state.as_bytes()).is_err() {
            return Err(Kind::Denied.error("This is not what the command that waits here began."));
        }
        let (told, answer) = oneshot::channel();
        desk.send((back.attache_code.clone(), told)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    };
    ConsentServer::told(taken().await)
}

fn for_page(made: &Result<MadeView>) -> Result<Taken> {
    made.as_ref()
        .map_err(Clone::clone)
        .map(|made| Taken::Connected { name: made.connection.name.clone(), account: made.connection.account.clone() })
}

/// Serves pages until the work is done, somebody gives up, or the time is over.
async fn serve_until(
    listeners: Vec<TcpListener>,
    routes: Router,
    arguments: &SignInArguments,
    work: impl Future<Output = Result<MadeView>>,
) -> Result<MadeView> {
    let (stop, stopped) = watch::channel(());
    let mut serving = JoinSet::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        let over = async move { drop(stopped.changed().await) };
        serving.spawn(axum::serve(listener, routes.clone()).with_graceful_shutdown(over).into_future());
    }
    let timeout = Duration::from_secs(arguments.timeout);
    let outcome = tokio::select! {
        made = work => made,
        () = tokio::time::sleep(timeout) => Err(Kind::ConsentNeeded
            .error(format!("Nobody signed in within {} s.", timeout.as_secs()))
            .hint("Connect again, and open the link that is printed.")),
        _ = tokio::signal::ctrl_c() => Err(Kind::ConsentNeeded.error("The sign-in was given up.")),
    };
    drop(stop);
    // The last page is on its way; a browser that does not take it is not waited for.
    let _ = tokio::time::timeout(LAST_PAGE, serving.join_all()).await;
    outcome
}

async fn in_a_browser(
    context: &Context,
    proposal: Arc<ConnectProposal>,
    arguments: &SignInArguments,
) -> Result<MadeView> {
    let redirect_uri = proposal.redirect_uri().cloned();
    let listeners = listen(redirect_uri.as_ref()).await?;
    let base = match &redirect_uri {
        Some(uri) => uri.join("/").map_err(|_| unusable(uri))?,
        None => address_of(&listeners)?,
    };
    let (desk, mut counter) = mpsc::channel(1);
    let server = ConsentServer::new(base, redirect_uri, Arc::new(Counter(desk)))?;
    let (_, link) = server.open(Asked { proposal, owner: None, return_url: None })?;
    let routes = server.routes().fallback(async || ConsentServer::no_page());
    say_where(&link, arguments);
    serve_until(listeners, routes, arguments, wait_on(context, &mut counter)).await
}

/// Does what a browser asks for, until it brings something to keep.
async fn wait_on(context: &Context, counter: &mut mpsc::Receiver<Errand>) -> Result<MadeView> {
    while let Some(errand) = counter.recv().await {
        match errand {
            Errand::SendAway { proposal, redirect_uri, told } => {
                let trip = context.with_host(async |host| host.send_away(&proposal, &redirect_uri).await).await;
                // Whoever closed the page may open the link again.
                let _ = told.send(trip);
            }
            Errand::Take { asked, signed_in, told } => {
                let keep = async |host: &Host| {
                    let made = host.connect(&asked.proposal, signed_in).await?;
                    MadeView::of(host, context.environment(), made)
                };
                let made = context.with_host(keep).await;
                // The browser may have been closed; the connection stands all the same.
                let _ = told.send(for_page(&made));
                return made;
            }
        }
    }
    Err(Kind::Internal.error("The sign-in ended without a word."))
}

/// A free port of loopback (RFC 8252, 7.3), or the very one that the app was registered with. Where that is called by its name,
/// a browser may take either address for it, and whoever listened on the other would get what is sent back (RFC 8252, 8.3).
async fn listen(redirect_uri: Option<&Url>) -> Result<Vec<TcpListener>> {
    let Some(uri) = redirect_uri else {
        return Ok(vec![bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await?]);
    };
    if uri.scheme() != "http" || !Origin::of(uri)?.is_loopback() {
        return Err(unusable(uri));
    }
    let port = uri.port_or_known_default().unwrap_or(80);
    match uri.host() {
        Some(UrlHost::Ipv4(ip)) => Ok(vec![bind(SocketAddr::new(IpAddr::V4(ip), port)).await?]),
        Some(UrlHost::Ipv6(ip)) => Ok(vec![bind(SocketAddr::new(IpAddr::V6(ip), port)).await?]),
        _ => {
            let mut both = vec![bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await?];
            match bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)).await {
                Ok(listener) => both.push(listener),
                Err(taken) if taken.kind() == Kind::Denied => return Err(taken),
                // A machine without IPv6 has nobody there.
                Err(error) => tracing::debug!(%error, "only the one address is listened on"),
            }
            Ok(both)
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Kind::Denied
            .error(format!("Something else listens on {address}, where the provider sends people back to."))
            .hint("End that, or register a redirect URI with another port: `attache app set CONNECTOR --redirect-uri URI`."),
        _ => Kind::Internal.error(format!("This machine does not let anybody listen on {address}: {error}.")),
    })
}

fn unusable(uri: &Url) -> Error {
    Kind::Usage
        .error(format!("The app sends people back to {uri}, which is not this machine."))
        .hint("Connect through the host that runs there, or register a loopback redirect URI with the provider.")
}

fn address_of(listeners: &[TcpListener]) -> Result<Url> {
    let address = listeners.iter().map(TcpListener::local_addr).next();
    let address = address
        .unwrap_or_else(|| Err(ErrorKind::NotFound.into()))
        .map_err(|error| Kind::Internal.error(format!("There is no port: {error}.")))?;
    Url::parse(&format!("http://{address}/")).map_err(|error| Kind::Internal.error(error.to_string()))
}

fn say_where(link: &Url, arguments: &SignInArguments) {
    let opened = !arguments.no_browser && prompt::open_browser(link.as_str());
    match opened {
        true => prompt::show(&format!("Your browser opens, to sign in. If it does not, open\n  {link}\n")),
        false => prompt::show(&format!("To sign in, open this link in a browser on this machine:\n  {link}\n")),
    }
}

/// Hands what a browser asks for over to whoever can open the store.
struct Counter(mpsc::Sender<Errand>);

#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is moved once")]
enum Errand {
    SendAway { proposal: Arc<ConnectProposal>, redirect_uri: Url, told: oneshot::Sender<Result<Trip>> },
    Take { asked: Asked, signed_in: SignedIn, told: oneshot::Sender<Result<Taken>> },
}

impl Counter {
    async fn ask<T>(&self, errand: impl FnOnce(oneshot::Sender<Result<T>>) -> Errand) -> Result<T> {
        let over = || Kind::NotFound.error("Nobody waits for this sign-in any longer.");
        let (told, answer) = oneshot::channel();
        self.0.send(errand(told)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }
}

#[async_trait]
impl Desk for Counter {
    async fn send_away(&self, proposal: Arc<ConnectProposal>, redirect_uri: &Url) -> Result<Trip> {
        let redirect_uri = redirect_uri.clone();
        self.ask(|told| Errand::SendAway { proposal, redirect_uri, told }).await
    }

    async fn take(&self, _: &str, asked: Asked, signed_in: SignedIn) -> Result<Taken> {
        self.ask(|told| Errand::Take { asked, signed_in, told }).await
    }
}
