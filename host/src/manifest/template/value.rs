//! A value that a template is filled with, and whether it is secret.

use crate::secret::Secret;

/// Bytes, and whether anybody may see them.
#[derive(Debug, Clone)]
pub struct Value {
    bytes: Secret,
    secret: bool,
}

impl Value {
    /// A value that may be shown.
    pub fn public(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Secret::new(bytes), secret: false }
    }

    /// A value that may not.
    pub fn secret(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Secret::new(bytes), secret: true }
    }

    /// A value computed from others: secret where one of them is.
    pub(super) fn of(bytes: impl Into<Vec<u8>>, secret: bool) -> Self {
        Self { bytes: Secret::new(bytes), secret }
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.expose()
    }

    /// Whether nobody may see it.
    pub fn is_secret(&self) -> bool {
        self.secret
    }
}
