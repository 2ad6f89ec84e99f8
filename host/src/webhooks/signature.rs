//! Signatures by the specification of Standard Webhooks, so that receivers check them with a library that is there already.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

/// How a secret begins when it is written.
const PREFIX: &str = "whsec_";
/// What the specification allows, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// 256 bits, as many as the hash gives.
const GENERATED: usize = 32;

/// Makes a secret.
pub(super) fn generate() -> Result<Secret> {
    let mut bytes = Zeroizing::new([0; GENERATED]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Kind::Internal.error(format!("There are no random bytes: {error}.")))?;
    Ok(Secret::new(bytes.as_slice()))
}

/// As receivers are given it.
pub(super) fn written(secret: &Secret) -> String {
    format!("{PREFIX}{}", BASE64_STANDARD.encode(secret.expose()))
}

/// Reads one as it is written.
///
/// # Errors
/// `invalid-input`; what was given is not repeated.
pub(super) fn read(text: &str) -> Result<Secret> {
    let wrong = || -> Error {
        Kind::InvalidInput
            .error("That is no secret of a webhook: it is `whsec_` and 24 to 64 bytes in base64.")
            .hint("Leave it out, and one is made and shown.")
    };
    let bytes = BASE64_STANDARD.decode(text.strip_prefix(PREFIX).ok_or_else(wrong)?).map_err(|_| wrong())?;
    let secret = Secret::new(bytes);
    if LENGTHS.contains(&secret.len()) { Ok(secret) } else { Err(wrong()) }
}

/// The value of `webhook-signature`, with one signature for each secret.
pub(super) fn sign<'a>(secrets: impl Iterator<Item = &'a Secret>, id: &str, sent: Timestamp, payload: &str) -> String {
    let signed = format!("{id}.{}.{payload}", sent.as_second());
    let signatures = secrets.map(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes())))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let secret = read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let sent = Timestamp::from_second(1_614_265_330).unwrap();
        let signature = sign([&secret].into_iter(), "msg_p5jXN8AQM9LWM0D4loKWxJek", sent, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(sign([&secret, &secret].into_iter(), "a", sent, "").split(' ').count(), 2);
    }

    #[test]
    fn a_secret_is_read_as_it_is_written_and_nothing_else_is_one() {
        let made = generate().unwrap();
        assert_eq!(read(&written(&made)).unwrap().expose(), made.expose());
        let long = |bytes: usize| written(&Secret::new(vec![7; bytes]));
        assert!(read(&long(24)).is_ok() && read(&long(64)).is_ok());
        for text in ["", "whsec_", "whsec_!", &long(23), &long(65), long(32).trim_start_matches(PREFIX)] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidInput);
            assert!(text.len() < 12 || !error.message().contains(text), "{error}");
        }
    }
}
