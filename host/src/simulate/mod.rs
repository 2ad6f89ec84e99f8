//! A provider of OAuth 2.0 to try things against: an authorization server, an API that checks its tokens, and a control
//! plane that moves its clock, changes its settings and scripts its failures. Authors run it as `attache simulate`; tests and
//! the demo start it as [`Provider`].
//!
//! It is honest: it checks whatever a careful provider checks (client, redirect URI, code, verifier, scope), and what it does
//! otherwise it was told to, by a [`Quirk`] of a real provider or by a script. It stands by itself and calls nothing of the
//! host but its words for errors, secrets and algorithms, and where it speaks TLS, what accepts that.
//!
//! What must never happen here: a listener on anything but loopback; a file read or written; a token that is good anywhere
//! else, or that a second start would give again; a value that was presented or given out, in clear in its log.

mod answer;
mod api;
mod asked;
mod assertion;
mod authorize;
mod certified;
mod client;
mod clock;
mod control;
mod device;
mod grants;
mod line;
mod log;
mod metadata;
mod quirk;
mod register;
mod revoke;
mod script;
mod serve;
mod settings;
mod tls;
mod token;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use self::{
    api::Rates, authorize::Asking, client::Clients, clock::Clock, device::Devices, grants::Grants, line::Lines,
    log::Log, script::Script, serve::Shared, tls::Asks,
};
pub use self::{
    log::fingerprint,
    quirk::{Preset, Quirk},
    settings::{Change, Pkce, Settings},
    tls::Tls,
};
use crate::{
    error::{Kind, Result},
    sync::lock,
};

/// A provider that listens, until it is dropped.
pub struct Provider {
    address: SocketAddr,
    url: String,
    shared: Arc<Shared>,
    serving: Vec<JoinHandle<()>>,
}

impl Provider {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// As [`Provider::listen`].
    pub async fn start(settings: Settings) -> Result<Self> {
        Self::listen(settings, SocketAddr::from(([127, 0, 0, 1], 0)), None).await
    }

    /// Starts one on this address, over TLS where it has a certificate for that; port 0 is a free one.
    ///
    /// # Errors
    /// `denied` where the address is not loopback, `usage` where it cannot be had, or the settings need TLS.
    pub async fn listen(settings: Settings, address: SocketAddr, tls: Option<Tls>) -> Result<Self> {
        if !address.ip().is_loopback() {
            return Err(Kind::Denied
                .error(format!(
                    "{} is not loopback: whoever can reach a simulated provider can control it.",
                    address.ip()
                ))
                .hint("Listen on 127.0.0.1 or [::1]."));
        }
        settings.agree_with_tls(tls.is_some())?;
        let failed = |error| Kind::Usage.error(format!("The provider cannot listen on {address}: {error}."));
        let bind = async |address| {
            let listener = TcpListener::bind(address).await?;
            listener.local_addr().map(|address| (listener, address))
        };
        let (listener, at) = bind(address).await.map_err(failed)?;
        let url = format!("{}://{at}", if tls.is_some() { "https" } else { "http" });
        let (lines, shared) = match tls {
            None => {
                let shared = Arc::new(Shared::new(State::new(settings, url.clone(), None)));
                (vec![Lines::Clear(listener)], shared)
            }
            Some(tls) => {
                let (other, elsewhere) = bind(SocketAddr::new(at.ip(), 0)).await.map_err(failed)?;
                let elsewhere = format!("https://{elsewhere}");
                let shared = Arc::new(Shared::new(State::new(settings, url.clone(), Some(elsewhere))));
                let first = tls.listen(listener, Asks::UnlessElsewhere, &shared)?;
                (vec![first, tls.listen(other, Asks::Always, &shared)?], shared)
            }
        };
        let serving = lines.into_iter().map(|lines| tokio::spawn(serve::serve(lines, shared.clone()))).collect();
        Ok(Self { address: at, url, shared, serving })
    }

    /// Its issuer identifier (RFC 8414, 2), below which everything else is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Where it listens, as `--allow-private` takes it: `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Every request to it so far, in order, as `GET /simulate/log` has them: objects without a value of any secret.
    pub fn log(&self) -> Vec<Value> {
        lock(&self.shared.state).log.entries().iter().map(|entry| json!(entry)).collect()
    }

    /// Moves its clock ahead, as `POST /simulate/clock` does.
    pub fn advance(&self, by: Duration) {
        lock(&self.shared.state).clock.advance(by);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

/// Everything that it knows. One lock is around all of it, so that each request finds it whole.
struct State {
    settings: Settings,
    /// Its own URL, without a slash at the end.
    base: String,
    /// Over TLS: where certificates are always asked for.
    elsewhere: Option<String>,
    clock: Clock,
    clients: Clients,
    grants: Grants,
    asking: Asking,
    devices: Devices,
    rates: Rates,
    log: Log,
    script: Script,
}

impl State {
    fn new(settings: Settings, base: String, elsewhere: Option<String>) -> Self {
        let clients = Clients::of(&settings);
        Self {
            settings,
            base,
            elsewhere,
            clock: Clock::default(),
            clients,
            grants: Grants::default(),
            asking: Asking::default(),
            devices: Devices::default(),
            rates: Rates::default(),
            log: Log::default(),
            script: Script::default(),
        }
    }
}

/// A value that nobody guesses, marked as one that is worth nothing: `simulated-WHAT-` and 192 random bits.
fn random(what: &str) -> String {
    let mut bytes = [0; 24];
    // The system gives random bytes from the moment that it runs a process of ours (getrandom(2)).
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("there are no random bytes: {error}"));
    format!("simulated-{what}-{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether two secrets are the same, in a time that does not tell how much of them is.
fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use reqwest::Client;

    use super::*;

    #[tokio::test]
    async fn one_in_this_process_is_the_same_as_the_command() {
        let provider = Provider::start(Settings::default()).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/api/me", provider.url());
        assert_eq!(client.get(&url).bearer_auth("canary").send().await.unwrap().status(), 401);
        provider.advance(Duration::from_secs(60));
        client.get(&url).send().await.unwrap();
        let log = provider.log();
        assert!(log[1]["at"].as_f64() >= log[0]["at"].as_f64().map(|at| at + 60.0), "{log:?}");
        assert!(!json!(log).to_string().contains("canary"));
        let address = provider.address;
        drop(provider);
        while TcpListener::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn it_listens_on_loopback_only() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let refused = Provider::listen(Settings::default(), address.parse().unwrap(), None).await;
            assert_eq!(refused.err().unwrap().kind(), Kind::Denied, "{address}");
        }
    }
}
