//! A channel to the host: an HTTP connection, through a proxy where the environment names one, that is upgraded.

use std::{path::PathBuf, time::Duration};

use http::{
    StatusCode,
    header::{CONNECTION, UPGRADE},
};
use reqwest::{Client, Upgraded};
use tokio_rustls::client::TlsStream;
use url::Url;

use super::super::{
    Identity, PROTOCOL, ROUTE,
    channel::{self, Purpose},
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    origin::Origin,
    transport::{no_client, trusting_also, why_none_came},
};

/// Until the host answers.
const CONNECT: Duration = Duration::from_secs(30);

/// Where a host is, and how it is reached.
pub(super) struct Way {
    client: Client,
    host: Url,
    url: Url,
}

impl Way {
    /// To the host at that URL. Certificate authorities are the machine's own, and those of that file.
    ///
    /// # Errors
    /// `usage` where it is not a URL that a host may have.
    pub(super) fn to(host: &Url, ca_file: Option<&PathBuf>) -> Result<Self> {
        let is_here = Origin::of(host)?.is_loopback();
        if host.scheme() != "https" && !is_here {
            return Err(Kind::Usage
                .error(format!("`{host}` is not https."))
                .hint("Name the URL that browsers find the host under."));
        }
        let mut url = host.clone();
        url.set_path(&format!("{}{ROUTE}", host.path().trim_end_matches('/')));
        url.set_query(None);
        url.set_fragment(None);
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .user_agent(concat!("attache-gateway/", env!("CARGO_PKG_VERSION")));
        if is_here {
            builder = builder.no_proxy();
        }
        let client = trusting_also(builder, ca_file.map(PathBuf::as_path))?.build().map_err(|why| no_client(&why))?;
        Ok(Self { client, host: host.clone(), url })
    }

    /// As people know it.
    pub(super) fn host(&self) -> &Url {
        &self.host
    }

    /// Dials, and proves who it is to whom it expects.
    ///
    /// # Errors
    /// `unreachable`, `denied`.
    pub(super) async fn dial(&self, me: &Identity, host: Digest, purpose: Purpose) -> Result<TlsStream<Upgraded>> {
        let asked = self.client.get(self.url.clone()).header(CONNECTION, "upgrade").header(UPGRADE, PROTOCOL).send();
        let answer = tokio::time::timeout(CONNECT, asked).await.map_err(|_| self.silent())?;
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::NOT_FOUND => {
                return Err(Kind::Denied
                    .error(format!("At {} there is no host that takes gateways in.", self.url))
                    .hint("Look whether the URL is that of the host, and whether it is of this version."));
            }
            status => {
                return Err(Kind::Unreachable
                    .error(format!("The host at {} did not take the gateway in: it answered {status}.", self.url))
                    .hint("A proxy before the host must let the header `Upgrade` pass."));
            }
        }
        let upgraded = answer.upgrade().await.map_err(|error| self.unreachable(&error))?;
        channel::dial(upgraded, me, host, purpose).await
    }

    fn silent(&self) -> Error {
        Kind::Timeout.error(format!("The host at {} did not answer within {CONNECT:?}.", self.url))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let why = why_none_came(error);
        Kind::Unreachable.error(format!("The host at {} cannot be reached: {why}.", self.url))
    }
}
