//! Private keys as people have them: PEM (RFC 7468), or the bare seed of an Ed25519 key.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    },
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

const CURVES: [&EcdsaSigningAlgorithm; 3] =
    [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];

/// A PKCS#8 key in PEM (RFC 8410), or the 32 bytes of a seed (RFC 8032).
pub(in crate::manifest) fn ed25519(key: &[u8]) -> Result<Ed25519KeyPair, &'static str> {
    const NOT_ONE: &str = "the key is neither an Ed25519 private key in PEM (PKCS#8) nor a seed of 32 bytes";
    if key.len() == 32 {
        return Ed25519KeyPair::from_seed_unchecked(key).map_err(|_| NOT_ONE);
    }
    match &*from_pem(key, NOT_ONE)? {
        PrivateKeyDer::Pkcs8(der) => {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| NOT_ONE)
        }
        _ => Err(NOT_ONE),
    }
}

/// The SubjectPublicKeyInfo (RFC 5280) of a private key in PEM: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521,
/// or Ed25519; as PKCS#8, PKCS#1 or SEC 1.
pub(in crate::manifest) fn public_half(pem: &[u8]) -> Result<Vec<u8>, &'static str> {
    const NOT_ONE: &str = "the key is not an RSA, ECDSA or Ed25519 private key in PEM";
    match &*from_pem(pem, NOT_ONE)? {
        PrivateKeyDer::Pkcs1(key) => rsa::KeyPair::from_der(key.secret_pkcs1_der()).ok().and_then(|pair| info(&pair)),
        PrivateKeyDer::Sec1(key) => ecdsa(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => {
            let der = key.secret_pkcs8_der();
            let rsa = || info(&rsa::KeyPair::from_pkcs8(der).ok()?);
            let ed25519 = || info(&Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?);
            rsa().or_else(|| ecdsa(der)).or_else(ed25519)
        }
        _ => None,
    }
    .ok_or(NOT_ONE)
}

fn ecdsa(der: &[u8]) -> Option<Vec<u8>> {
    CURVES.into_iter().find_map(|curve| info(&EcdsaKeyPair::from_private_key_der(curve, der).ok()?))
}

fn info<K: KeyPair>(pair: &K) -> Option<Vec<u8>>
where
    K::PublicKey: AsDer<PublicKeyX509Der<'static>>,
{
    Some(pair.public_key().as_der().ok()?.as_ref().to_vec())
}

/// The key in a PEM text; PKCS#8, PKCS#1 or SEC 1.
pub(crate) fn from_pem(pem: &[u8], otherwise: &'static str) -> Result<Zeroizing<PrivateKeyDer<'static>>, &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map(Zeroizing::new).map_err(|_| {
        // PKCS#8 says so in its label, the older forms in a header.
        let encrypted = pem.windows(9).any(|window| window == b"ENCRYPTED");
        if encrypted { "the key is encrypted; decrypt it with `openssl pkcs8 -topk8 -nocrypt`" } else { otherwise }
    })
}
