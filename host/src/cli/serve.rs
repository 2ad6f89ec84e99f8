//! `attache serve`.

use std::{io::Write, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::{Answer, Context};
use crate::{
    connect::CONFIRM_WITHIN,
    error::{Kind, Result},
    host::Host,
    server::{self, Serve as How, Tls, TlsFiles},
};

/// Below the 60 days after which the strictest provider known ends what nobody uses, by far, and seldom enough to be no burden.
const KEEP_ALIVE: u64 = 7 * 86_400;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Serve {
    /// Where the pages are
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Where browsers find them, if it is not there; required where others can come
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,
    /// Where people may be sent when they come back from signing in: https, http on this machine, or an app's own scheme; may be
    /// repeated
    #[arg(long, value_name = "URL")]
    return_url: Vec<Url>,
    /// How long an application may take to confirm who came back, in seconds; then what the provider gave is revoked
    #[arg(long, value_name = "SECONDS", default_value_t = CONFIRM_WITHIN.as_secs(), value_parser = clap::value_parser!(u64).range(1..=CONFIRM_WITHIN.as_secs()))]
    confirm_within: u64,
    /// Renew what was not renewed for so long, in seconds: some providers end what nobody uses
    #[arg(long, value_name = "SECONDS", default_value_t = KEEP_ALIVE, value_parser = clap::value_parser!(u64).range(1..))]
    keep_alive: u64,
    /// The certificate for TLS in PEM, with its chain; read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM, readable by its owner alone
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// TLS ends at a proxy that alone reaches this host; whom it asks for stands last in X-Forwarded-For
    #[arg(long, conflicts_with_all = ["tls_cert", "insecure"])]
    behind_proxy: bool,
    /// Others come by plain http: whoever is on the way reads keys, codes and answers
    #[arg(long, conflicts_with = "tls_cert")]
    insecure: bool,
    /// Keep answering so long after being told to stop, while /readyz says so: for load balancers that look now and then
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    drain: u64,
    /// Show metrics at /metrics to whoever reaches this address; the socket in the data directory has them anyway
    #[arg(long, value_name = "IP:PORT")]
    metrics_listen: Option<SocketAddr>,
}

const HELP: &str = "\
It owns the data directory while it runs. Its URL is the first line on standard output, as soon as it listens. On SIGTERM or
SIGINT it finishes what is under way; told again, it does not wait. /healthz says that it answers, /readyz whether it can be used.

Examples:
  attache serve
  attache serve --return-url https://app.example.com/connected
  attache serve --return-url https://app.example.com/connected --confirm-within 60
  attache serve --listen 0.0.0.0:443 --public-url https://attache.example.com --tls-cert cert.pem --tls-key key.pem
  attache serve --listen 0.0.0.0:7070 --public-url https://attache.example.com --behind-proxy --drain 15";

impl Serve {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Tls::Here(TlsFiles { certificate, key }),
            _ if self.behind_proxy => Tls::Before,
            _ if self.insecure => Tls::Nowhere,
            _ => Tls::Unsaid,
        };
        let how = How {
            listen: self.listen,
            public_url: self.public_url,
            return_urls: self.return_url,
            confirm_within: Duration::from_secs(self.confirm_within),
            keep_alive: Duration::from_secs(self.keep_alive),
            tls,
            drain: Duration::from_secs(self.drain),
            metrics: self.metrics_listen,
        };
        let host = Arc::new(Host::open(&context.settings)?);
        let unheard = |error: std::io::Error| Kind::Internal.error(format!("There are no signals: {error}."));
        let mut terminated = signal(SignalKind::terminate()).map_err(unheard)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(unheard)?;
        let mut told = false;
        let told_to_stop = async || {
            tokio::select! { _ = terminated.recv() => {}, _ = interrupted.recv() => {} }
            if !std::mem::replace(&mut told, true) {
                context.tell("Stopping.");
            }
        };
        let started = |url: &Url| {
            let mut out = anstream::stdout();
            writeln!(out, "{url}")
                .and_then(|()| out.flush())
                .map_err(|error| Kind::Internal.error(format!("The URL could not be printed: {error}.")))
        };
        server::serve(host, how, started, told_to_stop).await?;
        Ok(Answer::new(json!({ "stopped": true }), ""))
    }
}
