//! The gateway's own audit, looked at where it is: whether it is whole. Its last line is noted beside it from time to time, so that
//! lines which are cut off are missed.

use std::{fs, path::Path};

use super::{
    files::{Folder, replace, unusable},
    run::LOCK_WAIT,
};
use crate::{
    audit::{Audit, Head},
    error::{Kind, Result},
    store::lock::Lock,
};

const FILE: &str = "audit.head";

/// Notes the last line that is on the disk.
///
/// # Errors
/// `store-unavailable`.
pub(super) fn note_head(folder: &Path, audit: &Audit) -> Result<()> {
    audit.sync()?;
    let Some(head) = audit.head() else { return Ok(()) };
    let path = folder.join(FILE);
    let text = serde_json::to_vec(&head).map_err(|_| Kind::Internal.error("A line's number cannot be written."))?;
    replace(&path, &text)
}

/// Checks the gateway's audit from its first line to its last; gives how many there are.
///
/// # Errors
/// `not-found` where no gateway joined from here; `store-damaged` with the first line that is not what was written;
/// `store-unavailable` while it runs.
pub fn verify(data_dir: &Path) -> Result<u64> {
    let folder = Folder::of(data_dir)?;
    let _lock = Lock::acquire(&folder.path().join("lock"), LOCK_WAIT)?;
    let membership = folder.joined()?;
    let path = folder.path().join(FILE);
    let head: Option<Head> = match fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).map_err(|_| {
            Kind::StoreDamaged
                .error(format!("The file {} is not what a gateway of this version keeps.", path.display()))
        })?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(unusable(&path, &error)),
    };
    Audit::verify(&Audit::path(folder.path()), &membership.keys.audit, head.as_ref())
}
