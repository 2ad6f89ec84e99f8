//! Who the two ends are, and what boxes are sealed to.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{
    crypto::{
        aws_lc_rs::{hpke, sign::any_eddsa_type},
        hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
    },
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    secret::Secret,
};

/// Of every private key here.
pub(super) const KEY_BYTES: usize = 32;

/// RFC 9180 in base mode: X25519, HKDF-SHA256, ChaCha20-Poly1305.
static SUITE: &dyn Hpke = hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305;

/// One end of a channel: an Ed25519 key pair (RFC 8032), as TLS shows it (RFC 7250).
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    public: Digest,
}

impl Identity {
    /// The one whose private key this is.
    ///
    /// # Errors
    /// `internal` where it is not 32 bytes.
    pub fn of_seed(seed: &Secret) -> Result<Self> {
        let unusable = || Kind::Internal.error("The key that a channel is made with cannot be used.");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| unusable())?;
        let written = pair.to_pkcs8v1().map_err(|_| unusable())?;
        let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(written.as_ref())).map_err(|_| unusable())?;
        let public = signing.public_key().ok_or_else(unusable)?.to_vec();
        let fingerprint = Digest::of(&public);
        let certified = CertifiedKey::new(vec![CertificateDer::from(public)], signing);
        Ok(Self { certified: Arc::new(certified), public: fingerprint })
    }

    /// What the other end knows it by: the SHA-256 of its public key (RFC 5280's SubjectPublicKeyInfo).
    pub fn public(&self) -> Digest {
        self.public
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public.short())
    }
}

/// The public key that a gateway's boxes are sealed to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealingKey([u8; KEY_BYTES]);

impl SealingKey {
    /// What people compare: the SHA-256 of what it is for and the key itself.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&[b"attache gateway key\0", &self.0[..]].concat())
    }

    /// Seals to it: what must be sent along, and the sealed text.
    pub(super) fn seal(&self, info: &[u8], bound: &[u8], plain: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let (encapsulated, sealed) = SUITE
            .seal(info, bound, plain, &HpkePublicKey(self.0.to_vec()))
            .map_err(|_| Kind::Internal.error("The gateway's key is not one that anything can be sealed to."))?;
        Ok((encapsulated.0, sealed))
    }
}

impl SealingKey {
    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(super) fn of_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.fingerprint().short())
    }
}

impl From<SealingKey> for String {
    fn from(key: SealingKey) -> Self {
        BASE64_STANDARD.encode(key.0)
    }
}

impl TryFrom<String> for SealingKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let bytes = BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| Kind::InvalidInput.error("That is not the key of a gateway: it has 32 bytes, in base64."))
    }
}

/// The private key that opens what was sealed to a gateway.
pub(super) struct OpeningKey {
    private: HpkePrivateKey,
    public: SealingKey,
}

impl OpeningKey {
    pub(super) fn generate() -> Result<Self> {
        let (public, private) =
            SUITE.generate_key_pair().map_err(|_| Kind::Internal.error("No key pair could be made."))?;
        let public =
            public.0.try_into().map_err(|_| Kind::Internal.error("A key has another length than it should."))?;
        Ok(Self { private, public: SealingKey(public) })
    }

    /// Of what was kept of one.
    pub(super) fn of(private: &Secret, public: SealingKey) -> Self {
        Self { private: HpkePrivateKey::from(private.expose().to_vec()), public }
    }

    /// Of what a person kept, whose two halves must belong together.
    pub(super) fn recovered(private: &Secret, public: SealingKey) -> Option<Self> {
        let key = Self::of(private, public);
        let (encapsulated, sealed) = key.public.seal(b"", b"", b"").ok()?;
        key.open(b"", b"", &encapsulated, &sealed)?;
        Some(key)
    }

    pub(super) fn private(&self) -> Secret {
        Secret::new(self.private.secret_bytes())
    }

    pub(super) fn public(&self) -> &SealingKey {
        &self.public
    }

    /// Opens what was sealed with just this info and bound to just that; nothing else.
    pub(super) fn open(
        &self,
        info: &[u8],
        bound: &[u8],
        encapsulated: &[u8],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
        SUITE.open(&encapsulated, info, bound, sealed, &self.private).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_the_same_terms_and_to_the_same_key_only() {
        let (key, other) = (OpeningKey::generate().unwrap(), OpeningKey::generate().unwrap());
        let (encapsulated, sealed) = key.public().seal(b"info", b"bound", b"plain").unwrap();
        let kept = OpeningKey::of(&key.private(), key.public().clone());
        assert_eq!(kept.open(b"info", b"bound", &encapsulated, &sealed).unwrap().as_slice(), b"plain");
        assert!(other.open(b"info", b"bound", &encapsulated, &sealed).is_none());
        assert!(key.open(b"another", b"bound", &encapsulated, &sealed).is_none());
        assert!(key.open(b"info", b"unbound", &encapsulated, &sealed).is_none());
        let mut altered = sealed.clone();
        altered[0] ^= 1;
        assert!(key.open(b"info", b"bound", &encapsulated, &altered).is_none());
    }

    #[test]
    fn a_seed_is_always_the_same_identity() {
        let identity = |byte: u8| Identity::of_seed(&Secret::new(vec![byte; KEY_BYTES])).unwrap().public();
        assert_eq!(identity(1), identity(1));
        assert_ne!(identity(1), identity(2));
        assert!(Identity::of_seed(&Secret::new("short")).is_err());
    }

    #[test]
    fn a_key_is_its_text_and_nothing_else_is_one() {
        let key = OpeningKey::generate().unwrap().public().clone();
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<SealingKey>(&text).unwrap(), key);
        for wrong in ["\"\"", "\"AAAA\"", "\"?\"", "7"] {
            assert!(serde_json::from_str::<SealingKey>(wrong).is_err(), "{wrong}");
        }
    }
}
