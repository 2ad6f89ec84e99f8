//! The data directory: where everything in it lies, whom it belongs to, and how its entries become durable.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::fault;
use crate::error::{Error, Kind, Result};

const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// The data directory, existing, private and by its real name.
#[derive(Debug)]
pub(super) struct DataDir(PathBuf);

impl DataDir {
    /// Makes the directory if it is not there, and makes it private. A directory with other things in it is not ours to
    /// change: it is used if it is private, and refused otherwise. So is, for root, one that somebody else works with: they
    /// could not read what root writes there.
    pub(super) fn prepare(path: &Path) -> Result<Self> {
        let fault = |error: io::Error| fault::io(path, &error);
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(Kind::StoreUnavailable
                    .error(format!("The data directory {} is a file.", path.display()))
                    .hint("Give the name of a directory: --data-dir DIR."));
            }
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                let empty = fs::read_dir(path).map_err(fault)?.next().is_none();
                if !empty && !path.join("lock").exists() {
                    return Err(Kind::StoreUnavailable
                        .error(format!(
                            "The data directory {} holds other things, and others may read it.",
                            path.display()
                        ))
                        .hint(format!("Use a directory of its own: --data-dir DIR; or chmod 700 {}", path.display())));
                }
                fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIR)).map_err(fault)?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_private(path)?,
            Err(error) => return Err(fault(error)),
        }
        let dir = Self(path.canonicalize().map_err(fault)?);
        let belongs = |path: &Path| fs::metadata(path).map(|metadata| metadata.uid()).ok().filter(|user| *user != 0);
        match belongs(dir.path()).or_else(|| belongs(&dir.lock())) {
            Some(user) if rustix::process::geteuid().is_root() => Err(of_somebody_else(path, user)),
            _ => Ok(dir),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The store. It is there whole or not at all.
    pub(super) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// A store that is being written and will take the place of [`DataDir::store`].
    pub(super) fn new_store(&self) -> PathBuf {
        self.0.join("store.new")
    }

    /// What a backup is being restored to. Nothing of it counts.
    pub(super) fn restoring(&self) -> PathBuf {
        self.0.join("restoring")
    }

    /// The same, whole, until it is in place.
    pub(super) fn restored(&self) -> PathBuf {
        self.0.join("restored")
    }
}

fn of_somebody_else(path: &Path, user: u32) -> Error {
    Kind::StoreUnavailable
        .error(format!(
            "The data directory {} belongs to the user {user}, who could not read what root writes there.",
            path.display()
        ))
        .hint("While `attache serve` runs there, root's commands ask it. Otherwise run them as that user.")
}

/// Makes a directory and what is missing above it, each for its owner alone and on disk for good.
pub(crate) fn create_private(path: &Path) -> Result<()> {
    let path = std::path::absolute(path).map_err(|error| fault::io(path, &error))?;
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(PRIVATE_DIR).create(directory) {
            Ok(()) => sync(directory.parent().unwrap_or(directory))?,
            // Somebody was quicker; what they made is judged by who uses it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fault::io(directory, &error)),
        }
    }
    Ok(())
}

/// Writes a new file for its owner alone, on disk for good once its directory is synced.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<File> {
    let write = || {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE_FILE).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(file)
    };
    write().map_err(|error| fault::io(path, &error))
}

/// Waits until the directory's entries, or a file's content, are on disk.
pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| fault::io(path, &error))
}

/// Takes away from everybody but the owner what a library made with the ordinary modes, in this directory and below. The
/// data directory has been private all the while; this is for copies of it.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let made = fs::symlink_metadata(&path).and_then(|metadata| match metadata.mode() {
            _ if metadata.is_dir() => make_private(&path),
            mode if mode & 0o077 != 0 => fs::set_permissions(&path, Permissions::from_mode(PRIVATE_FILE)),
            _ => Ok(()),
        });
        match made {
            // The library has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    if fs::metadata(directory)?.mode() & 0o077 != 0 {
        fs::set_permissions(directory, Permissions::from_mode(PRIVATE_DIR))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_missing_directory_is_made_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("share/attache");
        let dir = DataDir::prepare(&path).unwrap();
        assert_eq!((mode(&home.path().join("share")), mode(&path)), (0o700, 0o700));
        assert_eq!(dir.path(), path.canonicalize().unwrap());
    }

    #[test]
    fn an_empty_directory_becomes_private() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        DataDir::prepare(home.path()).unwrap();
        assert_eq!(mode(home.path()), 0o700);
    }

    #[test]
    fn somebody_elses_directory_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("letter.txt"), "").unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let error = DataDir::prepare(home.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().contains("holds other things"), "{error}");
        assert_eq!(mode(home.path()), 0o755);
        fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
        DataDir::prepare(home.path()).unwrap();
    }

    #[test]
    fn a_file_is_not_a_data_directory() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DataDir::prepare(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().ends_with("is a file."), "{error}");
        let error = DataDir::prepare(&path.join("below")).unwrap_err();
        assert!(error.message().contains("leads through a file"), "{error}");
    }
}
