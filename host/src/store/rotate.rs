//! Rotation: the whole store written anew under another key, and put in the place of the old one in one step, so that
//! nothing of what the old key opens is left. The master secret stays, and with it the audit's chain and the compiled
//! connectors.
//!
//! A key file is replaced after the store, since no step changes two places at once. The new key waits beside it under a
//! name that has the new store's id: whoever finds, after a crash, a store that the key file does not open, looks there; and
//! whoever finds the new store unfinished removes the key with it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    Batch, KeySource, SledStore, Store, Vault,
    dir::{self, DataDir},
    fault, header,
    key::{self, Key},
    seal::Sealer,
    vault,
};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

/// Records that are written at a time: each batch is synced, and held in memory.
const BATCH: usize = 500;

/// The key that a store is to be sealed under from now on.
#[derive(Debug)]
pub enum NewKey {
    /// One that is made, and takes the place of the one in the key file.
    Made,
    /// One that is kept elsewhere.
    Of(KeySource, Key),
}

impl NewKey {
    /// What that source holds. A key file that is not there is made.
    ///
    /// # Errors
    /// `usage` where it holds another each time; `store-unavailable` where it holds none, or lies inside the data directory;
    /// `wrong-key` for what is none.
    pub fn from(source: KeySource, data_dir: &Path) -> Result<Self> {
        source.check_outside(data_dir)?;
        let key = source.load_or_create()?;
        // A command that prints another key each time would lock the store for good.
        if key.expose() != source.load()?.expose() {
            return Err(Kind::Usage.error(format!("What {} holds is not the same twice.", source.described())));
        }
        Ok(Self::Of(source, key))
    }

    /// The same, which another process has read.
    ///
    /// # Errors
    /// `usage` for a source that is none, `wrong-key` for a key.
    pub(crate) fn told(source: &str, key: &Secret) -> Result<Self> {
        let source: KeySource = source.parse()?;
        let key = source.parse_key(key.expose())?;
        Ok(Self::Of(source, key))
    }

    /// Its source and the key, for another process; none for one that is made.
    pub(crate) fn tell(&self) -> Option<(String, Zeroizing<String>)> {
        match self {
            Self::Made => None,
            Self::Of(source, key) => Some((source.to_string(), key.text())),
        }
    }

    /// Where it comes from, where the one of now comes from there.
    pub(crate) fn source<'a>(&'a self, from: &'a KeySource) -> &'a KeySource {
        match self {
            Self::Made => from,
            Self::Of(source, _) => source,
        }
    }
}

/// What a rotation did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rotated {
    /// How many records were sealed anew.
    pub records: usize,
    /// Where the key comes from now.
    pub source: String,
    /// Where the key file that was replaced is kept: older backups of the store, and other data directories that were made
    /// with it, open with nothing else.
    pub kept: Option<PathBuf>,
}

impl Vault {
    /// Seals everything anew under another key. The vault stays open: whoever reads is served as before, whoever commits waits
    /// until it is done.
    ///
    /// # Errors
    /// `usage` where the new key cannot be written or is the old one; `denied` while a backup is made, which reads the old
    /// store; those of opening and of writing a store. Whatever happens, and whenever the process ends, the store opens again:
    /// with the old key, or with the new one.
    pub fn rotate(&self, data_dir: &Path, from: &KeySource, to: &NewKey) -> Result<Rotated> {
        let dir = DataDir::prepare(data_dir)?;
        let id = Uuid::new_v4();
        let made;
        let (new, replaces) = match (from, to) {
            (KeySource::File(path), NewKey::Made) => {
                made = Key::generate()?;
                (&made, Some(path.as_path()))
            }
            (_, NewKey::Made) => return Err(cannot_be_written(from)),
            (_, NewKey::Of(..)) if self.is_opened_by(&dir, to)? => return Err(same_key(from, to)),
            (_, NewKey::Of(_, new)) => (new, None),
        };
        let _alone = self.alone();
        let written = self.write_anew(&dir, new, id).and_then(|written| {
            if let Some(path) = replaces {
                // After the header with its id: whoever finds that unfinished knows whose key this is.
                key::create_file(&waiting(path, id), new)?;
            }
            self.exchange_stores(&dir, written.sealer)?;
            Ok(written.records)
        });
        // Nothing was sealed with that, and nobody opens it.
        let records = written.inspect_err(|_| drop(forget_unfinished(&dir.new_store(), from)))?;
        let kept = replaces.map(|path| replace_key_file(path, id)).transpose()?;
        vault::remove_unfinished(&dir.new_store())?;
        dir::sync(dir.path())?;
        Ok(Rotated { records, source: to.source(from).to_string(), kept })
    }

    /// Whether it is the key of this store.
    fn is_opened_by(&self, dir: &DataDir, key: &NewKey) -> Result<bool> {
        let NewKey::Of(source, key) = key else { return Ok(false) };
        match header::open(&dir.store(), key, source) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::WrongKey => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a store with the same records, beside the one that is there.
    fn write_anew(&self, dir: &DataDir, key: &Key, id: Uuid) -> Result<Written> {
        let place = dir.new_store();
        dir::create_private(&place)?;
        let sealer = header::create_with(&place, key, id, self.master())?;
        SledStore::create(&place)?;
        let store = SledStore::open(&place)?;
        let kept = self.kept();
        let records = kept.store()?.all()?;
        for some in records.chunks(BATCH) {
            let mut batch = Batch::default();
            for (place, sealed) in some {
                let sealed: Result<Vec<u8>> =
                    kept.sealer.open(place, sealed).and_then(|value| sealer.seal(place, &value));
                batch.put(place.clone(), sealed?);
            }
            store.commit(batch)?;
        }
        let there = store.all()?.len();
        if there != records.len() {
            return Err(Kind::Internal.error(format!("{there} of {} records were written anew.", records.len())));
        }
        Ok(Written { records: there, sealer })
    }

    /// Puts the new store in the old one's place, and opens it.
    fn exchange_stores(&self, dir: &DataDir, sealer: Sealer) -> Result<()> {
        let (new_store, store) = (dir.new_store(), dir.store());
        let mut kept = self.exchange();
        let read_by_others = kept.store.as_ref().is_some_and(|store| Arc::strong_count(store) > 1);
        if read_by_others {
            return Err(Kind::Denied
                .error("A backup is being made, which reads the store as the old key sealed it.")
                .hint("Rotate the key when it is there."));
        }
        // sled lets go of its files before they get another name.
        kept.store = None;
        let exchanged = renameat_with(CWD, &new_store, CWD, &store, RenameFlags::EXCHANGE)
            .map_err(|error| fault::io(&store, &error.into()));
        if exchanged.is_ok() {
            kept.sealer = sealer;
        }
        kept.store = Some(Arc::new(SledStore::open(&store)?));
        exchanged.and_then(|()| dir::sync(dir.path()))
    }
}

/// A store that was written anew.
struct Written {
    records: usize,
    sealer: Sealer,
}

fn cannot_be_written(from: &KeySource) -> Error {
    Kind::Usage
        .error(format!("The key comes from {}, which Attaché cannot write.", from.described()))
        .hint("Put a new key elsewhere (`attache key generate` prints one) and name it: `--to env:NAME`.")
}

fn same_key(from: &KeySource, to: &NewKey) -> Error {
    match to.source(from) == from {
        true => Kind::Usage.error("That is where the key comes from already, and it is the same key."),
        false => Kind::Usage
            .error("That is the key which the store has already.")
            .hint("`attache key generate` prints a new one."),
    }
}

/// Removes a store that nobody finished writing, and the key that waited for it: nothing that anybody will open was sealed with
/// that.
pub(super) fn forget_unfinished(new_store: &Path, source: &KeySource) -> Result<()> {
    if let (KeySource::File(path), Some(id)) = (source, header::id(new_store)) {
        let waiting = waiting(path, id);
        match fs::remove_file(&waiting) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault::io(&waiting, &error)),
            _ => {}
        }
    }
    vault::remove_unfinished(new_store)
}

/// Where a new key waits for the key file's name.
fn waiting(path: &Path, id: Uuid) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{id}"));
    name.into()
}

/// Gives the waiting key the key file's name, and the old one another. Gives that.
fn replace_key_file(path: &Path, id: Uuid) -> Result<PathBuf> {
    let fault = |error: io::Error| fault::io(path, &error);
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut others = 0;
    let old = loop {
        let old = kept(path, &stamp, others);
        match fs::hard_link(path, &old) {
            Ok(()) => break old,
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fault(error)),
            // It was kept before the crash that interrupted this.
            Err(_) if is_same(path, &old).map_err(fault)? => break old,
            // That of another rotation within the same second.
            Err(_) => others += 1,
        }
    };
    fs::rename(waiting(path, id), path).map_err(fault)?;
    dir::sync(path.parent().unwrap_or(path))?;
    Ok(old)
}

/// Where a key file that was replaced is kept.
fn kept(path: &Path, stamp: &str, others: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".old-{stamp}"));
    if others > 0 {
        name.push(format!("-{others}"));
    }
    name.into()
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let [one, other] = [fs::metadata(one)?, fs::metadata(other)?];
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// The key of a store that the key file does not open, because a rotation was interrupted: it waits beside the key file.
/// Gives the key, which has the key file's name from then on.
pub(super) fn finish(store: &Path, source: &KeySource) -> Result<Option<Key>> {
    let KeySource::File(path) = source else { return Ok(None) };
    let Some(id) = header::id(store) else { return Ok(None) };
    let waiting = waiting(path, id);
    if !waiting.exists() {
        return Ok(None);
    }
    let key = KeySource::File(waiting).load()?;
    header::open(store, &key, source)?;
    let kept = replace_key_file(path, id)?;
    tracing::warn!(kept = %kept.display(), "an interrupted rotation of the key was finished; the old key file is kept");
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use super::*;

    /// A store with a record, and where its key is.
    fn made() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let (data, key) = (home.path().join("data"), home.path().join("key"));
        let vault = open(&data, &key).unwrap();
        vault.commit(super::super::Changes::new().put(&place(), "what was kept").unwrap()).unwrap();
        (home, data, key)
    }

    fn place() -> super::super::Place {
        super::super::Place::new(["a", "record"]).unwrap()
    }

    fn open(data: &Path, key: &Path) -> Result<Vault> {
        Vault::open(data, &KeySource::File(key.to_owned()), Duration::from_secs(5))
    }

    fn rotated(data: &Path, key: &Path) -> Rotated {
        open(data, key).unwrap().rotate(data, &KeySource::File(key.to_owned()), &NewKey::Made).unwrap()
    }

    #[test]
    fn a_crash_between_the_store_and_its_key_file_is_made_good_when_it_is_opened() {
        let (_home, data, key) = made();
        let kept = rotated(&data, &key).kept.unwrap();
        // As it is when the process ended after the stores were exchanged: the key file is the old one.
        let id = header::id(&data.join("store")).unwrap();
        fs::rename(&key, waiting(&key, id)).unwrap();
        fs::rename(&kept, &key).unwrap();
        let vault = open(&data, &key).unwrap();
        assert_eq!(vault.get::<String>(&place()).unwrap().as_deref(), Some("what was kept"));
        drop(vault);
        assert!(!waiting(&key, id).exists());
        assert!(open(&data, &key).is_ok(), "the key file is the new key from then on");
    }

    #[test]
    fn a_key_that_waits_for_another_store_is_left_alone_and_opens_nothing() {
        let (home, data, key) = made();
        let stranger = waiting(&key, Uuid::new_v4());
        key::create_file(&stranger, &Key::generate().unwrap()).unwrap();
        rotated(&data, &key);
        assert!(stranger.exists());
        let other = home.path().join("other-key");
        key::create_file(&other, &Key::generate().unwrap()).unwrap();
        assert_eq!(open(&data, &other).unwrap_err().kind(), Kind::WrongKey);
    }

    #[test]
    fn every_key_that_was_replaced_is_kept_however_quickly_they_follow_each_other() {
        // Regression: of two rotations in one second, the key in between was kept nowhere, and its backups opened no more.
        let (_home, data, key) = made();
        let mut replaced = Vec::new();
        for _ in 0..4 {
            let before = fs::read(&key).unwrap();
            replaced.push((before, rotated(&data, &key).kept.unwrap()));
        }
        for (before, kept) in &replaced {
            assert!(fs::read(kept).unwrap() == *before, "{} is another key", kept.display());
        }
    }

    #[test]
    fn the_master_and_what_is_derived_of_it_stay() {
        let (_home, data, key) = made();
        let subkey = |vault: Vault| vault.subkey(b"audit").expose().to_vec();
        let before = subkey(open(&data, &key).unwrap());
        rotated(&data, &key);
        assert_eq!(subkey(open(&data, &key).unwrap()), before);
    }

    #[test]
    fn nothing_of_what_the_old_key_opens_is_left() {
        let (_home, data, key) = made();
        let before = fs::read(data.join("store/header")).unwrap();
        let sealed = open(&data, &key).unwrap().kept().store().unwrap().all().unwrap().remove(0).1;
        rotated(&data, &key);
        fn files(directory: &Path) -> Vec<Vec<u8>> {
            let entries = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
            entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![fs::read(path).unwrap()] }).collect()
        }
        let wrapped = &sealed[..60];
        for content in files(&data) {
            assert_ne!(content, before);
            assert!(!content.windows(wrapped.len()).any(|window| window == wrapped));
        }
    }

    #[test]
    fn what_is_read_and_committed_meanwhile_is_what_it_was_and_is_there() {
        let (_home, data, key) = made();
        let (vault, source) = (open(&data, &key).unwrap(), KeySource::File(key.clone()));
        let (over, mine) = (AtomicBool::new(false), |number: u32| super::super::Place::new(["b", &number.to_string()]));
        let committed = std::thread::scope(|scope| {
            let committing = scope.spawn(|| {
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    vault.commit(super::super::Changes::new().put(&mine(number).unwrap(), &number).unwrap()).unwrap();
                    assert_eq!(vault.get::<String>(&place()).unwrap().as_deref(), Some("what was kept"));
                    number += 1;
                }
                number
            });
            for _ in 0..5 {
                vault.rotate(&data, &source, &NewKey::Made).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            committing.join().unwrap()
        });
        drop(vault);
        let vault = open(&data, &key).unwrap();
        for number in 0..committed {
            assert_eq!(vault.get::<u32>(&mine(number).unwrap()).unwrap(), Some(number));
        }
    }

    #[test]
    fn while_a_backup_is_read_the_key_stays() {
        let (_home, data, key) = made();
        let (vault, source) = (open(&data, &key).unwrap(), KeySource::File(key.clone()));
        let before = fs::read(&key).unwrap();
        let mut moment = vault.moment().unwrap();
        let error = vault.rotate(&data, &source, &NewKey::Made).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert_eq!(moment.next().unwrap().unwrap().len(), 1);
        drop(moment);
        assert!(!data.join("store.new").exists() && fs::read(&key).unwrap() == before);
        assert_eq!(fs::read_dir(key.parent().unwrap()).unwrap().count(), 2, "no key waits for it");
        vault.rotate(&data, &source, &NewKey::Made).unwrap();
        assert_eq!(vault.get::<String>(&place()).unwrap().as_deref(), Some("what was kept"));
    }
}
