//! How far the store had come. sled, when its log is damaged, goes on from the last piece that it can read, and says nothing
//! of what came after; so the number of commits is noted beside it, and a store that has fewer has lost some.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::hmac;

use super::sled_store::unavailable;
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

/// The file beside the store.
pub(super) struct Progress {
    path: PathBuf,
}

impl Progress {
    pub(super) fn of(data_directory: &Path) -> Self {
        Self { path: data_directory.join("progress") }
    }

    /// Notes a commit that is on the disk.
    pub(super) fn note(&self, count: u64, key: &Secret) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(line(count, key).as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| unavailable(&self.path, &error))
    }

    /// Compares the note with what the store has. A store may be one commit ahead: a crash came between the two.
    ///
    /// # Errors
    /// `store-damaged` where the store has fewer commits than were noted, or the note is not ours.
    pub(super) fn compare(&self, count: u64, key: &Secret) -> Result<()> {
        let noted = match fs::read_to_string(&self.path) {
            Ok(text) => {
                let noted = text.split(' ').next().and_then(|count| count.parse().ok());
                let noted: u64 = noted.filter(|noted| line(*noted, key) == text).ok_or_else(|| self.foreign())?;
                noted
            }
            Err(error) if error.kind() == ErrorKind::NotFound && count <= 1 => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.foreign()),
            Err(error) => return Err(unavailable(&self.path, &error)),
        };
        if count >= noted {
            return Ok(());
        }
        Err(Kind::StoreDamaged
            .error(format!("The store is damaged: of {noted} commits it has {count}, so the last ones are lost."))
            .hint("Put a backup of the data directory back."))
    }

    fn foreign(&self) -> Error {
        Kind::StoreDamaged
            .error(format!(
                "{} is missing or not what was written, so nobody knows whether the store is whole.",
                self.path.display()
            ))
            .hint("Put a backup of the data directory back, all of it.")
    }
}

fn line(count: u64, key: &Secret) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    format!("{count} {}\n", hex::encode(hmac::sign(&key, &count.to_be_bytes())))
}
