//! Sealing: each record under a data key of its own, that key wrapped by the key-encryption key, and the record's place
//! bound into both (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha; its 24-byte nonces may be drawn at random).
//!
//! ```text
//! version (1) | wrap nonce (24) | wrapped data key (32 + 16) | nonce (24) | sealed content (n + 16)
//! ```

use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use zeroize::Zeroizing;

use super::Place;
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

/// The format's version.
const VERSION: u8 = 1;
const KEY: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;
const WRAPPED: usize = KEY + TAG;
const HEAD: usize = 1 + NONCE + WRAPPED + NONCE;

/// The key that wraps the others.
pub(super) struct KeyEncryptionKey(XChaCha20Poly1305);

/// Why something did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsealable {
    /// A newer Attaché wrote it.
    Newer,
    /// The key, the place or the content is another.
    Altered,
}

impl Unsealable {
    /// The sentence for a record of a store whose key is right.
    pub(super) fn at(self, place: &Place) -> Error {
        match self {
            Unsealable::Newer => Kind::StoreDamaged
                .error(format!("The record `{place}` was written by a newer Attaché."))
                .hint("Use that version, or a newer one."),
            Unsealable::Altered => Kind::StoreDamaged
                .error(format!("The record `{place}` is damaged: it was altered, or moved there from elsewhere."))
                .hint("Put a backup of the data directory back, or remove what it belongs to and make it again."),
        }
    }
}

impl KeyEncryptionKey {
    /// From 32 bytes.
    pub(super) fn new(key: &Secret) -> Result<Self> {
        let key = Key::try_from(key.expose()).map_err(|_| Kind::WrongKey.error("The key does not have 32 bytes."))?;
        Ok(Self(XChaCha20Poly1305::new(&key)))
    }

    /// Seals a record's content for a place.
    pub(super) fn seal(&self, place: &Place, content: &[u8]) -> Result<Vec<u8>> {
        let data_key = random::<KEY>()?;
        let (wrap_nonce, nonce) = (random::<NONCE>()?, random::<NONCE>()?);
        let bound = associated(place);
        let failed = |_| Kind::Internal.error("Sealing a record failed.");
        let wrapped =
            self.0.encrypt(&XNonce::from(*wrap_nonce), Payload { msg: &*data_key, aad: &bound }).map_err(failed)?;
        let sealed = XChaCha20Poly1305::new(&Key::from(*data_key))
            .encrypt(&XNonce::from(*nonce), Payload { msg: content, aad: &bound })
            .map_err(failed)?;
        Ok([&[VERSION][..], &*wrap_nonce, &wrapped, &*nonce, &sealed].concat())
    }

    /// Opens what [`KeyEncryptionKey::seal`] made for the same place.
    pub(super) fn open(&self, place: &Place, record: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        match record.first() {
            Some(&VERSION) => {}
            Some(&version) if version > VERSION => return Err(Unsealable::Newer),
            _ => return Err(Unsealable::Altered),
        }
        let (head, sealed) = record.split_at_checked(HEAD).ok_or(Unsealable::Altered)?;
        let (wrap_nonce, rest) = head[1..].split_at(NONCE);
        let (wrapped, nonce) = rest.split_at(WRAPPED);
        let bound = associated(place);
        let nonce_of = |bytes: &[u8]| XNonce::try_from(bytes).map_err(|_| Unsealable::Altered);
        let data_key = self
            .0
            .decrypt(&nonce_of(wrap_nonce)?, Payload { msg: wrapped, aad: &bound })
            .map_err(|_| Unsealable::Altered)?;
        let data_key = Zeroizing::new(data_key);
        let key = Key::try_from(data_key.as_slice()).map_err(|_| Unsealable::Altered)?;
        XChaCha20Poly1305::new(&key)
            .decrypt(&nonce_of(nonce)?, Payload { msg: sealed, aad: &bound })
            .map(Zeroizing::new)
            .map_err(|_| Unsealable::Altered)
    }
}

/// Bytes from the operating system's generator.
pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| Kind::Internal.error("The system gave no random numbers."))?;
    Ok(bytes)
}

fn associated(place: &Place) -> Vec<u8> {
    [b"attache record\0", &[VERSION][..], place.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> KeyEncryptionKey {
        KeyEncryptionKey::new(&Secret::new([byte; KEY])).unwrap()
    }

    fn place(name: &str) -> Place {
        Place::new(["a", name]).unwrap()
    }

    #[test]
    fn a_record_opens_at_its_place_with_its_key_and_nowhere_else() {
        let record = key(1).seal(&place("b"), b"content").unwrap();
        assert_eq!(&*key(1).open(&place("b"), &record).unwrap(), b"content");
        assert_eq!(key(1).open(&place("c"), &record).unwrap_err(), Unsealable::Altered);
        assert_eq!(key(2).open(&place("b"), &record).unwrap_err(), Unsealable::Altered);
    }

    #[test]
    fn a_newer_record_is_told_from_a_damaged_one() {
        let mut record = key(1).seal(&place("b"), b"content").unwrap();
        record[0] = VERSION + 1;
        assert_eq!(key(1).open(&place("b"), &record).unwrap_err(), Unsealable::Newer);
        record[0] = 0;
        assert_eq!(key(1).open(&place("b"), &record).unwrap_err(), Unsealable::Altered);
    }

    #[test]
    fn no_two_records_are_alike() {
        assert_ne!(key(1).seal(&place("b"), b"same").unwrap(), key(1).seal(&place("b"), b"same").unwrap());
    }

    proptest! {
        #[test]
        fn any_altered_byte_is_noticed(content in prop::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), with in 1u8..) {
            let mut record = key(1).seal(&place("b"), &content).unwrap();
            let at = at.index(record.len());
            record[at] ^= with;
            prop_assert!(key(1).open(&place("b"), &record).is_err());
        }

        #[test]
        fn so_is_any_cut(content in prop::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>()) {
            let record = key(1).seal(&place("b"), &content).unwrap();
            prop_assert!(key(1).open(&place("b"), &record[..at.index(record.len())]).is_err());
        }
    }
}
