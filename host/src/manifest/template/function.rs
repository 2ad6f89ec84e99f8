//! The functions of templates: what they are called with, and what they compute.

use std::ops::RangeInclusive;

use aws_lc_rs::{digest, hmac};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use jiff::{SignedDuration, Timestamp, fmt::strtime, tz::TimeZone};
use zeroize::Zeroizing;

use super::{Value, fill::Moment, key};
use crate::text;

/// Of a word that an author wrote and nobody knows.
const LONGEST_SHOWN: usize = 40;

/// A function, with the words that choose its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manifest) enum Function {
    Base64,
    Hex,
    Unbase64,
    Unhex,
    Hash(Hash),
    Sign(Signature),
    Fingerprint(Hash),
    Now(Format),
    Uuid,
}

/// What hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manifest) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

/// What signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manifest) enum Signature {
    Hmac(Hash),
    Ed25519,
}

/// How a time is written.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Every function, how it is written, and how many arguments it takes.
const FUNCTIONS: [(&str, &str, RangeInclusive<usize>); 9] = [
    ("base64", "base64(d...)", 1..=usize::MAX),
    ("hex", "hex(d...)", 1..=usize::MAX),
    ("unbase64", "unbase64(t)", 1..=1),
    ("unhex", "unhex(t)", 1..=1),
    ("hash", "hash(algorithm, d...)", 2..=usize::MAX),
    ("sign", "sign(algorithm, key, d...)", 3..=usize::MAX),
    ("fingerprint", "fingerprint(algorithm, private-key)", 2..=2),
    ("now", "now(format [, plus-seconds])", 1..=2),
    ("uuid", "uuid()", 0..=0),
];

/// Why a call makes no sense.
pub(super) enum Unfit {
    /// The function, or the number of its arguments.
    Call(String),
    /// Its first argument, the word that chooses its kind.
    Word(String),
}

impl Function {
    /// The function of that name. The word is its first argument, where that is a name or a string; the answer says whether
    /// it was taken. `count` are all arguments.
    pub(super) fn of(name: &str, word: Option<&str>, count: usize) -> Result<(Self, bool), Unfit> {
        let Some((_, usage, counts)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            let known = FUNCTIONS.map(|(known, ..)| known).join(", ");
            return Err(Unfit::Call(format!(
                "there is no function `{}` (there are {known})",
                text::foreign(name, LONGEST_SHOWN)
            )));
        };
        let wrong = || Unfit::Call(format!("`{name}` is written `{usage}`"));
        if !counts.contains(&count) {
            return Err(wrong());
        }
        let chosen = || word.ok_or_else(wrong);
        Ok(match name {
            "base64" => (Self::Base64, false),
            "hex" => (Self::Hex, false),
            "unbase64" => (Self::Unbase64, false),
            "unhex" => (Self::Unhex, false),
            "hash" => (Self::Hash(Hash::of(chosen()?)?), true),
            "sign" => (Self::Sign(Signature::of(chosen()?)?), true),
            "fingerprint" => (Self::Fingerprint(Hash::of(chosen()?)?), true),
            "now" => (Self::Now(Format::of(chosen()?)?), true),
            _ => (Self::Uuid, false),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Unbase64 => "unbase64",
            Self::Unhex => "unhex",
            Self::Hash(_) => "hash",
            Self::Sign(_) => "sign",
            Self::Fingerprint(_) => "fingerprint",
            Self::Now(_) => "now",
            Self::Uuid => "uuid",
        }
    }

    /// Whether its first argument is a private or a shared key.
    pub(super) fn takes_key(&self) -> bool {
        matches!(self, Self::Sign(_) | Self::Fingerprint(_))
    }

    /// Computes it. What is joined (`d...`) is joined without anything between.
    pub(super) fn apply(&self, arguments: Vec<Value>, moment: &Moment) -> Result<Value, &'static str> {
        let first = arguments.first().map(Value::bytes).unwrap_or_default();
        let bytes = match self {
            Self::Base64 => BASE64_STANDARD.encode(joined(&arguments)).into_bytes(),
            Self::Hex => hex::encode(joined(&arguments)).into_bytes(),
            Self::Unbase64 => unbase64(first)?,
            Self::Unhex => hex::decode(first).map_err(|_| "it is not hex")?,
            Self::Hash(hash) => hash.digest(arguments.iter().map(Value::bytes)),
            Self::Sign(Signature::Hmac(hash)) => hash.hmac(first, arguments.iter().skip(1).map(Value::bytes)),
            Self::Sign(Signature::Ed25519) => key::ed25519(first)?.sign(&joined(&arguments[1..])).as_ref().to_vec(),
            Self::Fingerprint(hash) => hash.digest([key::public_half(first)?.as_slice()]),
            Self::Now(format) => {
                let plus =
                    std::str::from_utf8(first).ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
                let time = moment.time().checked_add(SignedDuration::from_secs(plus.into()));
                format.write(time.map_err(|_| "the time is out of range")?)?.into_bytes()
            }
            Self::Uuid => moment.uuid().to_string().into_bytes(),
        };
        Ok(Value::made_of(bytes, arguments))
    }
}

impl Hash {
    fn of(word: &str) -> Result<Self, Unfit> {
        match word {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(Unfit::Word(format!(
                "there is no hash `{}` (sha1, sha256, sha512)",
                text::foreign(word, LONGEST_SHOWN)
            ))),
        }
    }

    fn digest<'a>(self, data: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut context = digest::Context::new(match self {
            // In use at services that will not change; nothing of ours relies on it.
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        });
        data.into_iter().for_each(|piece| context.update(piece));
        context.finish().as_ref().to_vec()
    }

    fn hmac<'a>(self, key: &[u8], data: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
        data.into_iter().for_each(|piece| context.update(piece));
        context.sign().as_ref().to_vec()
    }
}

impl Signature {
    fn of(word: &str) -> Result<Self, Unfit> {
        match word {
            "hmac-sha1" => Ok(Self::Hmac(Hash::Sha1)),
            "hmac-sha256" => Ok(Self::Hmac(Hash::Sha256)),
            "hmac-sha512" => Ok(Self::Hmac(Hash::Sha512)),
            "ed25519" => Ok(Self::Ed25519),
            _ => Err(Unfit::Word(format!(
                "there is no signature `{}` (hmac-sha1, hmac-sha256, hmac-sha512, ed25519)",
                text::foreign(word, LONGEST_SHOWN)
            ))),
        }
    }
}

impl Format {
    fn of(word: &str) -> Result<Self, Unfit> {
        match word {
            "unix" => Ok(Self::Unix),
            "unix-ms" => Ok(Self::UnixMs),
            "http" => Ok(Self::Http),
            // Without a `%` it would be the same text at any time: a word that was meant to be one of the others.
            format
                if format.contains('%')
                    && strtime::format(format, &Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC)).is_ok() =>
            {
                Ok(Self::Strftime(format.to_owned()))
            }
            _ => Err(Unfit::Word(format!(
                "`{}` is no format of a time (unix, unix-ms, http, or strftime in quotes)",
                text::foreign(word, LONGEST_SHOWN)
            ))),
        }
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

/// One after the other, in memory that is taken once: growing would leave copies behind that nobody wipes.
fn joined(values: &[Value]) -> Zeroizing<Vec<u8>> {
    let mut whole = Zeroizing::new(Vec::with_capacity(values.iter().map(|value| value.bytes().len()).sum()));
    values.iter().for_each(|value| whole.extend_from_slice(value.bytes()));
    whole
}

/// Takes both alphabets, padded or not: what people copy from a console is any of them.
fn unbase64(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, lenient).decode(text).map_err(|_| "it is not base64")
}
