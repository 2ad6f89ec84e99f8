//! Certificates that clients show (RFC 8705, 2), and how one is known by its own.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    client::verify_server_name,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use crate::digest::Digest;

/// What a client showed in the TLS handshake, its own certificate first; nothing, where it showed none.
pub(super) type Shown = Arc<[CertificateDer<'static>]>;

/// What a client is known by.
#[derive(Debug, Clone)]
pub(super) enum Certified {
    /// This very certificate: `self_signed_tls_client_auth` (RFC 8705, 2.2).
    Itself(CertificateDer<'static>),
    /// Any of this authority for a DNS name: `tls_client_auth` with `tls_client_auth_san_dns` (RFC 8705, 2.1).
    By(Arc<dyn ClientCertVerifier>, ServerName<'static>),
}

impl Certified {
    /// # Errors
    /// A sentence's end.
    pub(super) fn itself(pem: &str) -> Result<Self, &'static str> {
        certificate(pem).map(Self::Itself)
    }

    /// # Errors
    /// A sentence's end.
    pub(super) fn by(authority: &str, name: &str) -> Result<Self, &'static str> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| "the client's id is no DNS name")?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate(authority)?).map_err(|_| "it is no certificate of an authority")?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self::By(verifier.map_err(|_| "it is no certificate of an authority")?, name))
    }

    /// Its name in metadata (RFC 8705, 2.1.1 and 2.2.1).
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Itself(_) => "self_signed_tls_client_auth",
            Self::By(..) => "tls_client_auth",
        }
    }

    /// Whether that is the client's.
    pub(super) fn is(&self, shown: &[CertificateDer<'static>]) -> bool {
        let Some((own, chain)) = shown.split_first() else { return false };
        match self {
            Self::Itself(known) => known == own,
            Self::By(authority, name) => {
                authority.verify_client_cert(own, chain, UnixTime::now()).is_ok()
                    && ParsedCertificate::try_from(own).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
            }
        }
    }
}

/// What a token may be bound to (RFC 8705, 3.1: `x5t#S256`).
pub(super) fn thumbprint(shown: &[CertificateDer<'static>]) -> Option<Digest> {
    shown.first().map(|own| Digest::of(own))
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, &'static str> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "there is no PEM certificate in it")
}
