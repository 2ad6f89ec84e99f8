//! Signing in while connecting: a browser that comes back to this machine, or a code for another device. The store is open only
//! for as long as the host works, never while a person is on their way.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use url::{Host as UrlHost, Url};

use super::{Context, prompt};
use crate::{
    connect::{ConnectProposal, Made, SignedIn, Trip},
    error::{Error, Kind, Result},
    manifest::oauth2::Grant,
    origin::Origin,
    server::consent::{Asked, ConsentServer, Desk, LASTS, Taken},
};

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

/// Signs in as the proposal says, and keeps the connection.
pub(super) async fn connect(context: &Context, proposal: ConnectProposal, arguments: &SignInArguments) -> Result<Made> {
    if proposal.sends_away() {
        return in_a_browser(context, Arc::new(proposal), arguments).await;
    }
    match proposal.grant {
        Some(Grant::DeviceCode) => on_another_device(context, proposal).await,
        _ => context.with_host(async |host| host.connect(&proposal, SignedIn::Agreed).await).await,
    }
}

async fn on_another_device(context: &Context, proposal: ConnectProposal) -> Result<Made> {
    let mut device = context.with_host(async |host| host.begin_device(&proposal).await).await?;
    prompt::show(&format!("Go to {} and enter the code {}\n", device.verification_uri, device.user_code));
    if let Some(complete) = &device.verification_uri_complete {
        prompt::show(&format!("or open {complete}\n"));
    }
    loop {
        tokio::time::sleep(device.interval).await;
        let polled = context.with_host(async |host| host.poll_device(&proposal, &mut device).await).await?;
        if let Some(granted) = polled {
            let signed_in = SignedIn::Elsewhere(granted);
            return context.with_host(async |host| host.connect(&proposal, signed_in).await).await;
        }
    }
}

async fn in_a_browser(context: &Context, proposal: Arc<ConnectProposal>, arguments: &SignInArguments) -> Result<Made> {
    let redirect_uri = proposal.redirect_uri().cloned();
    let listener = listen(redirect_uri.as_ref()).await?;
    let base = match &redirect_uri {
        Some(uri) => uri.join("/").map_err(|_| unusable(uri))?,
        None => address_of(&listener)?,
    };
    // Without somewhere to go, it is said here, and not on a page that a person has opened.
    if proposal.grant.is_some() {
        proposal.trip(&base)?;
    }
    let (desk, mut counter) = mpsc::channel(1);
    let server = ConsentServer::new(base, redirect_uri, Arc::new(Counter(desk)))?;
    let link = server.open(Asked { proposal, owner: None, return_url: None })?;
    let routes = server.routes();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(async move { serving.await });
    say_where(&link, arguments);
    let timeout = Duration::from_secs(arguments.timeout);
    let outcome = tokio::select! {
        made = wait_on(context, &mut counter) => made,
        () = tokio::time::sleep(timeout) => Err(Kind::ConsentNeeded
            .error(format!("Nobody signed in within {} s.", timeout.as_secs()))
            .hint("Connect again, and open the link that is printed.")),
        _ = tokio::signal::ctrl_c() => Err(Kind::ConsentNeeded.error("The sign-in was given up.")),
    };
    drop(stop);
    // The last page is on its way; a browser that does not take it is not waited for.
    let _ = tokio::time::timeout(LAST_PAGE, serving).await;
    outcome
}

/// Does what a browser asks for, until it brings something to keep.
async fn wait_on(context: &Context, counter: &mut mpsc::Receiver<Errand>) -> Result<Made> {
    while let Some(errand) = counter.recv().await {
        match errand {
            Errand::SendAway { proposal, redirect_uri, told } => {
                let trip = context.with_host(async |host| host.send_away(&proposal, &redirect_uri).await).await;
                // Whoever closed the page may open the link again.
                let _ = told.send(trip);
            }
            Errand::Take { asked, signed_in, told } => {
                let made = context.with_host(async |host| host.connect(&asked.proposal, signed_in).await).await;
                let for_page = made.as_ref().map_err(Clone::clone).map(|made| Taken::Connected {
                    name: made.connection.name.clone(),
                    account: made.connection.account.clone(),
                });
                // The browser may have been closed; the connection stands all the same.
                let _ = told.send(for_page);
                return made;
            }
        }
    }
    Err(Kind::Internal.error("The sign-in ended without a word."))
}

/// A free port of loopback (RFC 8252, 7.3), or the very one that the app was registered with.
async fn listen(redirect_uri: Option<&Url>) -> Result<TcpListener> {
    let address = match redirect_uri {
        None => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        Some(uri) => {
            let ip = match uri.host() {
                Some(UrlHost::Ipv4(ip)) => IpAddr::V4(ip),
                Some(UrlHost::Ipv6(ip)) => IpAddr::V6(ip),
                _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            if uri.scheme() != "http" || !Origin::of(uri)?.is_loopback() {
                return Err(unusable(uri));
            }
            SocketAddr::new(ip, uri.port_or_known_default().unwrap_or(80))
        }
    };
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

fn address_of(listener: &TcpListener) -> Result<Url> {
    let address = listener.local_addr().map_err(|error| Kind::Internal.error(format!("There is no port: {error}.")))?;
    Url::parse(&format!("http://{address}/")).map_err(|error| Kind::Internal.error(error.to_string()))
}

fn say_where(link: &Url, arguments: &SignInArguments) {
    let has_desktop = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|it| !it.is_empty()));
    let opened = !arguments.no_browser && has_desktop && open::that_detached(link.as_str()).is_ok();
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

    async fn take(&self, asked: Asked, signed_in: SignedIn) -> Result<Taken> {
        self.ask(|told| Errand::Take { asked, signed_in, told }).await
    }
}
