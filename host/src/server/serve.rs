//! Running the host for as long as it is wanted: pages, the socket, and what has to be done now and then.

use std::{
    fs::{self, Permissions},
    io::ErrorKind,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use url::Url;

use super::{
    answering::{FromAfar, answer},
    api::{Api, Pages},
    backup,
    consent::{Asked, ConsentServer, Desk, Taken, Whose, below},
    console::{self, Console},
    control::{self, AtTheSocket},
    exposure::{self, Tls},
    gateway,
    mcp::{Door, stdio},
    metrics,
    prompt::Prompt,
    rotation,
    tls::{Shown, TlsListener},
    way_back,
};
use crate::{
    connect::{Answers, Blank, ConnectProposal, SignedIn, Trip},
    error::{Error, Kind, Result},
    host::Host,
    origin::Origin,
};

/// How often it is looked for what was not confirmed in time.
const SWEEP: Duration = Duration::from_secs(20);

/// How long answers that are under way may take when the host stops.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// How often it is looked for messages that are kept no longer.
const GIVEN_UP_SWEEP: Duration = Duration::from_secs(3_600);
/// How often it is looked for what nobody used, at most.
const KEEP_ALIVE_SWEEP: Duration = Duration::from_secs(3_600);

/// How the host is to run.
pub struct Serve {
    /// Where the pages are.
    pub listen: SocketAddr,
    /// Where browsers find them, if it is not there.
    pub public_url: Option<Url>,
    /// Where people may be sent to when they come back.
    pub return_urls: Vec<Url>,
    /// How long a connection waits to be confirmed; then it is revoked.
    pub confirm_within: Duration,
    /// Renewal tokens that were not used for so long are used.
    pub keep_alive: Duration,
    /// Where TLS ends.
    pub tls: Tls,
    /// How long everything is still answered once the host is told to stop, while it says that it does.
    pub drain: Duration,
    /// Where metrics are shown to whoever reaches it, beside the socket.
    pub metrics: Option<SocketAddr>,
}

/// Runs until `told_to_stop` returns, which it does each time that somebody says so: whoever says it again does not want to
/// wait. `started` is told where the pages are.
///
/// # Errors
/// `usage` where others could come and no public URL is named, or what they send could be read on the way; `denied` where
/// something else listens there.
pub async fn serve(
    host: Arc<Host>,
    how: Serve,
    started: impl FnOnce(&Url) -> Result<()>,
    mut told_to_stop: impl AsyncFnMut(),
) -> Result<()> {
    exposure::refuse_clear(how.listen, how.public_url.as_ref(), &how.tls)?;
    let may_be_clear = matches!(how.tls, Tls::Nowhere);
    how.return_urls.iter().try_for_each(|url| way_back::refuse_unsafe(url, may_be_clear))?;
    let (scheme, behind_proxy) = (how.tls.scheme(), matches!(how.tls, Tls::Before));
    let shown = match how.tls {
        Tls::Here(files) => Some(Shown::of(files)?),
        Tls::Before | Tls::Nowhere | Tls::Unsaid => None,
    };
    let pages = listen(how.listen).await?;
    let watched = match how.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let base = match how.public_url {
        Some(url) => url,
        None => local_url(scheme, &pages)?,
    };
    if let Err(error) = host.end_lost_sessions() {
        tracing::error!(%error, "that sessions ended is not told yet");
    }
    let desk = Arc::new(Keeper { host: host.clone(), confirm_within: how.confirm_within });
    let consent = ConsentServer::new(base.clone(), None, desk)?;
    if !Origin::of(&base)?.is_loopback() {
        host.people_return.get_or_init(|| below(&base, "callback"));
    }
    let (socket, path) = open_socket(&host)?;
    let return_urls = [how.return_urls, vec![console::return_url(&base)]].concat();
    let api =
        Api::new(host.clone(), Arc::default(), Some(Pages::new(consent.clone(), return_urls, how.confirm_within)));
    let routes = api.routes();
    let console = Console::new(&base, host.clone(), routes.clone());
    let mcp = Door::new(host.clone(), host.clone(), Some(console.clone()), &base);
    let public = consent.routes().merge(routes.clone()).merge(mcp.routes()).merge(console.routes());
    let public = public.merge(gateway::routes(host.clone()));
    let public = public.fallback(async || ConsentServer::no_page());
    let longest_call = host.settings().limits.value.wall();
    let (ending, ended) = watch::channel(());
    let by_operator = routes.merge(console.link_routes()).merge(metrics::routes(host.clone()));
    let by_operator = by_operator
        .merge(stdio::routes(&mcp))
        .merge(backup::routes(host.clone()))
        .merge(rotation::routes(host.clone()));
    let routes = control::by_operator(by_operator);
    let afar = move |address| FromAfar { address, behind_proxy };
    let public = match &shown {
        Some(shown) => {
            let pages = TlsListener::new(Prompt(pages), shown.clone())?;
            tokio::spawn(answer(pages, public, move |_, from| afar(from), ended.clone()))
        }
        None => tokio::spawn(answer(Prompt(pages), public, move |_, from| afar(from), ended.clone())),
    };
    let serving = [public, tokio::spawn(answer(socket, routes, |stream, _| AtTheSocket::of(stream), ended))];
    let caring = [
        tokio::spawn(show_metrics(watched, host.clone())),
        tokio::spawn(renew_certificates(shown)),
        tokio::spawn(now_and_then(SWEEP, host.clone(), async |host: &Host| host.forget_calls(Timestamp::now()))),
        tokio::spawn(now_and_then(SWEEP, host.clone(), async |host: &Host| {
            host.resting.sweep();
            Ok(())
        })),
        tokio::spawn(now_and_then(GIVEN_UP_SWEEP, host.clone(), async |host: &Host| {
            host.forget_given_up(Timestamp::now())
        })),
        tokio::spawn(now_and_then(SWEEP.min(how.confirm_within), host.clone(), async |host: &Host| {
            for environment in host.environments()? {
                if let Err(error) = host.end_unconfirmed(&environment.name, Timestamp::now()).await {
                    tracing::error!(%error, "what was not confirmed could not be ended");
                }
            }
            Ok(())
        })),
        tokio::spawn(now_and_then(SWEEP, host.clone(), async move |_: &Host| {
            consent.note_ran_out();
            Ok(())
        })),
        tokio::spawn(now_and_then(KEEP_ALIVE_SWEEP.min(how.keep_alive), host.clone(), async move |host: &Host| {
            host.keep_alive(how.keep_alive).await.map(drop)
        })),
        tokio::spawn(host.clone().deliver_webhooks()),
        tokio::spawn(host.clone().write_uses_now_and_then()),
    ];
    let outcome = started(&base);
    if outcome.is_ok() {
        told_to_stop().await;
        api.stop();
        tokio::select! { () = tokio::time::sleep(how.drain) => {}, () = told_to_stop() => {} }
    }
    // A renewal that has left goes on in a task of its own, until the host is closed.
    caring.iter().for_each(tokio::task::JoinHandle::abort);
    // From here on nobody new is let in.
    drop(ending);
    tokio::select! { () = host.underway.none() => {}, () = tokio::time::sleep(longest_call) => {}, () = told_to_stop() => {} }
    let last = tokio::time::Instant::now() + LAST_ANSWERS;
    tokio::select! { () = mcp.answered() => {}, () = tokio::time::sleep_until(last) => {}, () = told_to_stop() => {} }
    // Clients that wait for changes would wait on, and gateways for calls.
    mcp.close();
    host.relay.close();
    for mut served in serving {
        match tokio::time::timeout_at(last, &mut served).await {
            Ok(Ok(Err(error))) => tracing::error!(%error, "a listener failed"),
            Ok(_) => {}
            // Somebody holds half a request.
            Err(_) => served.abort(),
        }
    }
    // It was made here; somebody may have taken it away already.
    let _ = fs::remove_file(path);
    outcome?;
    host.close()
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Kind::Denied.error(format!("Something else listens on {address}.")),
        _ => Kind::Denied.error(format!("Nobody can listen on {address}: {error}.")),
    })
}

async fn show_metrics(listener: Option<TcpListener>, host: Arc<Host>) {
    let Some(listener) = listener else { return };
    // For as long as the host runs.
    let (_ending, over) = watch::channel(());
    let who = |_: &TcpStream, address| FromAfar { address, behind_proxy: false };
    if let Err(error) = answer(listener, metrics::routes(host), who, over).await {
        tracing::error!(%error, "metrics are no longer shown");
    }
}

/// Reads the certificate again whenever somebody says so (SIGHUP).
async fn renew_certificates(shown: Option<Arc<Shown>>) {
    let Some(shown) = shown else { return };
    let mut told = match signal(SignalKind::hangup()) {
        Ok(told) => told,
        Err(error) => return tracing::error!(%error, "the certificate is not read again"),
    };
    while told.recv().await.is_some() {
        match shown.renew() {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate stays the one before"),
        }
    }
}

async fn now_and_then(every: Duration, host: Arc<Host>, work: impl AsyncFn(&Host) -> Result<()>) {
    let mut turns = tokio::time::interval(every);
    loop {
        turns.tick().await;
        if let Err(error) = work(&host).await {
            tracing::error!(%error, "what has to be done now and then was not");
        }
    }
}

fn local_url(scheme: &str, listener: &TcpListener) -> Result<Url> {
    let address = listener.local_addr().map_err(|error| internal(&error))?;
    Url::parse(&format!("{scheme}://{address}/")).map_err(|error| internal(&error))
}

/// In the data directory, for its owner alone. The lock is held, so that one that is there is left over.
fn open_socket(host: &Host) -> Result<(UnixListener, PathBuf)> {
    let path = control::socket(host.data_dir());
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(internal(&error)),
        _ => {}
    }
    let socket = UnixListener::bind(&path).map_err(|error| {
        Kind::StoreUnavailable
            .error(format!("The socket {} cannot be made: {error}.", path.display()))
            .hint("Its path may have 107 bytes; choose a shorter `--data-dir`.")
    })?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|error| internal(&error))?;
    Ok((socket, path))
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Kind::Internal.error(format!("The host cannot listen: {error}."))
}

/// Takes what people bring back to a host that runs: a connection comes of it when whoever asked confirms.
struct Keeper {
    host: Arc<Host>,
    confirm_within: Duration,
}

#[async_trait]
impl Desk for Keeper {
    async fn send_away(&self, proposal: Arc<ConnectProposal>, redirect_uri: &Url) -> Result<Trip> {
        self.host.send_away(&proposal, redirect_uri).await
    }

    async fn take(&self, session: &str, asked: Asked, signed_in: SignedIn) -> Result<Taken> {
        let Asked { proposal, owner, return_url } = asked;
        // Whoever comes back from a provider is let in, however many there are: their code is good once.
        let _admitted = match signed_in {
            SignedIn::Agreed => Some(self.host.traffic.admit(proposal.key(), None)?),
            _ => None,
        };
        let (Some(owner), Some(mut url)) = (owner, return_url) else {
            return Err(Kind::Internal.error("A session of the host has nobody to go back to."));
        };
        let code = self.host.connect_pending(&proposal, signed_in, &owner, Some(session), self.confirm_within).await?;
        url.query_pairs_mut().append_pair("attache_code", &code);
        Ok(Taken::Confirm(url))
    }

    async fn fill_in(&self, blank: &Blank, answers: Answers) -> Result<ConnectProposal> {
        let _admitted = self.host.traffic.admit(blank.key(), None)?;
        self.host.fill_in(blank, answers).await
    }

    fn failed(&self, session: &Whose, error: &Error) {
        if let Some(owner) = &session.owner {
            self.host.session_failed(&session.environment, &session.session, owner, error);
        }
    }

    fn opened(&self, session: &Whose) -> Result<()> {
        match &session.owner {
            Some(owner) => self.host.begin_session(&session.environment, &session.session, owner),
            None => Ok(()),
        }
    }

    fn ran_out(&self, sessions: Vec<Whose>) {
        let owned = |it: Whose| Some((it.environment, it.session, it.owner?));
        self.host.sessions_ran_out(sessions.into_iter().filter_map(owned));
    }
}
