//! Records of the host's types, sealed on their way to the store and opened on their way back.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    Batch, KeySource, Place, Store,
    lock::Lock,
    progress::Progress,
    sealing::{KeyEncryptionKey, Unsealable, random},
    sled_store::{SledStore, make_directory},
};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

/// The store's first record: what tells a wrong key from a damaged store, and the root of the keys that are derived.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Of everything in the store.
    format: u32,
    /// `root`: 32 random bytes from which other keys of this store are derived.
    #[serde(with = "crate::secret::in_sealed_record")]
    keys: BTreeMap<String, Secret>,
}

const FORMAT: u32 = 1;

/// The sealed store of one data directory.
pub struct Vault {
    store: Box<dyn Store>,
    key: KeyEncryptionKey,
    root: Secret,
    progress: Progress,
    committing: Mutex<()>,
    _lock: Lock,
}

/// Records to write and to remove together.
#[derive(Default)]
pub struct Changes(Vec<(Place, Option<Zeroizing<Vec<u8>>>)>);

impl Changes {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a record.
    ///
    /// # Errors
    /// `internal` where it cannot be written as JSON.
    pub fn put<T: Serialize>(mut self, place: Place, record: &T) -> Result<Self> {
        let content = serde_json::to_vec(record)
            .map_err(|error| Kind::Internal.error(format!("A record cannot be written: {error}.")))?;
        self.0.push((place, Some(Zeroizing::new(content))));
        Ok(self)
    }

    /// Removes a record; one that is not there is no error.
    #[must_use]
    pub fn delete(mut self, place: Place) -> Self {
        self.0.push((place, None));
        self
    }
}

impl Vault {
    /// Opens the store of a data directory and makes it on first use. Waits for another process's lock.
    ///
    /// # Errors
    /// `store-locked`, `wrong-key`, `store-damaged`, `store-unavailable`, each with what mends it.
    pub fn open(data_directory: &Path, source: &KeySource, wait: Duration) -> Result<Self> {
        make_directory(data_directory)?;
        source.refuse_inside(data_directory)?;
        let lock = Lock::take(data_directory, wait)?;
        let is_new = !SledStore::exists(data_directory);
        let key = KeyEncryptionKey::new(&source.read(is_new)?)?;
        let store = SledStore::open(data_directory)?;
        let vault = Self::unlock(Box::new(store), key, lock, is_new, Progress::of(data_directory))?;
        vault.progress.compare(vault.commits()?, &vault.subkey(b"progress"))?;
        Ok(vault)
    }

    fn unlock(
        store: Box<dyn Store>,
        key: KeyEncryptionKey,
        lock: Lock,
        is_new: bool,
        progress: Progress,
    ) -> Result<Self> {
        let place = Place::new(["header"])?;
        let header: Header = match store.get(&place)? {
            Some(record) => match key.open(&place, &record) {
                Ok(content) => parse(&place, &content)?,
                Err(Unsealable::Newer) => return Err(Unsealable::Newer.at(&place)),
                Err(Unsealable::Altered) => {
                    return Err(Kind::WrongKey
                        .error("The key does not open this store.")
                        .hint("Give the one it was made with: --key file:PATH, env:NAME or command:CMD (`attache config show` tells which is used)."));
                }
            },
            // sled takes a file that it cannot read for an empty one.
            None if !is_new || !store.is_empty()? => {
                return Err(Kind::StoreDamaged
                    .error("The store is damaged: the record that every store begins with is gone.")
                    .hint("Put a backup of the data directory back."));
            }
            None => {
                let header = Header {
                    format: FORMAT,
                    keys: BTreeMap::from([("root".to_owned(), Secret::new(&random::<32>()?[..]))]),
                };
                let content = Zeroizing::new(
                    serde_json::to_vec(&header).map_err(|_| Kind::Internal.error("The header cannot be written."))?,
                );
                store.commit(Batch { changes: vec![(place.clone(), Some(key.seal(&place, &content)?))] })?;
                header
            }
        };
        if header.format > FORMAT {
            return Err(Unsealable::Newer.at(&place));
        }
        let root = header.keys.get("root").cloned().ok_or_else(|| Unsealable::Altered.at(&place))?;
        Ok(Self { store, key, root, progress, committing: Mutex::new(()), _lock: lock })
    }

    /// A key for one purpose, derived from the store's root (HMAC-SHA256 as a PRF).
    pub fn subkey(&self, purpose: &[u8]) -> Secret {
        Secret::new(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.root.expose()), purpose).as_ref())
    }

    /// Reads a record.
    ///
    /// # Errors
    /// `store-damaged` naming the place, where it is not what was written there.
    pub fn get<T: DeserializeOwned>(&self, place: &Place) -> Result<Option<T>> {
        self.store.get(place)?.map(|record| self.read(place, &record)).transpose()
    }

    /// Reads all records below a place, in order of place.
    ///
    /// # Errors
    /// As for [`Vault::get`], for the first that does not open.
    pub fn list<T: DeserializeOwned>(&self, below: &Place) -> Result<Vec<(Place, T)>> {
        let records = self.store.list(below)?;
        records.into_iter().map(|(place, record)| Ok((place.clone(), self.read(&place, &record)?))).collect()
    }

    /// Writes all changes or none; they are on disk when it returns.
    ///
    /// # Errors
    /// `store-unavailable` where the disk does not take them.
    pub fn commit(&self, changes: Changes) -> Result<()> {
        // Two commits at once would count as one.
        let _alone = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.commits()? + 1;
        let mut batch = Batch::default();
        for (place, content) in changes.put(commits_place()?, &count)?.0 {
            let record = content.map(|content| self.key.seal(&place, &content)).transpose()?;
            batch.changes.push((place, record));
        }
        self.store.commit(batch)?;
        self.progress.note(count, &self.subkey(b"progress"))
    }

    fn commits(&self) -> Result<u64> {
        Ok(self.get(&commits_place()?)?.unwrap_or_default())
    }

    fn read<T: DeserializeOwned>(&self, place: &Place, record: &[u8]) -> Result<T> {
        let content = self.key.open(place, record).map_err(|why| why.at(place))?;
        parse(place, &content)
    }
}

fn commits_place() -> Result<Place> {
    Place::new(["commits"])
}

/// A record that opened and does not parse was sealed by a version whose records have another shape.
fn parse<T: DeserializeOwned>(place: &Place, content: &[u8]) -> Result<T> {
    serde_json::from_slice(content).map_err(|_| -> Error {
        Kind::StoreDamaged
            .error(format!("The record `{place}` has a shape that this version of Attaché does not know."))
            .hint("Use the version that wrote it.")
    })
}
