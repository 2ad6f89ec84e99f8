//! The functions of templates.

use aws_lc_rs::{
    digest,
    encoding::{AsDer, PublicKeyX509Der},
    hmac, rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    },
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use jiff::{SignedDuration, Timestamp, fmt::strtime, tz::TimeZone};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{Value, fill::Moment};

/// A function, with the words that choose its kind.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manifest) enum Function {
    Base64,
    Hex,
    Unbase64,
    Unhex,
    Hash(Algorithm),
    Sign(Algorithm),
    Fingerprint(Algorithm),
    Now(Format),
    Uuid,
}

/// What hashes or signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manifest) enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
    HmacSha1,
    HmacSha256,
    HmacSha512,
    Ed25519,
}

/// How a time is written.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manifest) enum Format {
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// IMF-fixdate (RFC 9110 section 5.6.7).
    Http,
    /// strftime, in UTC.
    Strftime(String),
}

/// IMF-fixdate as strftime has it.
const IMF_FIXDATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

impl Algorithm {
    pub(super) fn of_hash(word: &str) -> Result<Self, String> {
        match word {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(format!("there is no hash `{word}` (sha1, sha256, sha512)")),
        }
    }

    pub(super) fn of_signature(word: &str) -> Result<Self, String> {
        match word {
            "hmac-sha1" => Ok(Self::HmacSha1),
            "hmac-sha256" => Ok(Self::HmacSha256),
            "hmac-sha512" => Ok(Self::HmacSha512),
            "ed25519" => Ok(Self::Ed25519),
            _ => Err(format!("there is no signature `{word}` (hmac-sha1, hmac-sha256, hmac-sha512, ed25519)")),
        }
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        // The old ones are in use at services that will not change; nothing of ours relies on them.
        let algorithm = match self {
            Self::Sha1 | Self::HmacSha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha512 | Self::HmacSha512 => &digest::SHA512,
            Self::Sha256 | Self::HmacSha256 | Self::Ed25519 => &digest::SHA256,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    fn sign(self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, &'static str> {
        let algorithm = match self {
            Self::HmacSha1 | Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::HmacSha256 | Self::Sha256 => hmac::HMAC_SHA256,
            Self::HmacSha512 | Self::Sha512 => hmac::HMAC_SHA512,
            Self::Ed25519 => return Ok(ed25519(key)?.sign(data).as_ref().to_vec()),
        };
        Ok(hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec())
    }
}

impl Format {
    pub(super) fn of(word: &str) -> Result<Self, String> {
        Ok(match word {
            "unix" => Self::Unix,
            "unix-ms" => Self::UnixMs,
            "http" => Self::Http,
            format => {
                let shown = format!("`{format}` is no format of a time");
                if !format.contains('%')
                    || strtime::format(format, &Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC)).is_err()
                {
                    return Err(shown);
                }
                Self::Strftime(format.to_owned())
            }
        })
    }

    pub(super) fn write(&self, time: Timestamp) -> Result<String, &'static str> {
        let zoned = time.to_zoned_datetime(TimeZone::UTC);
        match self {
            Self::Unix => Ok(time.as_second().to_string()),
            Self::UnixMs => Ok(time.as_millisecond().to_string()),
            Self::Http => strtime::format(IMF_FIXDATE, &zoned).map_err(|_| "the time cannot be written"),
            Self::Strftime(format) => strtime::format(format, &zoned).map_err(|_| "the time cannot be written"),
        }
    }
}

impl Function {
    /// Computes it. What is joined (`d...`) is joined without anything between.
    pub(super) fn apply(&self, arguments: &[Value], moment: &Moment) -> Result<Value, &'static str> {
        let secret = arguments.iter().any(Value::is_secret);
        let joined = |values: &[Value]| {
            Zeroizing::new(values.iter().flat_map(|value| value.bytes().to_vec()).collect::<Vec<u8>>())
        };
        let bytes = match self {
            Function::Base64 => BASE64_STANDARD.encode(&*joined(arguments)).into_bytes(),
            Function::Hex => hex::encode(&*joined(arguments)).into_bytes(),
            Function::Unbase64 => unbase64(&joined(arguments))?,
            Function::Unhex => hex::decode(&*joined(arguments)).map_err(|_| "it is not hex")?,
            Function::Hash(algorithm) => algorithm.digest(&joined(arguments)),
            Function::Sign(algorithm) => {
                let (key, data) = arguments.split_first().ok_or("it has no key")?;
                algorithm.sign(key.bytes(), &joined(data))?
            }
            Function::Fingerprint(algorithm) => algorithm.digest(&public_half(&joined(arguments))?),
            Function::Now(format) => {
                let plus = arguments.first().and_then(|it| std::str::from_utf8(it.bytes()).ok()?.parse::<u32>().ok());
                let time = moment.time().checked_add(SignedDuration::from_secs(plus.unwrap_or_default().into()));
                format.write(time.map_err(|_| "the time is out of range")?)?.into_bytes()
            }
            Function::Uuid => moment.uuid().to_string().into_bytes(),
        };
        Ok(Value::of(bytes, secret))
    }
}

/// Takes both alphabets, padded or not: what people copy from a console is any of them.
fn unbase64(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, lenient).decode(text).map_err(|_| "it is not base64")
}

/// A PKCS#8 key in PEM, or the 32 bytes of a seed (RFC 8032).
fn ed25519(key: &[u8]) -> Result<Ed25519KeyPair, &'static str> {
    const NOT_ONE: &str = "the key is neither an Ed25519 private key in PEM nor a seed of 32 bytes";
    match PrivateKeyDer::from_pem_slice(key) {
        Ok(PrivateKeyDer::Pkcs8(der)) => {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| NOT_ONE)
        }
        _ => Ed25519KeyPair::from_seed_unchecked(key).map_err(|_| NOT_ONE),
    }
}

/// The SubjectPublicKeyInfo (RFC 5280) of a private key in PEM: RSA, ECDSA on P-256 or P-384, or Ed25519.
fn public_half(pem: &[u8]) -> Result<Vec<u8>, &'static str> {
    const NOT_ONE: &str = "it is not a private key in PEM";
    let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| NOT_ONE)?;
    let spki =
        |key: &dyn AsDer<PublicKeyX509Der<'static>>| key.as_der().map(|der| der.as_ref().to_vec()).map_err(|_| NOT_ONE);
    match &der {
        PrivateKeyDer::Pkcs1(key) => {
            spki(rsa::KeyPair::from_der(key.secret_pkcs1_der()).map_err(|_| NOT_ONE)?.public_key())
        }
        PrivateKeyDer::Sec1(_) => {
            Err("the key is in SEC 1 form; convert it to PKCS#8 (`openssl pkcs8 -topk8 -nocrypt`)")
        }
        PrivateKeyDer::Pkcs8(key) => {
            let bytes = key.secret_pkcs8_der();
            if let Ok(pair) = rsa::KeyPair::from_pkcs8(bytes) {
                return spki(pair.public_key());
            }
            for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING] {
                if let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, bytes) {
                    return spki(pair.public_key());
                }
            }
            spki(Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map_err(|_| NOT_ONE)?.public_key())
        }
        _ => Err(NOT_ONE),
    }
}
