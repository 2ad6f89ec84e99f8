//! Whether a renewal left. That one is about to is on the disk for good before it does; but a host that ends in the
//! milliseconds until that is for good has sent nothing, and its connection need not be given up for that. So there is a second
//! mark, a file that is made in the moment of leaving and is not waited for. What a process wrote outlives the process, though
//! not the power: where the first mark is of this boot and the second is missing, nothing left.

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Kind, Result};

/// The folder of second marks, in the data directory.
pub const FOLDER: &str = "leaving";

/// That a renewal is about to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// What is being asked for.
    pub generation: u64,
    /// When the machine was started, by the name that the kernel gives that; none where it gives none.
    boot: Option<String>,
    /// The moment of the backup that it was restored from, if it was: since then, renewals may have left that nothing here
    /// knows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restored: Option<String>,
}

impl Sending {
    /// Of this generation, now.
    pub(super) fn new(generation: u64) -> Self {
        Self { generation, boot: boot(), restored: None }
    }

    /// Of this generation, for all that is known, at any time since that moment.
    pub(crate) fn since(generation: u64, moment: &str) -> Self {
        Self { generation, boot: None, restored: Some(moment.to_owned()) }
    }

    /// Without what proves that it never left: second marks are in no backup.
    pub(crate) fn unproven(self) -> Self {
        Self { boot: None, ..self }
    }

    /// The moment of the backup that it was restored from.
    pub(super) fn restored(&self) -> Option<&str> {
        self.restored.as_deref()
    }
}

/// The second mark of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    folder: PathBuf,
    name: String,
}

impl Leaving {
    /// In that folder, of what is called so.
    pub(crate) fn new(folder: PathBuf, name: String) -> Self {
        Self { folder, name }
    }

    /// Marks that it leaves now.
    ///
    /// # Errors
    /// `store-unavailable` where there cannot be a mark.
    pub(super) fn mark(&self, sending: &Sending) -> Result<()> {
        let made = fs::create_dir_all(&self.folder).and_then(|()| fs::File::create(self.path(sending)));
        made.map(drop).map_err(|error| {
            Kind::StoreUnavailable
                .error(format!("That a renewal leaves cannot be noted in the data directory: {error}."))
        })
    }

    /// Whether it is certain that it never left.
    pub(super) fn never_left(&self, sending: &Sending) -> bool {
        let missing = fs::metadata(self.path(sending)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        sending.boot.is_some() && sending.boot == boot() && missing
    }

    /// Takes the mark away: what came of it is known.
    pub(super) fn clear(&self, sending: &Sending) {
        // One that stays speaks of a generation that is over.
        let _ = fs::remove_file(self.path(sending));
    }

    fn path(&self, sending: &Sending) -> PathBuf {
        self.folder.join(format!("{}.{}", self.name, sending.generation))
    }
}

fn boot() -> Option<String> {
    // Linux; elsewhere nothing is certain.
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_of_this_boot_without_the_second_one_proves_that_nothing_left() {
        let home = tempfile::tempdir().unwrap();
        let leaving = Leaving::new(home.path().join(FOLDER), "me".into());
        let sending = Sending::new(7);
        assert!(leaving.never_left(&sending), "marked, and then nothing more was done");
        assert!(!leaving.never_left(&Sending { boot: Some("before the power failed".into()), ..sending.clone() }));
        assert!(!leaving.never_left(&sending.clone().unproven()));
        assert!(!leaving.never_left(&Sending::since(7, "yesterday")));
        leaving.mark(&sending).unwrap();
        assert!(!leaving.never_left(&sending));
        assert!(leaving.never_left(&Sending::new(8)), "it is of another generation");
        leaving.clear(&sending);
        assert!(leaving.never_left(&sending));
    }
}
