//! The master: a secret of a store that never changes, from which the keys for what lies beside the records are derived.

use std::fmt;

use zeroize::Zeroizing;

use super::{random, seal};
use crate::{error::Result, secret::Secret};

/// See the module.
pub(crate) struct Master(Zeroizing<[u8; Master::LENGTH]>);

impl Master {
    pub(super) const LENGTH: usize = 32;

    /// A random one.
    pub(super) fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        random(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// One that was kept.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    pub(super) fn expose(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// A 256-bit key for one purpose, the same every time: whoever has it learns nothing of the others.
    pub(crate) fn subkey(&self, purpose: &[u8]) -> Secret {
        Secret::new(seal::derive(self.expose(), b"", &[b"subkey ", purpose]).as_slice())
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Master")
    }
}
