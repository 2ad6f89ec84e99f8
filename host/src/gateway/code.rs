//! What an operator hands over so that a gateway may join: a secret that is good once, and the key of the host that gave it, so
//! that whoever has the code knows whom to believe before anything else is known.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    secret::Secret,
};

/// Whoever finds one somewhere knows what it opens.
const PREFIX: &str = "attache_gateway_";
/// 256 bits.
const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 16;

/// A code, as it is shown once and given back.
pub(super) struct Code {
    /// Under which the host keeps what it is for.
    pub(super) id: Uuid,
    pub(super) secret: Secret,
    /// The host's public key, as [`Identity::public`](super::Identity::public) gives it.
    pub(super) host: Digest,
}

impl Code {
    /// A new one of this host's.
    pub(super) fn new(host: Digest) -> Result<Self> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| Kind::Internal.error(format!("There are no random bytes: {error}.")))?;
        Ok(Self { id: Uuid::new_v4(), secret: Secret::new(secret.to_vec()), host })
    }

    /// As people carry it.
    pub(super) fn text(&self) -> Secret {
        let bytes = [&self.id.as_bytes()[..], self.secret.expose(), self.host.as_bytes()].concat();
        let mut text = PREFIX.to_owned();
        BASE64_URL_SAFE_NO_PAD.encode_string(Secret::new(bytes).expose(), &mut text);
        Secret::new(text)
    }
}

impl FromStr for Code {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|rest| BASE64_URL_SAFE_NO_PAD.decode(rest).ok());
        let bytes = Secret::new(bytes.unwrap_or_default());
        let parts = bytes.expose().split_first_chunk::<ID_BYTES>().and_then(|(id, rest)| {
            let (secret, host) = rest.split_first_chunk::<SECRET_BYTES>()?;
            Some((id, secret, hex::encode(<[u8; 32]>::try_from(host).ok()?)))
        });
        let (id, secret, host) = parts.ok_or_else(|| {
            Kind::InvalidInput
                .error("That is not a code that `attache gateway enroll` prints.")
                .hint("Copy all of it; it begins with `attache_gateway_`.")
        })?;
        Ok(Self { id: Uuid::from_bytes(*id), secret: Secret::new(secret.to_vec()), host: host.parse()? })
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_its_text_and_half_of_it_is_none() {
        let code = Code::new(Digest::of(b"host")).unwrap();
        let text = String::from_utf8(code.text().expose().to_vec()).unwrap();
        let read: Code = format!(" {text}\n").parse().unwrap();
        assert_eq!((read.id, read.secret.expose(), read.host), (code.id, code.secret.expose(), code.host));
        for wrong in ["", PREFIX, &text[1..], &text[..text.len() - 1], "attache_gateway_?"] {
            assert_eq!(wrong.parse::<Code>().unwrap_err().kind(), Kind::InvalidInput, "{wrong}");
        }
        assert!(!format!("{code:?}").contains(&text[PREFIX.len()..]));
    }
}
