//! What the operating system and sled say, as sentences.

use std::{io, path::Path};

use crate::error::{Error, Kind};

/// A file or directory that could not be read or written.
pub(crate) fn io(path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    let unavailable = |message: String| Kind::StoreUnavailable.error(message);
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => disk_full(&path),
        io::ErrorKind::PermissionDenied => unavailable(format!("{path} may not be read or written by this user."))
            .hint("Run as the user that it belongs to, or give it back: chown and chmod u+rwX."),
        io::ErrorKind::ReadOnlyFilesystem => {
            unavailable(format!("{path} is on a file system that is mounted read-only."))
                .hint("Mount it for writing, or use another data directory: --data-dir DIR.")
        }
        io::ErrorKind::NotADirectory => unavailable(format!("{path} leads through a file that is not a directory."))
            .hint("Use another data directory: --data-dir DIR."),
        io::ErrorKind::NotFound => unavailable(format!("{path} does not exist.")),
        _ => unavailable(format!("{path} cannot be read or written: {error}.")),
    }
}

/// There is not enough room left; nothing has been written.
pub(crate) fn disk_full(path: &impl std::fmt::Display) -> Error {
    Kind::StoreUnavailable
        .error(format!("The disk that holds {path} is full, so nothing can be written."))
        .hint("Free some space and run the command again; what was stored before is unharmed.")
}

/// sled failed while it worked in this directory.
pub(super) fn sled(directory: &Path, error: &sled::Error) -> Error {
    match error {
        // A file that ends too early is how sled reports a truncated log.
        sled::Error::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => io(directory, error),
        sled::Error::Io(_) | sled::Error::Corruption { .. } => {
            damaged(directory, "a file in it is not as it was written")
        }
        other => damaged(directory, other),
    }
}

/// The store's files are not what was written.
pub(super) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    let reason = crate::text::foreign(&reason.to_string(), 300);
    Kind::StoreDamaged
        .error(format!("The store in {} is damaged: {}.", path.display(), reason.trim_end_matches('.')))
        .hint("Restore the data directory from a backup.")
}

/// Whether sled could not have its file because somebody holds it.
pub(super) fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}
