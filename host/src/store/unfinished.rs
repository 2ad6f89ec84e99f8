//! Files that are written in full under a name of their own before they get theirs, and those whose writer was killed before that.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

const PREFIX: &str = ".attache-unfinished-";

/// A file for its owner alone that gets its name later. It is locked as long as somebody writes it.
pub(crate) fn begin_in(directory: &Path) -> io::Result<NamedTempFile> {
    // Mode 0600 and O_EXCL are what this crate always uses.
    let new = tempfile::Builder::new().prefix(PREFIX).tempfile_in(directory)?;
    new.as_file().lock()?;
    Ok(new)
}

/// Those in this directory that nobody writes any longer.
pub(crate) fn left_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let begun = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    let paths = begun.map(|entry| entry.path());
    let mut left: Vec<_> = paths.filter(|path| File::open(path).is_ok_and(|file| file.try_lock().is_ok())).collect();
    left.sort_unstable();
    left
}
