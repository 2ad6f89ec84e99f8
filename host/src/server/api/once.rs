//! How a caller names a call, so that it is made once (draft-ietf-httpapi-idempotency-key-header-07, 2.1): the header
//! `Idempotency-Key`.

use axum::{extract::FromRequestParts, http::request::Parts};

use super::Problem;
use crate::error::{Error, Kind, Result};

/// The header that a call is named by.
pub(super) const KEY: &str = "idempotency-key";
/// The header that says that the answer is that of a call made earlier.
pub(super) const REPLAYED: &str = "idempotency-replayed";

/// A UUID has 36 bytes; this leaves room for whatever else somebody names their calls by.
const LONGEST: usize = 255;

/// A call's name, if it has one.
pub(super) struct Named(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(KEY).iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(Self(None)),
            (Some(one), None) => Ok(Self(Some(parse(one.as_bytes())?))),
            _ => Err(malformed("stands there twice").into()),
        }
    }
}

/// A String of RFC 8941, 3.3.3, as the draft says; or the same without its quotation marks, as many clients send it, where
/// nothing in it could mean something else.
fn parse(given: &[u8]) -> Result<String> {
    let key = match given {
        [b'"', within @ .., b'"'] => unescape(within)?,
        bare if bare.iter().all(|byte| byte.is_ascii_graphic() && !br#"",;\"#.contains(byte)) => {
            String::from_utf8_lossy(bare).into_owned()
        }
        _ => return Err(malformed("is not a string of visible ASCII characters")),
    };
    match key.len() {
        0 => Err(malformed("is empty")),
        1..=LONGEST => Ok(key),
        _ => Err(malformed("has more than 255 characters")),
    }
}

fn unescape(within: &[u8]) -> Result<String> {
    let mut key = String::with_capacity(within.len());
    let mut bytes = within.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => bytes.next().filter(|escaped| matches!(escaped, b'"' | b'\\')),
            b'"' => None,
            b' '..=b'~' => Some(byte),
            _ => None,
        };
        key.push(char::from(*byte.ok_or_else(|| malformed("is not a string of RFC 8941"))?));
    }
    Ok(key)
}

fn malformed(why: &str) -> Error {
    Kind::Usage
        .error(format!("The Idempotency-Key {why}."))
        .hint("Send one, such as a UUID in quotation marks, that is new for each call: `Idempotency-Key: \"8e03978e-40d5-43dd-bc93-6894a57f9324\"`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_string_with_or_without_its_quotation_marks() {
        let long = "x".repeat(LONGEST);
        for (given, key) in [
            (r#""8e03978e""#, "8e03978e"),
            ("8e03978e-40d5", "8e03978e-40d5"),
            (r#""with space, comma; and \"this\\""#, r#"with space, comma; and "this\"#),
            (&long, &long),
        ] {
            assert_eq!(parse(given.as_bytes()).unwrap(), key, "{given}");
        }
        let (longer, quoted) = ("x".repeat(LONGEST + 1), format!("\"{}\"", "x".repeat(LONGEST + 1)));
        for given in [
            "", r#""""#, "\"", "a b", "a,b", "a;b", r#"a"b"#, r"a\b", r#""a"b""#, r#""a\b""#, r#""a\"#, "é", "\"é\"",
            "\"a\tb\"", &longer, &quoted,
        ] {
            assert_eq!(parse(given.as_bytes()).unwrap_err().kind(), Kind::Usage, "{given}");
        }
    }
}
