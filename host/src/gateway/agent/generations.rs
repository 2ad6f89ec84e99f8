//! Which credential of a connection is the newest that was used here. A host that shows an older one again, which its owner replaced,
//! is refused; what is only tried while connecting counts as soon as it is used.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Mutex,
};

use uuid::Uuid;

use super::{
    super::sealed::Terms,
    files::{replace, unusable},
};
use crate::{
    error::{Kind, Result},
    sync::lock,
};

const FILE: &str = "generations";
/// No gateway has so many connections; a host that invents them does not fill the disk.
const MOST: usize = 20_000;
/// What the host calls an operation that is none of the connector's: one that a connection is made with may come to nothing.
const WHILE_CONNECTING: [&str; 2] = ["check", "connect"];

/// See the module.
pub(super) struct Generations {
    folder: PathBuf,
    newest: Mutex<HashMap<Uuid, u64>>,
}

impl Generations {
    /// As they are kept in a gateway's folder.
    ///
    /// # Errors
    /// `store-damaged` where the file is something else.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let newest = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|_| {
                Kind::StoreDamaged
                    .error(format!("The file {} is not what a gateway of this version keeps.", path.display()))
                    .hint("Without it, credentials that were replaced would be taken again: restore it, or move it away knowingly.")
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(unusable(&path, &error)),
        };
        Ok(Self { folder: folder.to_owned(), newest: Mutex::new(newest) })
    }

    /// Whether a credential of these terms is the newest, for that operation.
    ///
    /// # Errors
    /// `denied` where a newer one was used; `store-unavailable` where it cannot be noted that this one is.
    pub(super) fn judge(&self, terms: &Terms, operation: &str) -> Result<()> {
        let mut newest = lock(&self.newest);
        let known = newest.get(&terms.connection).copied().unwrap_or(0);
        if terms.generation < known {
            return Err(Kind::Denied
                .error("The host shows a credential that was replaced: its connection was connected anew since.")
                .hint("`attache connection reconnect NAME` at the host seals it anew."));
        }
        if terms.generation == known || WHILE_CONNECTING.contains(&operation) {
            return Ok(());
        }
        if newest.len() >= MOST && !newest.contains_key(&terms.connection) {
            return Err(Kind::StoreUnavailable
                .error(format!("The gateway has noted {MOST} connections, and makes no note of another."))
                .hint("`attache gateway enroll NAME` and `gateway join` in an empty folder begin anew."));
        }
        newest.insert(terms.connection, terms.generation);
        self.write(&newest)
    }

    fn write(&self, newest: &HashMap<Uuid, u64>) -> Result<()> {
        let path = self.folder.join(FILE);
        let text = serde_json::to_vec(newest).map_err(|_| Kind::Internal.error("Generations cannot be written."))?;
        replace(&path, &text)
    }
}
