//! A data directory that is being made of a backup. It is written whole below another name in the directory itself, since that
//! may be the root of a file system; then one renaming says that it counts, and what is left to do is done by whoever holds the
//! lock next, should this process end before.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use uuid::Uuid;

use super::{
    Batch, KeySource, Place, SledStore, Store,
    dir::{self, DataDir},
    envelope::Opened,
    fault, header,
    key::Key,
    lock::Lock,
    seal::Sealer,
    vault,
};
use crate::error::{Kind, Result};

/// Records that are written at a time, and how many bytes of them: each batch is synced, and held in memory.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;

/// What may be in a directory that a backup is restored to: what another attempt left, and what file systems have at their root.
const NOTHING: [&str; 3] = ["lock", "restoring", "lost+found"];

/// See the module. Dropped before it is finished, it leaves nothing.
pub(crate) struct Restoring {
    dir: DataDir,
    store: Option<SledStore>,
    sealer: Sealer,
    batch: Batch,
    records: usize,
    made: Made,
    _lock: Lock,
}

/// What was made on the way, and is taken away again.
#[derive(Default)]
struct Made {
    building: Option<PathBuf>,
    directory: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl Restoring {
    /// Begins, in a directory that is missing or has nothing in it. Everything is sealed under the key that opened the backup,
    /// or else the key of this source, whose file is made if it is not there.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] where there is something; otherwise as for [`super::Vault::open`].
    pub(crate) fn begin<R>(data_dir: &Path, source: &KeySource, opened: &mut Opened<R>) -> Result<Self> {
        refuse_used(data_dir)?;
        let mut made = Made::default();
        made.directory = (!data_dir.exists()).then(|| data_dir.to_owned());
        let dir = DataDir::prepare(data_dir)?;
        source.check_outside(dir.path())?;
        let lock = Lock::acquire(&dir.lock(), Duration::ZERO)?;
        // Somebody may have been quicker.
        refuse_used(dir.path())?;
        vault::remove_unfinished(&dir.restoring())?;
        let key = match opened.key.take() {
            Some(key) => key,
            None => load_or_create(source, &mut made)?,
        };
        made.building = Some(dir.restoring());
        let place = building_store(&dir);
        dir::create_private(&place)?;
        let sealer = header::create_with(&place, &key, Uuid::new_v4(), &opened.master)?;
        SledStore::create(&place)?;
        let store = Some(SledStore::open(&place)?);
        Ok(Self { dir, store, sealer, batch: Batch::default(), records: 0, made, _lock: lock })
    }

    /// Where what lies beside the store is to be put.
    pub(crate) fn directory(&self) -> PathBuf {
        self.dir.restoring()
    }

    /// Puts a record in its place.
    ///
    /// # Errors
    /// [`Kind::StoreUnavailable`] if it cannot be written.
    pub(crate) fn put(&mut self, place: Place, value: &[u8]) -> Result<()> {
        let sealed = self.sealer.seal(&place, value)?;
        self.batch.put(place, sealed);
        self.records += 1;
        if self.records.is_multiple_of(BATCH) || self.batch.size() > BATCH_BYTES { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.store.as_ref().map_or(Ok(()), |store| store.commit(batch))
    }

    /// Says that it is whole: from now on the data directory is what was restored, whenever the process ends.
    ///
    /// # Errors
    /// [`Kind::StoreUnavailable`] if it cannot be written.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.commit()?;
        // sled lets go of its files before they get another name.
        drop(self.store.take());
        let (building, whole) = (self.dir.restoring(), self.dir.restored());
        dir::sync(&building)?;
        fs::rename(&building, &whole).map_err(|error| fault::io(&whole, &error))?;
        self.made = Made::default();
        dir::sync(self.dir.path())?;
        settle(&self.dir)
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        drop(self.store.take());
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(building) = &self.building {
            let _ = fs::remove_dir_all(building);
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_file(directory.join("lock"));
            let _ = fs::remove_dir(directory);
        }
        if let Some(key_file) = &self.key_file {
            let _ = fs::remove_file(key_file);
        }
    }
}

/// Refuses a directory that has something in it.
///
/// # Errors
/// [`Kind::AlreadyExists`]; [`Kind::StoreUnavailable`] where it cannot be read.
pub(crate) fn refuse_used(data_dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| fault::io(data_dir, &error))?,
    };
    for entry in entries {
        let name = entry.map_err(|error| fault::io(data_dir, &error))?.file_name();
        if !NOTHING.iter().any(|nothing| name == *nothing) {
            return Err(Kind::AlreadyExists
                .error(format!(
                    "The data directory {} has something in it, and a backup is restored to an empty one only.",
                    data_dir.display()
                ))
                .hint("Name another one, `--data-dir DIR`, or move this one away."));
        }
    }
    Ok(())
}

/// Moves into place what was restored whole, and removes what was not. The lock is held.
pub(super) fn settle(dir: &DataDir) -> Result<()> {
    vault::remove_unfinished(&dir.restoring())?;
    let whole = dir.restored();
    let entries = match fs::read_dir(&whole) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| fault::io(&whole, &error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| fault::io(&whole, &error))?;
        let place = dir.path().join(entry.file_name());
        fs::rename(entry.path(), &place).map_err(|error| fault::io(&place, &error))?;
    }
    dir::sync(dir.path())?;
    fs::remove_dir(&whole).map_err(|error| fault::io(&whole, &error))?;
    dir::sync(dir.path())
}

fn building_store(dir: &DataDir) -> PathBuf {
    dir.restoring().join("store")
}

fn load_or_create(source: &KeySource, made: &mut Made) -> Result<Key> {
    if let KeySource::File(path) = source
        && !path.exists()
    {
        made.key_file = Some(path.clone());
    }
    source.load_or_create()
}
