//! A connection on which both ends have proved who they are: TLS 1.3 with raw public keys (RFC 8446, RFC 7250), inside whatever
//! carries it. A proxy that ends the outer TLS sees and changes nothing; what was recorded opens nothing later, since each
//! handshake is signed anew. The version that is spoken is part of the handshake (ALPN, RFC 7301), so nobody on the way can
//! have an older one chosen.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, PeerMisbehaved, ServerConfig,
    SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::Identity;
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
};

/// How long a handshake may take; the line may be a bad one.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// What a channel is for, in the version that this Attaché speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The host asks, the gateway answers.
    Calls,
    /// The gateway shows a code, and is registered.
    Joining,
    /// The gateway gets another key.
    Rotating,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Calls, Self::Joining, Self::Rotating];

    fn name(self) -> &'static [u8] {
        match self {
            Self::Calls => b"attache-gateway/1",
            Self::Joining => b"attache-gateway-join/1",
            Self::Rotating => b"attache-gateway-rotate/1",
        }
    }

    fn of(name: Option<&[u8]>) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| Some(purpose.name()) == name)
    }
}

/// The gateway's end, which knows whom it dials.
///
/// # Errors
/// `denied` where another host answers, or one that speaks another version; `unreachable` where the line breaks.
pub(super) async fn dial<S>(stream: S, me: &Identity, host: Digest, purpose: Purpose) -> Result<client::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OfHost { host, algorithms: algorithms(&provider) }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(me.certified())));
    config.alpn_protocols = vec![purpose.name().to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let name = ServerName::try_from("attache").map_err(|error| unusable(&error))?;
    let stream = timeout(HANDSHAKE, TlsConnector::from(Arc::new(config)).connect(name, stream))
        .await
        .map_err(|_| Kind::Timeout.error(format!("The host did not finish the handshake within {HANDSHAKE:?}.")))?
        .map_err(|error| refused_by_host(&error))?;
    match Purpose::of(stream.get_ref().1.alpn_protocol()) {
        Some(agreed) if agreed == purpose => Ok(stream),
        _ => Err(other_version("The host")),
    }
}

/// The host's end, which finds out who dialled: the purpose, and whose key was shown. Whether that one may come in is yet to
/// be judged.
///
/// # Errors
/// `denied` where what comes is not such a handshake, or one of another version.
pub(super) async fn accept<S>(stream: S, me: &Identity) -> Result<(server::TlsStream<S>, Purpose, Digest)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(Arc::new(OfAnybody { algorithms: algorithms(&provider) }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(me.certified())));
    config.alpn_protocols = Purpose::ALL.map(|purpose| purpose.name().to_vec()).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let stream = timeout(HANDSHAKE, TlsAcceptor::from(Arc::new(config)).accept(stream))
        .await
        .map_err(|_| Kind::Timeout.error(format!("The gateway did not finish the handshake within {HANDSHAKE:?}.")))?
        .map_err(|error| Kind::Denied.error(format!("What came is not the handshake of a gateway: {error}.")))?;
    let session = stream.get_ref().1;
    let purpose = Purpose::of(session.alpn_protocol()).ok_or_else(|| other_version("The gateway"))?;
    let shown = session.peer_certificates().and_then(|shown| shown.first());
    let shown = shown.ok_or_else(|| Kind::Denied.error("The gateway showed no key."))?;
    let who = Digest::of(shown);
    Ok((stream, purpose, who))
}

fn algorithms(provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

fn unusable(error: &dyn std::fmt::Display) -> Error {
    Kind::Internal.error(format!("A channel cannot be made on this machine: {error}."))
}

fn other_version(who: &str) -> Error {
    Kind::Denied
        .error(format!("{who} speaks another version of the gateway's protocol."))
        .hint("Run the same version of Attaché at both ends.")
}

fn refused_by_host(error: &std::io::Error) -> Error {
    use rustls::{AlertDescription, Error as Tls};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
        Some(Tls::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => Kind::Denied
            .error("Another host answers than the one that this gateway joined: it has another key.")
            .hint("Look whether the URL is right. Where the host was made anew, join it again with a new code."),
        Some(Tls::AlertReceived(AlertDescription::NoApplicationProtocol)) => other_version("The host"),
        Some(other) => Kind::Denied.error(format!("What answers there is not the host: {other}.")),
        None => Kind::Unreachable.error(format!("The host ended the handshake: {}.", error.kind())),
    }
}

/// Takes one host, by its key.
#[derive(Debug)]
struct OfHost {
    host: Digest,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OfHost {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Digest::of(shown) == self.host {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(message, &key_of(shown), signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes anybody who has the key that they show; who that is, whoever accepts looks up.
#[derive(Debug)]
struct OfAnybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for OfAnybody {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(message, &key_of(shown), signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn key_of<'a>(shown: &'a CertificateDer<'_>) -> SubjectPublicKeyInfoDer<'a> {
    SubjectPublicKeyInfoDer::from(shown.as_ref())
}

#[cfg(test)]
mod tests;
