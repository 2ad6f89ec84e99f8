//! The vault: typed records, sealed on their way into a [`Store`] and opened on their way out.

use std::{
    fmt, fs, io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    Batch, KeySource, Place, SledStore, Store,
    dir::{self, DataDir},
    fault, header,
    key::Key,
    lock::Lock,
    master::Master,
    restoring, rotate,
    seal::Sealer,
};
use crate::{
    error::{Kind, Result},
    secret::Secret,
    sync,
};

/// What becomes another when the key does.
pub(super) struct Kept {
    /// None where the one that was written anew could not be opened.
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) sealer: Sealer,
}

impl Kept {
    pub(super) fn store(&self) -> Result<&Arc<dyn Store>> {
        self.store.as_ref().ok_or_else(|| {
            Kind::StoreUnavailable
                .error("The store could not be opened again after it was sealed anew.")
                .hint("Stop the host and start it again.")
        })
    }
}

/// Where [`Vault::try_writing`] writes.
pub(crate) const PROBE: [&str; 2] = ["host", "probe"];

/// The open store of one data directory. Its methods block and may be called from any thread; dropping it gives the data
/// directory to the next owner.
pub struct Vault {
    kept: RwLock<Kept>,
    master: Master,
    revision: AtomicU64,
    /// Held by whoever takes a record, so that nobody else takes it too.
    taking: Mutex<()>,
    /// Read while somebody commits; written while somebody alone may.
    committing: RwLock<()>,
    /// Dropped last, so that the next owner finds the store closed.
    _lock: Lock,
}

impl Vault {
    /// Opens the store in this data directory, and makes both if they are not there. A key file is made only together with
    /// a new store. The lock is waited for at most this long; the key, which a command may ask a person for, is fetched
    /// before.
    ///
    /// # Errors
    /// - [`Kind::StoreLocked`] if another process holds the data directory all the while;
    /// - [`Kind::WrongKey`] if the key is not one, or not this store's;
    /// - [`Kind::StoreDamaged`] if the store is not what was written;
    /// - [`Kind::StoreUnavailable`] if the key is missing or can be read by others, if the directory or its disk cannot be
    ///   used, or if a newer Attaché wrote the store.
    pub fn open(data_dir: &Path, key: &KeySource, wait: Duration) -> Result<Self> {
        let dir = DataDir::prepare(data_dir)?;
        key.check_outside(dir.path())?;
        let source = key;
        let fetched = match source {
            KeySource::File(_) => None,
            KeySource::Env(_) | KeySource::Command(_) => Some(source.load()?),
        };
        let lock = Lock::acquire(&dir.lock(), wait)?;
        rotate::forget_unfinished(&dir.new_store(), source)?;
        restoring::settle(&dir)?;
        let exists = dir.store().try_exists().map_err(|error| fault::io(&dir.store(), &error))?;
        let key = match fetched {
            Some(key) => key,
            None if exists => source.load()?,
            None => source.load_or_create()?,
        };
        if !exists {
            create(&dir, &key)?;
        }
        let (sealer, master) = match header::open(&dir.store(), &key, source) {
            Err(error) if error.kind() == Kind::WrongKey => match rotate::finish(&dir.store(), source)? {
                Some(key) => header::open(&dir.store(), &key, source)?,
                None => return Err(error),
            },
            opened => opened?,
        };
        let store = SledStore::open(&dir.store())?;
        Ok(Self {
            kept: RwLock::new(Kept { store: Some(Arc::new(store)), sealer }),
            master,
            revision: AtomicU64::new(0),
            taking: Mutex::default(),
            committing: RwLock::default(),
            _lock: lock,
        })
    }

    /// The record at this place.
    ///
    /// # Errors
    /// [`Kind::StoreDamaged`], naming the place, if it is not what was put there; [`Kind::StoreUnavailable`] if it cannot be
    /// read, or a newer Attaché wrote it.
    pub fn get<T: DeserializeOwned>(&self, place: &Place) -> Result<Option<T>> {
        let kept = self.kept();
        kept.store()?.get(place)?.map(|sealed| kept.unseal(place, &sealed)).transpose()
    }

    /// All records below this place, at any depth and in order, as they are at one moment.
    ///
    /// # Errors
    /// As [`Vault::get`], for the first record that cannot be read. The others can still be read one by one.
    pub fn list<T: DeserializeOwned>(&self, below: &Place) -> Result<Vec<(Place, T)>> {
        let kept = self.kept();
        let records = kept.store()?.list(below)?;
        records.into_iter().map(|(place, sealed)| Ok((place.clone(), kept.unseal(&place, &sealed)?))).collect()
    }

    /// The first records below this place that come behind `after`, as [`Store::page`] has them.
    ///
    /// # Errors
    /// As [`Vault::list`].
    pub fn page<T: DeserializeOwned>(&self, below: &Place, after: &str, most: usize) -> Result<Vec<T>> {
        let kept = self.kept();
        let records = kept.store()?.page(below, after, most)?;
        records.iter().map(|(place, sealed)| kept.unseal(place, sealed)).collect()
    }

    /// Where there are records, in order.
    ///
    /// # Errors
    /// [`Kind::StoreDamaged`] or [`Kind::StoreUnavailable`] if they cannot be read.
    pub fn places(&self) -> Result<Vec<Place>> {
        Ok(self.kept().store()?.all()?.into_iter().map(|(place, _)| place).collect())
    }

    /// The same, below a place, at any depth.
    ///
    /// # Errors
    /// As [`Vault::places`].
    pub fn places_below(&self, below: &Place) -> Result<Vec<Place>> {
        Ok(self.kept().store()?.list(below)?.into_iter().map(|(place, _)| place).collect())
    }

    /// Every record as it is now, some at a time, whatever is committed before the last of them was given.
    ///
    /// # Errors
    /// As [`Vault::get`], here or for the first record that cannot be read.
    pub(crate) fn moment(&self) -> Result<impl Iterator<Item = Result<Vec<(Place, Plain)>>>> {
        // While this is read, the store and its key are what they are.
        let moment = self.kept().store()?.clone().moment()?;
        let unsealed = |(place, sealed): (Place, Vec<u8>)| {
            let value = self.kept().sealer.open(&place, &sealed)?;
            Ok((place, value))
        };
        Ok(moment.map(move |some| some?.into_iter().map(unsealed).collect()))
    }

    /// Writes all of these changes or none. When this returns, they are on disk for good.
    ///
    /// # Errors
    /// [`Kind::StoreUnavailable`] if they cannot be written.
    pub fn commit(&self, changes: Changes) -> Result<()> {
        let _beside_others = self.beside_others();
        self.write(changes)
    }

    /// The same with what comes of reading records, which nobody changes meanwhile; nothing is written where nothing comes of
    /// it. What is read takes its time from everybody who commits.
    ///
    /// # Errors
    /// Those of `changes`, and as for [`Vault::commit`].
    pub(crate) fn commit_alone<T>(&self, changes: impl FnOnce() -> Result<Option<(Changes, T)>>) -> Result<Option<T>> {
        let _alone = self.alone();
        let Some((changes, outcome)) = changes()? else { return Ok(None) };
        self.write(changes)?;
        Ok(Some(outcome))
    }

    /// The same beside others who commit, for records that only whoever commits alone might change meanwhile. Where there are no
    /// changes, nothing is written.
    ///
    /// # Errors
    /// Those of `changes`, and as for [`Vault::commit`].
    pub(crate) fn commit_beside(&self, changes: impl FnOnce() -> Result<Changes>) -> Result<()> {
        let _beside_others = self.beside_others();
        let changes = changes()?;
        if changes.is_empty() { Ok(()) } else { self.write(changes) }
    }

    fn write(&self, changes: Changes) -> Result<()> {
        let written = self.seal_and_write(changes);
        // One that failed may have been written nevertheless.
        self.revision.fetch_add(1, Ordering::Release);
        written
    }

    /// Takes away the record at this place and gives it, where it is one that may be taken: of several who ask at once, one
    /// gets it.
    ///
    /// # Errors
    /// As [`Vault::get`] and [`Vault::commit`]; then it may be there still.
    pub fn take<T: DeserializeOwned>(&self, place: &Place, may_be: impl FnOnce(&T) -> bool) -> Result<Option<T>> {
        let _taking = sync::lock(&self.taking);
        let Some(record) = self.get(place)?.filter(may_be) else { return Ok(None) };
        self.commit(Changes::new().delete(place))?;
        Ok(Some(record))
    }

    /// The same for records that nobody keeps once they have read them: the revision stays what it is.
    ///
    /// # Errors
    /// As [`Vault::commit`].
    pub(crate) fn commit_aside(&self, changes: Changes) -> Result<()> {
        let _beside_others = self.beside_others();
        self.seal_and_write(changes)
    }

    fn seal_and_write(&self, changes: Changes) -> Result<()> {
        let kept = self.kept();
        let mut batch = Batch::default();
        for (place, value) in changes.0 {
            match value {
                Some(value) => {
                    let sealed = kept.sealer.seal(&place, &value)?;
                    batch.put(place, sealed);
                }
                None => batch.delete(place),
            }
        }
        kept.store()?.commit(batch)
    }

    /// Writes a record that nobody reads, to find out whether anything can be written. Nothing else changes, so that whoever
    /// keeps what they read goes on keeping it.
    ///
    /// # Errors
    /// Those of [`Vault::commit`].
    pub fn try_writing(&self) -> Result<()> {
        self.commit_aside(Changes::new().put(&Place::new(PROBE)?, "")?)
    }

    /// Counts the commits since it was opened, those that failed too. Whoever reads it before reading records, and finds the same number later,
    /// knows that the records are still those: nobody else writes while this one is open.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// A 256-bit key of this store's for one purpose, the same every time: whoever has it learns nothing of the others.
    pub fn subkey(&self, purpose: &[u8]) -> Secret {
        self.master.subkey(purpose)
    }

    /// Nobody is alone meanwhile.
    fn beside_others(&self) -> RwLockReadGuard<'_, ()> {
        self.committing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody else commits meanwhile; everybody reads.
    pub(super) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.committing.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn kept(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody even reads meanwhile.
    pub(super) fn exchange(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn master(&self) -> &Master {
        &self.master
    }
}

impl Kept {
    fn unseal<T: DeserializeOwned>(&self, place: &Place, sealed: &[u8]) -> Result<T> {
        let value = self.sealer.open(place, sealed)?;
        read(place, &value)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

/// Changes that are made together or not at all. Of several to one place, the last one counts.
#[derive(Default)]
pub struct Changes(Vec<(Place, Option<Plain>)>);

impl Changes {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a record in a place, over what was there.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the value cannot be written as JSON.
    pub fn put<T: Serialize + ?Sized>(mut self, place: &Place, value: &T) -> Result<Self> {
        self.0.push((place.clone(), Some(plain(place, value)?)));
        Ok(self)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These changes, and then those.
    #[must_use]
    pub(crate) fn and(mut self, then: Self) -> Self {
        self.0.extend(then.0);
        self
    }

    /// Takes away the record in a place, if there is one.
    #[must_use]
    pub fn delete(mut self, place: &Place) -> Self {
        self.0.push((place.clone(), None));
        self
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change =
            |(place, value): &(Place, Option<_>)| (place.clone(), if value.is_some() { "put" } else { "delete" });
        f.debug_map().entries(self.0.iter().map(change)).finish()
    }
}

/// A record's value before it is sealed and after it was opened: JSON.
pub(crate) type Plain = Zeroizing<Vec<u8>>;

/// The value of a record.
///
/// # Errors
/// [`Kind::Internal`] if it cannot be written as JSON.
pub(crate) fn plain<T: Serialize + ?Sized>(place: &Place, value: &T) -> Result<Plain> {
    let mut plain = Wiped::default();
    serde_json::to_writer(&mut plain, value)
        .map_err(|_| Kind::Internal.error(format!("The record {place} cannot be written as JSON.")))?;
    Ok(plain.0)
}

/// What a record's value says.
///
/// # Errors
/// [`Kind::StoreDamaged`], naming the place, if it does not have the form that is asked for.
pub(crate) fn read<T: DeserializeOwned>(place: &Place, value: &[u8]) -> Result<T> {
    // What serde would say may quote the value.
    serde_json::from_slice(value).map_err(|_| {
        Kind::StoreDamaged
            .error(format!("The record {place} does not have the form that this version of Attaché reads."))
            .hint("Use the version that wrote it, or remove the record and make it anew.")
    })
}

/// A buffer that leaves no copy of its content behind when it grows.
#[derive(Default)]
struct Wiped(Zeroizing<Vec<u8>>);

impl io::Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two().max(256)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a new store beside where it belongs and renames it there, so that a store is never seen half made.
fn create(dir: &DataDir, key: &Key) -> Result<()> {
    let (new, place) = (dir.new_store(), dir.store());
    dir::create_private(&new)?;
    header::create(&new, key)?;
    SledStore::create(&new)?;
    fs::rename(&new, &place).map_err(|error| fault::io(&place, &error))?;
    dir::sync(dir.path())
}

/// Removes a store that somebody died over while making it. Nothing in it was ever used.
pub(super) fn remove_unfinished(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault::io(path, &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
