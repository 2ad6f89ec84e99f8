//! A value that a template is filled with, and whether it is secret.

use std::{fmt, str::Utf8Error};

use crate::secret::Secret;

/// Bytes, and whether anybody may see them. What was computed from a secret is one, and remembers what it was made of.
#[derive(Clone)]
pub struct Value {
    bytes: Secret,
    secret: bool,
    behind: Vec<Secret>,
    /// Whether what is behind it, masked wherever it stands, leaves nothing of it that nobody may see.
    covered: bool,
}

impl Value {
    /// A value that may be shown.
    pub fn public(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Secret::new(bytes), secret: false, behind: Vec::new(), covered: false }
    }

    /// A value that may not.
    pub fn secret(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Secret::new(bytes), secret: true, behind: Vec::new(), covered: false }
    }

    /// A value computed from others: secret where one of them is.
    pub(in crate::manifest) fn made_of(bytes: impl Into<Vec<u8>>, others: impl IntoIterator<Item = Value>) -> Self {
        let secrets: Vec<Value> = others.into_iter().filter(Value::is_secret).collect();
        let secret = !secrets.is_empty();
        let behind = secrets.into_iter().flat_map(Value::into_secrets).collect();
        Self { bytes: Secret::new(bytes), secret, behind, covered: false }
    }

    /// Public text with one other value in it, as it is. Where that one is long enough to be looked for by itself, looking for
    /// the whole too would find nothing more.
    pub(in crate::manifest) fn written_around(bytes: impl Into<Vec<u8>>, other: Value) -> Self {
        let covered = other.bytes.len() >= Secret::SHORTEST_MASKED;
        Self { covered, ..Self::made_of(bytes, [other]) }
    }

    /// A secret that was computed from others.
    pub(in crate::manifest) fn secret_made_of(
        bytes: impl Into<Vec<u8>>,
        others: impl IntoIterator<Item = Value>,
    ) -> Self {
        Self { secret: true, ..Self::made_of(bytes, others) }
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.expose()
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// Where they are not UTF-8, as a hash or a signature hardly ever is.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(self.bytes())
    }

    /// Whether nobody may see it.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// All that must not be seen: itself, and every secret that it was made of, as typed and as computed on the way. Of
    /// `Bearer {token}` just the token: a service that gives back what it was sent may give back a part of it, and the rest is
    /// public.
    pub fn into_secrets(self) -> Vec<Secret> {
        let mut secrets = self.behind;
        if self.secret && !self.covered {
            secrets.push(self.bytes);
        }
        secrets
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Ok(text) if !self.secret => text.fmt(f),
            _ => self.bytes.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_a_secret_is_one_and_knows_what_it_was_made_of() {
        let token = Value::made_of("token-hashed", [Value::secret("token"), Value::public("salt")]);
        let header = Value::made_of("Bearer token-hashed", [token]);
        assert!(header.is_secret());
        let behind: Vec<_> = header.into_secrets().iter().map(|it| it.expose().to_vec()).collect();
        assert_eq!(behind, [b"token".to_vec(), b"token-hashed".to_vec(), b"Bearer token-hashed".to_vec()]);
        assert!(Value::made_of("x", [Value::public("x")]).into_secrets().is_empty());
    }

    #[test]
    fn public_text_around_a_secret_is_not_looked_for_unless_the_secret_is_too_short_to_be() {
        let behind = |secret: &str| {
            let value = Value::written_around(format!("Bearer {secret}"), Value::secret(secret));
            assert!(value.is_secret());
            value.into_secrets().iter().map(|it| String::from_utf8(it.expose().to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(behind("12345678"), ["12345678"]);
        assert_eq!(behind("1234567"), ["1234567", "Bearer 1234567"]);
    }

    #[test]
    fn only_a_public_value_prints() {
        assert_eq!(format!("{:?}", Value::public("acme")), "\"acme\"");
        assert_eq!(format!("{:?}", Value::secret("canary")), "[redacted]");
        assert_eq!(format!("{:?}", Value::public([0xff])), "[redacted]");
    }
}
