//! TLS of the provider's own. Clients may show certificates in the handshake; whose they are is judged with each request.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use tokio::net::TcpListener;

use super::{line::Lines, quirk::Quirk, serve::Shared};
use crate::{
    error::{Kind, Result},
    server::{Prompt, TlsListener},
    sync::lock,
    transport::certified_key,
};

/// What the provider shows of itself in a TLS handshake.
#[derive(Clone)]
pub struct Tls {
    key: Arc<SingleCertAndKey>,
    certificate: String,
}

impl Tls {
    /// A certificate for this machine's own names, of nobody's authority, whose key is in memory only.
    ///
    /// # Errors
    /// `internal` where this machine makes none.
    pub fn made() -> Result<Self> {
        let failed = |why: rcgen::Error| Kind::Internal.error(format!("No certificate could be made: {why}."));
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "attache simulate");
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        Self::of(certificate.as_bytes(), key.serialize_pem().as_bytes())
    }

    /// A certificate with its chain, and its private key, both in PEM.
    ///
    /// # Errors
    /// `usage` where they are none, or not of each other.
    pub fn of(chain: &[u8], key: &[u8]) -> Result<Self> {
        let unusable = |why: &str| Kind::Usage.error(format!("TLS cannot be offered with these: {why}."));
        let certified: CertifiedKey = certified_key(chain, key).map_err(unusable)?;
        let certificate = String::from_utf8_lossy(chain).into_owned();
        Ok(Self { key: Arc::new(SingleCertAndKey::from(certified)), certificate })
    }

    /// In PEM: what a client is told to trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Listens with it.
    pub(super) fn listen(&self, tcp: TcpListener, asks: Asks, shared: &Arc<Shared>) -> Result<Lines> {
        let provider = aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| Kind::Internal.error(format!("TLS could not be set up: {error}.")))?
            .with_client_cert_verifier(Arc::new(Taking { asks, shared: Arc::downgrade(shared), algorithms }))
            .with_cert_resolver(self.key.clone());
        TlsListener::over(Prompt(tcp), config).map(Lines::Tls)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// When a port asks clients for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    Always,
    /// Where certificates are asked for at one place only, this is another.
    UnlessElsewhere,
}

/// Takes whatever certificate a client has the key to, and none as well: browsers have none.
struct Taking {
    asks: Asks,
    shared: Weak<Shared>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Taking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taking").field(&self.asks).finish()
    }
}

impl ClientCertVerifier for Taking {
    fn offer_client_auth(&self) -> bool {
        let elsewhere =
            || self.shared.upgrade().is_some_and(|shared| lock(&shared.state).settings.has(Quirk::MtlsElsewhere));
        self.asks == Asks::Always || !elsewhere()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
