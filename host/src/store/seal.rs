//! Sealing: a record's value under a data key of its own, that key under the key-encryption key, and the record's place
//! bound to both, so that what was moved, altered or cut is refused instead of read.
//!
//! A sealed record is `version (1) ‖ nonce (24) ‖ wrapped data key (32 + 16) ‖ nonce (24) ‖ value (n + 16)`, each part
//! XChaCha20-Poly1305 with random nonces.

use std::fmt;

use aws_lc_rs::{constant_time, hkdf};
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce, aead::AeadInOut};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Place, key::Key, random};
use crate::error::{Error, Kind, Result};

/// The version that is written.
pub(super) const VERSION: u8 = 1;

const KEY: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;
const WRAPPED: usize = NONCE + KEY + TAG;

/// What tells the two parts of a record apart, and from the header's.
#[derive(Clone, Copy)]
pub(super) enum Part {
    DataKey = 0,
    Value = 1,
    Master = 2,
    Backup = 3,
}

/// Seals and opens the records of one store.
pub(super) struct Sealer {
    store: Uuid,
    key_encryption_key: Zeroizing<[u8; KEY]>,
    key_check: Zeroizing<[u8; KEY]>,
}

impl Sealer {
    /// The key-encryption key is derived from the key and the store's id: one key may open several stores, and none of
    /// them takes a record of another.
    pub(super) fn new(key: &Key, store: Uuid) -> Self {
        let derived = |purpose: &[u8]| derive(key.expose(), store.as_bytes(), &[purpose]);
        Self { store, key_encryption_key: derived(b"key-encryption key"), key_check: derived(b"key check") }
    }

    /// The store's id.
    pub(super) fn store(&self) -> Uuid {
        self.store
    }

    /// Says whether a key is this store's, and nothing about the key.
    pub(super) fn key_check(&self) -> String {
        hex::encode(*self.key_check)
    }

    /// Whether the key is the one of which that was said.
    pub(super) fn is_of(&self, key_check: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&*self.key_check, key_check).is_ok()
    }

    /// Seals a record.
    pub(super) fn seal(&self, place: &Place, value: &[u8]) -> Result<Vec<u8>> {
        let mut data_key = Zeroizing::new([0; KEY]);
        random(&mut *data_key)?;
        let mut sealed = Vec::with_capacity(1 + WRAPPED + NONCE + value.len() + TAG);
        sealed.push(VERSION);
        encrypt(&self.key_encryption_key, Part::DataKey, place.as_str(), &*data_key, &mut sealed)?;
        encrypt(&data_key, Part::Value, place.as_str(), value, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens a record.
    ///
    /// # Errors
    /// [`Kind::StoreDamaged`] naming the place if this is not what was sealed there; [`Kind::StoreUnavailable`] if a later
    /// version wrote it.
    pub(super) fn open(&self, place: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let damaged = || {
            Kind::StoreDamaged
                .error(format!("The record {place} is not what was stored there: it was altered, moved or cut."))
                .hint("Restore the data directory from a backup, or remove the record and make it anew.")
        };
        match sealed.split_first() {
            Some((&VERSION, parts)) if parts.len() >= WRAPPED + NONCE + TAG => {
                let (wrapped, value) = parts.split_at(WRAPPED);
                let data_key = decrypt(&self.key_encryption_key, Part::DataKey, place.as_str(), wrapped)
                    .and_then(|key| Some(Zeroizing::new(<[u8; KEY]>::try_from(key.as_slice()).ok()?)))
                    .ok_or_else(damaged)?;
                decrypt(&data_key, Part::Value, place.as_str(), value).ok_or_else(damaged)
            }
            Some((&version, _)) if version > VERSION => Err(newer(format_args!("The record {place}"), version.into())),
            _ => Err(damaged()),
        }
    }

    /// The key-encryption key, for the header's master.
    pub(super) fn key_encryption_key(&self) -> &[u8; KEY] {
        &self.key_encryption_key
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// Encrypts one part and appends it: nonce, ciphertext, tag.
pub(super) fn encrypt(key: &[u8; KEY], part: Part, name: &str, plain: &[u8], to: &mut Vec<u8>) -> Result<()> {
    let mut nonce = [0; NONCE];
    random(&mut nonce)?;
    to.extend_from_slice(&nonce);
    let start = to.len();
    to.extend_from_slice(plain);
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(&nonce.into(), &associated_data(part, name), (&mut to[start..]).into())
        .map_err(|_| Kind::Internal.error("A record is too large to be sealed."))?;
    to.extend_from_slice(&tag);
    Ok(())
}

/// Decrypts one part, or nothing if it is not authentic.
pub(super) fn decrypt(key: &[u8; KEY], part: Part, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    let (sealed, tag) = sealed.split_last_chunk::<TAG>()?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(
            &XNonce::from(*nonce),
            &associated_data(part, name),
            plain.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .ok()?;
    Some(plain)
}

/// All fields but the last have a fixed length, so no two parts share their associated data.
fn associated_data(part: Part, name: &str) -> Vec<u8> {
    [b"attache".as_slice(), &[VERSION, part as u8], name.as_bytes()].concat()
}

/// HKDF-SHA256 (RFC 5869) to one 256-bit key.
pub(super) fn derive(secret: &[u8], salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; KEY]> {
    let mut key = Zeroizing::new([0; KEY]);
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    pseudorandom
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|output| output.fill(&mut *key))
        .expect("one block of output is always allowed");
    key
}

/// What is said of anything that a later version wrote.
pub(super) fn newer(what: impl fmt::Display, version: u64) -> Error {
    Kind::StoreUnavailable
        .error(format!(
            "{what} was written by a newer Attaché: its format is {version}, this one reads up to {VERSION}."
        ))
        .hint("Use the newer Attaché.")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&Key::generate().unwrap(), Uuid::from_bytes([7; 16]))
    }

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn assert_damaged(result: Result<Zeroizing<Vec<u8>>>, place: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::StoreDamaged);
        assert!(error.message().contains(place), "{error}");
    }

    #[test]
    fn a_record_opens_at_its_place_and_no_other() {
        let sealer = sealer();
        let sealed = sealer.seal(&place("a/b"), b"value").unwrap();
        assert_eq!(sealer.open(&place("a/b"), &sealed).unwrap().as_slice(), b"value");
        assert_damaged(sealer.open(&place("a/c"), &sealed), "a/c");
        assert_damaged(sealer.open(&place("a"), &sealed), "a");
    }

    #[test]
    fn a_record_of_another_store_or_key_is_refused() {
        let key = Key::generate().unwrap();
        let sealed = Sealer::new(&key, Uuid::from_bytes([1; 16])).seal(&place("a"), b"value").unwrap();
        Sealer::new(&key, Uuid::from_bytes([1; 16])).open(&place("a"), &sealed).unwrap();
        assert_damaged(Sealer::new(&key, Uuid::from_bytes([2; 16])).open(&place("a"), &sealed), "a");
        assert_damaged(sealer().open(&place("a"), &sealed), "a");
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        let sealer = sealer();
        let [one, two] = [0, 1].map(|_| sealer.seal(&place("a"), &[0; 64]).unwrap());
        assert!(one.windows(8).skip(1).all(|window| !two.windows(8).any(|other| other == window)));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let sealer = sealer();
        let mut sealed = sealer.seal(&place("a"), b"value").unwrap();
        sealed[0] = 2;
        let error = sealer.open(&place("a"), &sealed).unwrap_err();
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().contains("newer Attaché") && error.message().contains("record a"), "{error}");
        sealed[0] = 0;
        assert_damaged(sealer.open(&place("a"), &sealed), "a");
    }

    #[test]
    fn no_single_bit_of_a_record_can_be_another() {
        let (sealer, here) = (sealer(), place("environment/default/credential/one"));
        let sealed = sealer.seal(&here, b"a-password").unwrap();
        for bit in 0..8 * sealed.len() {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.open(&here, &altered).is_err(), "bit {bit}");
        }
        sealer.open(&here, &sealed).unwrap();
    }

    #[test]
    fn what_was_sealed_as_one_part_is_no_other() {
        let (parts, key) = ([Part::DataKey, Part::Value, Part::Master, Part::Backup], [7; KEY]);
        for (at, part) in parts.into_iter().enumerate() {
            let mut sealed = Vec::new();
            encrypt(&key, part, "a", &[1; KEY], &mut sealed).unwrap();
            for (other, opened_as) in parts.into_iter().enumerate() {
                assert_eq!(decrypt(&key, opened_as, "a", &sealed).is_some(), at == other, "{at} as {other}");
            }
        }
    }

    /// Places as they are: some segments, of which one may begin as another does.
    fn any_place() -> impl Strategy<Value = String> {
        prop::collection::vec("[a-z0-9 .ü-]{1,12}", 1..5).prop_map(|segments| segments.join("/"))
    }

    proptest! {
        #[test]
        fn whatever_was_sealed_opens_as_it_was_and_nowhere_else(
            value in any::<Vec<u8>>(), here in any_place(), elsewhere in any_place()
        ) {
            let sealer = sealer();
            let sealed = sealer.seal(&place(&here), &value).unwrap();
            let opened = sealer.open(&place(&here), &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), value.as_slice());
            for other in [elsewhere, format!("{here}/a"), format!("a/{here}"), format!("{here}a")] {
                prop_assert_eq!(sealer.open(&place(&other), &sealed).is_ok(), other == here);
            }
        }

        #[test]
        fn no_other_key_and_no_other_store_opens_a_record(
            value in any::<Vec<u8>>(), key: [u8; KEY], store: [u8; 16], bit in 0..8 * KEY, store_bit in 0..8 * 16_usize
        ) {
            let sealer = |key: &[u8; KEY], store: [u8; 16]| {
                Sealer::new(&Key::from(*key), Uuid::from_bytes(store))
            };
            let sealed = sealer(&key, store).seal(&place("a"), &value).unwrap();
            prop_assert!(sealer(&key, store).open(&place("a"), &sealed).is_ok());
            let (mut other_key, mut other_store) = (key, store);
            other_key[bit / 8] ^= 1 << (bit % 8);
            other_store[store_bit / 8] ^= 1 << (store_bit % 8);
            assert_damaged(sealer(&other_key, store).open(&place("a"), &sealed), "a");
            assert_damaged(sealer(&key, other_store).open(&place("a"), &sealed), "a");
        }

        #[test]
        fn a_data_key_of_another_record_opens_nothing(one in any::<Vec<u8>>(), two in any::<Vec<u8>>()) {
            let sealer = sealer();
            let [first, second] = [&one, &two].map(|value| sealer.seal(&place("a"), value).unwrap());
            assert_damaged(sealer.open(&place("a"), &[&first[..1 + WRAPPED], &second[1 + WRAPPED..]].concat()), "a");
            assert_damaged(sealer.open(&place("a"), &[&second[..1 + WRAPPED], &first[1 + WRAPPED..]].concat()), "a");
        }

        #[test]
        fn no_altered_byte_is_ever_read(
            value in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(), flip in 1u8..
        ) {
            let sealer = sealer();
            let mut sealed = sealer.seal(&place("a"), &value).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            let error = sealer.open(&place("a"), &sealed).unwrap_err();
            // A version byte that went up is taken for a newer version; everything else is damage.
            let expected = if at == 0 && sealed[0] > VERSION { Kind::StoreUnavailable } else { Kind::StoreDamaged };
            prop_assert_eq!(error.kind(), expected);
            prop_assert!(error.message().contains("The record a "));
        }

        #[test]
        fn no_cut_or_lengthened_record_is_ever_read(
            value in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(), more in 1usize..20
        ) {
            let sealer = sealer();
            let mut sealed = sealer.seal(&place("a"), &value).unwrap();
            assert_damaged(sealer.open(&place("a"), &sealed[..at.index(sealed.len())]), "a");
            sealed.extend(vec![0; more]);
            assert_damaged(sealer.open(&place("a"), &sealed), "a");
        }

        #[test]
        fn parts_of_two_records_do_not_mix(cut in any::<prop::sample::Index>()) {
            let sealer = sealer();
            let [one, two] = [b"one", b"two"].map(|value| sealer.seal(&place("a"), value).unwrap());
            // Far enough from both ends that neither record is there whole but for bytes that happen to be equal.
            let cut = 9 + cut.index(one.len() - 17);
            assert_damaged(sealer.open(&place("a"), &[&one[..cut], &two[cut..]].concat()), "a");
        }
    }
}
