//! What tests of several parts have in common.

use std::path::Path;

use tempfile::TempDir;

use crate::{
    host::Host,
    settings::{Given, Settings, Source, Sourced},
};

#[path = "../../tests/src/at_once.rs"]
mod at_once;

pub(crate) use at_once::{among, at_once};

/// A host on a data directory of its own, with its key beside that in the folder.
pub(crate) fn host() -> (Host, TempDir) {
    let home = tempfile::tempdir().unwrap();
    let key = format!("file:{}", home.path().join("key").display());
    (Host::open(&settings(home.path(), key)).unwrap(), home)
}

/// For the host in a folder, whose key comes from there.
pub(crate) fn settings(home: &Path, key: String) -> Settings {
    let given = Given {
        data_dir: Some(Sourced { value: home.join("data"), source: Source::Flag }),
        key: Some(Sourced { value: key, source: Source::Flag }),
        environment: None,
    };
    Settings::load(given).unwrap()
}
