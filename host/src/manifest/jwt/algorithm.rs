//! The algorithms of JSON Web Signatures (RFC 7518 section 3.1, RFC 8037), and what they sign with.

use std::fmt;

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, RsaEncoding,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::manifest::template::{ed25519, from_pem};

/// `alg` of a token's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 7518's")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

const ALL: [(Algorithm, &str); 13] = [
    (Algorithm::Hs256, "HS256"),
    (Algorithm::Hs384, "HS384"),
    (Algorithm::Hs512, "HS512"),
    (Algorithm::Rs256, "RS256"),
    (Algorithm::Rs384, "RS384"),
    (Algorithm::Rs512, "RS512"),
    (Algorithm::Ps256, "PS256"),
    (Algorithm::Ps384, "PS384"),
    (Algorithm::Ps512, "PS512"),
    (Algorithm::Es256, "ES256"),
    (Algorithm::Es384, "ES384"),
    (Algorithm::Es512, "ES512"),
    (Algorithm::EdDsa, "EdDSA"),
];

impl Algorithm {
    /// The algorithm of that name, which is case-sensitive. `none` is not one: it would sign nothing.
    pub fn of(name: &str) -> Option<Self> {
        ALL.into_iter().find(|(_, known)| *known == name).map(|(algorithm, _)| algorithm)
    }

    /// As RFC 7518 and RFC 8037 write it.
    pub fn name(self) -> &'static str {
        ALL.into_iter().find(|(algorithm, _)| *algorithm == self).map_or("", |(_, name)| name)
    }

    /// Every name, for messages.
    pub(super) fn names() -> String {
        ALL.map(|(_, name)| name).join(", ")
    }

    /// Signs with a key as people have it: bytes for `HS…`, a private key in PEM for all others.
    pub(super) fn sign(self, key: &[u8], message: &[u8]) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Hs256 => hmac(hmac::HMAC_SHA256, key, message),
            Self::Hs384 => hmac(hmac::HMAC_SHA384, key, message),
            Self::Hs512 => hmac(hmac::HMAC_SHA512, key, message),
            Self::Rs256 => rsa(&signature::RSA_PKCS1_SHA256, key, message),
            Self::Rs384 => rsa(&signature::RSA_PKCS1_SHA384, key, message),
            Self::Rs512 => rsa(&signature::RSA_PKCS1_SHA512, key, message),
            Self::Ps256 => rsa(&signature::RSA_PSS_SHA256, key, message),
            Self::Ps384 => rsa(&signature::RSA_PSS_SHA384, key, message),
            Self::Ps512 => rsa(&signature::RSA_PSS_SHA512, key, message),
            Self::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, key, message),
            Self::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, key, message),
            Self::Es512 => ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING, key, message),
            Self::EdDsa => Ok(ed25519(key)?.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The compact serialisation (RFC 7515 section 7.1) of a header and a payload, signed.
pub(crate) fn compact(
    algorithm: Algorithm,
    key: &[u8],
    header: &[u8],
    payload: &[u8],
) -> Result<Zeroizing<String>, &'static str> {
    // A signature of RSA with 8192 bits takes 1366 characters.
    let mut token = Zeroizing::new(String::with_capacity(4 * (header.len() + payload.len()) / 3 + 1400));
    BASE64_URL_SAFE_NO_PAD.encode_string(header, &mut token);
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = algorithm.sign(key, token.as_bytes())?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn hmac(algorithm: hmac::Algorithm, key: &[u8], message: &[u8]) -> Result<Vec<u8>, &'static str> {
    // RFC 7518 section 3.2 asks for a key as long as the hash, but services hand out shorter ones.
    if key.is_empty() {
        return Err("the key is empty");
    }
    Ok(hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec())
}

fn rsa(encoding: &'static dyn RsaEncoding, pem: &[u8], message: &[u8]) -> Result<Vec<u8>, &'static str> {
    const NOT_ONE: &str = "the key is not an RSA private key of 2048 to 8192 bits in PEM";
    let pair = match &*from_pem(pem, NOT_ONE)? {
        PrivateKeyDer::Pkcs1(der) => rsa::KeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return Err(NOT_ONE),
    };
    let pair = pair.map_err(|_| NOT_ONE)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature).map_err(|_| "the key does not sign")?;
    Ok(signature)
}

fn ecdsa(curve: &'static EcdsaSigningAlgorithm, pem: &[u8], message: &[u8]) -> Result<Vec<u8>, &'static str> {
    const NOT_ONE: &str = "the key is not an EC private key of the algorithm's curve in PEM";
    let pair = match &*from_pem(pem, NOT_ONE)? {
        PrivateKeyDer::Sec1(der) => EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(der) => EcdsaKeyPair::from_private_key_der(curve, der.secret_pkcs8_der()),
        _ => return Err(NOT_ONE),
    };
    let signature = pair.map_err(|_| NOT_ONE)?.sign(&SystemRandom::new(), message);
    Ok(signature.map_err(|_| "the key does not sign")?.as_ref().to_vec())
}
