//! TLS as every client uses it: 1.2 or later, one cryptographic library, the machine's own certificate authorities.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use reqwest::{Certificate, ClientBuilder};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::sync::OnceCell;

use super::fault::Fault;
use crate::{
    error::{Error, Kind},
    origin::Scheme,
};

/// Sessions that one client may resume. A client speaks to one origin, and each of its connections uses a ticket up.
const SESSIONS: usize = 8;

const NO_AUTHORITIES: &str = "This machine has no certificate authorities, so no https service can be told from an impostor; \
    install them (on Debian the package ca-certificates), or name a file of them in SSL_CERT_FILE.";

/// Why reqwest makes no client that speaks TLS: it found no authorities, which it says in no words of its own.
pub(crate) fn no_client(why: &reqwest::Error) -> Error {
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        return Kind::Unreachable.error(NO_AUTHORITIES);
    }
    Kind::Internal.error(format!("There is no HTTP client: {why}."))
}

/// Has another HTTP client trust the certificate authorities in a PEM file too, beside the machine's own.
///
/// # Errors
/// `usage` where there are none in it.
pub(crate) fn trusting_also(builder: ClientBuilder, file: Option<&Path>) -> Result<ClientBuilder, Error> {
    let Some(file) = file else { return Ok(builder) };
    let wrong = |why: String| {
        Kind::Usage.error(format!("The certificate authorities in {} cannot be used: {why}.", file.display()))
    };
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(all) if !all.is_empty() => Ok(builder.tls_certs_merge(all)),
        Ok(_) => Err(wrong("there is no PEM certificate in it".into())),
        Err(_) => Err(wrong("they are not PEM".into())),
    }
}

/// Makes TLS configurations. The authorities are read when the first of them is needed, which a command that reaches no
/// https origin does not wait for.
pub(super) struct Tls {
    extra: Option<PathBuf>,
    trusting: OnceCell<ClientConfig>,
}

impl Tls {
    /// With a PEM file of authorities that are trusted beside the machine's own.
    pub(super) fn new(extra: Option<PathBuf>) -> Self {
        Self { extra, trusting: OnceCell::new() }
    }

    /// A configuration for one client. Verification is shared by all of them; resumable sessions are not, so that nothing
    /// links two connections that happen to use one service.
    pub(super) async fn config(&self, scheme: Scheme) -> Result<ClientConfig, Fault> {
        let mut config = match scheme {
            // Never used, and the HTTP client wants one nevertheless: it trusts nobody.
            Scheme::Http => trusting(RootCertStore::empty())?,
            Scheme::Https => {
                let load = || async {
                    let extra = self.extra.clone();
                    // Some 150 files on some machines.
                    let roots = tokio::task::spawn_blocking(move || authorities(extra)).await;
                    trusting(roots.map_err(|_| broken())??)
                };
                self.trusting.get_or_try_init(load).await?.clone()
            }
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(config)
    }
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, Fault> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|_| broken())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn broken() -> Fault {
    Fault::Unreachable("TLS could not be set up on this machine.".into())
}

fn authorities(extra: Option<PathBuf>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read or parsed is one authority less, not a reason to trust none.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = extra {
        let unreadable = |why: String| {
            Fault::Unreachable(format!("The certificate authorities in `{}` cannot be used: {why}.", file.display()))
        };
        let mut found = 0;
        for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| unreadable(error.to_string()))? {
            let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
            roots.add(certificate).map_err(|_| unreadable("one of them is no valid certificate".into()))?;
            found += 1;
        }
        if found == 0 {
            return Err(unreadable("there is no PEM certificate in it".into()));
        }
    }
    if roots.is_empty() {
        return Err(Fault::Unreachable(NO_AUTHORITIES.into()));
    }
    Ok(roots)
}
