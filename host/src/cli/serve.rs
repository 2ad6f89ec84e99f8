//! `attache serve`.

use std::{io::Write, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::{Answer, Context, prompt};
use crate::{
    error::{Kind, Result},
    host::Host,
    server::{self, Serve as How},
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
    /// Where people may be sent when they come back from signing in; may be repeated
    #[arg(long, value_name = "URL")]
    return_url: Vec<Url>,
    /// Use renewal tokens that were not used for so long, in seconds: some providers end what nobody uses
    #[arg(long, value_name = "SECONDS", default_value_t = KEEP_ALIVE, value_parser = clap::value_parser!(u64).range(1..))]
    keep_alive: u64,
}

const HELP: &str = "\
It owns the data directory while it runs. Its URL is the first line on standard output, as soon as it listens.

Examples:
  attache serve
  attache serve --return-url https://app.example.com/connected
  attache serve --listen 0.0.0.0:7070 --public-url https://attache.example.com --return-url https://app.example.com/connected";

impl Serve {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        if let Some(url) = &self.public_url
            && !(url.scheme() == "https" || crate::origin::Origin::of(url)?.is_loopback())
        {
            return Err(Kind::Usage.error(format!("`{url}` is not https, so that codes would travel in the clear.")));
        }
        let how = How {
            listen: self.listen,
            public_url: self.public_url,
            return_urls: self.return_url,
            keep_alive: Duration::from_secs(self.keep_alive),
        };
        let host = Arc::new(Host::open(&context.settings)?);
        let unheard = |error: std::io::Error| Kind::Internal.error(format!("There are no signals: {error}."));
        let mut terminated = signal(SignalKind::terminate()).map_err(unheard)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(unheard)?;
        let stop = async {
            tokio::select! { _ = terminated.recv() => {}, _ = interrupted.recv() => {} }
            prompt::show("Stopping.\n");
        };
        let started = |url: &Url| {
            let mut out = anstream::stdout();
            writeln!(out, "{url}")
                .and_then(|()| out.flush())
                .map_err(|error| Kind::Internal.error(format!("The URL could not be printed: {error}.")))
        };
        server::serve(host, how, started, stop).await?;
        Ok(Answer::new(json!({ "stopped": true }), ""))
    }
}
