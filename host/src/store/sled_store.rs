//! The store on sled 0.34.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use super::{Batch, Place, Store};
use crate::error::{Error, Kind, Result};

/// Records are small and few; sled's own default of 1 GiB is for databases that are the whole job.
const CACHE_BYTES: u64 = 32 << 20;

/// Sled in a folder of its own.
pub(super) struct SledStore {
    database: sled::Db,
    folder: PathBuf,
}

impl SledStore {
    /// Whether a store is there at all.
    pub(super) fn exists(data_directory: &Path) -> bool {
        folder(data_directory).join("db").exists()
    }

    /// Opens it, and makes it where it is not there.
    ///
    /// # Errors
    /// `store-damaged` where sled does not recognise its files, `store-unavailable` where they cannot be used.
    pub(super) fn open(data_directory: &Path) -> Result<Self> {
        let folder = folder(data_directory);
        let config = sled::Config::new().path(&folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        // sled 0.34 panics on some damage instead of reporting it; nothing of ours is half-done when it does.
        let opened = quietly(|| config.open());
        let database = match opened {
            Ok(Ok(database)) => database,
            Ok(Err(error)) => return Err(explain(&folder, error)),
            Err(()) => return Err(damaged(&folder)),
        };
        private(&folder)?;
        sync(data_directory)?;
        Ok(Self { database, folder })
    }
}

impl Store for SledStore {
    fn get(&self, place: &Place) -> Result<Option<Vec<u8>>> {
        let found = quietly(|| self.database.get(place.as_str())).map_err(|()| damaged(&self.folder))?;
        Ok(found.map_err(|error| explain(&self.folder, error))?.map(|value| value.to_vec()))
    }

    fn list(&self, below: &Place) -> Result<Vec<(Place, Vec<u8>)>> {
        let read =
            || -> std::result::Result<Vec<_>, sled::Error> { self.database.scan_prefix(below.prefix()).collect() };
        let found = quietly(read).map_err(|()| damaged(&self.folder))?.map_err(|error| explain(&self.folder, error))?;
        let place = |key: &[u8]| Place::read(key).ok_or_else(|| damaged(&self.folder));
        found.into_iter().map(|(key, value)| Ok((place(&key)?, value.to_vec()))).collect()
    }

    fn is_empty(&self) -> Result<bool> {
        quietly(|| self.database.is_empty()).map_err(|()| damaged(&self.folder))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        let mut changes = sled::Batch::default();
        for (place, value) in batch.changes {
            match value {
                Some(value) => changes.insert(place.as_str(), value),
                None => changes.remove(place.as_str()),
            }
        }
        let write = || -> std::result::Result<(), sled::Error> {
            self.database.apply_batch(changes)?;
            self.database.flush()?;
            Ok(())
        };
        quietly(write).map_err(|()| unwritable(&self.folder))?.map_err(|error| explain(&self.folder, error))?;
        // sled flushes with `sync_file_range`, which a power cut does not respect.
        sync(&self.folder.join("db"))?;
        sync(&self.folder)
    }
}

/// Makes the data directory, for its owner only.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(Kind::StoreUnavailable
            .error(format!("{} is a file, and the data directory has to be a folder.", path.display()))
            .hint("Choose another with --data-dir."));
    }
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| unavailable(path, &error))
}

/// The sentence for what the operating system refuses.
pub(super) fn unavailable(path: &Path, error: &io::Error) -> Error {
    let (why, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied => (
            "this user may not use it".to_owned(),
            "Change its owner or permissions, or choose another with --data-dir.",
        ),
        io::ErrorKind::ReadOnlyFilesystem => {
            ("it is on a read-only file system".to_owned(), "Choose another with --data-dir.")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("the disk is full".to_owned(), "Free some space and try again; what was there before is untouched.")
        }
        _ => (error.to_string(), "Choose another with --data-dir if that cannot be mended."),
    };
    Kind::StoreUnavailable.error(format!("{} cannot be used: {why}.", path.display())).hint(hint)
}

fn folder(data_directory: &Path) -> PathBuf {
    data_directory.join("store")
}

fn explain(folder: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => Kind::StoreLocked
            .error(format!("The store in {} is in use by another process.", folder.display()))
            .hint("Wait for it, or stop it."),
        sled::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => damaged(folder),
        sled::Error::Io(error) => unavailable(folder, &error),
        sled::Error::Corruption { .. } | sled::Error::Unsupported(_) | sled::Error::CollectionNotFound(_) => {
            damaged(folder)
        }
        sled::Error::ReportableBug(_) => unwritable(folder),
    }
}

fn damaged(folder: &Path) -> Error {
    Kind::StoreDamaged
        .error(format!("The store in {} is damaged: its files are not as they were written.", folder.display()))
        .hint("Put a backup of the data directory back. Nothing was changed now.")
}

fn unwritable(folder: &Path) -> Error {
    Kind::StoreUnavailable
        .error(format!("The store in {} could not be written.", folder.display()))
        .hint("See whether the disk is full. What was there before is untouched.")
}

/// Runs sled, and turns its panics into an error without printing them.
fn quietly<T>(work: impl FnOnce() -> T) -> std::result::Result<T, ()> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| ())
}

fn private(folder: &Path) -> Result<()> {
    let owner_only = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| unavailable(path, &error))
    };
    owner_only(folder, 0o700)?;
    for entry in fs::read_dir(folder).map_err(|error| unavailable(folder, &error))?.flatten() {
        owner_only(&entry.path(), if entry.path().is_dir() { 0o700 } else { 0o600 })?;
    }
    Ok(())
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| unavailable(path, &error))
}
