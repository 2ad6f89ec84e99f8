//! sled behind [`Store`], with what sled 0.34 leaves out: real durability, a full disk that is noticed beforehand, and
//! damage that is noticed at all.

mod pages;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak, mpsc},
    time::{Duration, Instant},
};

use pages::SmallPages;

use super::{
    Batch, Place, Records, Store, dir, fault,
    moment::{Moment, Past},
    pieces,
};
use crate::{
    error::{Error, Kind, Result},
    room,
    sync::lock,
};

/// Memory for sled's page cache: a store of a few thousand records fits whole.
const CACHE: u64 = 64 << 20;

/// How long a flush may take before sled is asked again, and how often it is asked. An I/O error that meets sled between
/// looking for errors and going to sleep wakes nobody; the next request does.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
const FLUSH_TRIES: u32 = 12;

/// How long sled's own lock on its file may outlive the handle that held it: its background threads let go a little later.
const LINGER: Duration = Duration::from_secs(10);

/// The number of the last commit, kept in the same batch as the commit itself. No place starts with a NUL.
const COMMITS_KEY: &[u8] = b"\0commits";

/// Before every place, and behind the number of the last commit.
const FIRST: &[u8] = &[COMMITS_KEY[0] + 1];

/// The file beside sled's with the number of the last commit that was acknowledged.
const COMMITS_FILE: &str = "commits";

/// The records of one store, in `sled/` of its directory. Beside it, `commits` holds the number of the last commit that was
/// acknowledged: sled takes a damaged log for one that ends at the damage and drops the rest without a word, which shows
/// when its number is lower.
pub struct SledStore {
    directory: PathBuf,
    /// How much must be free on the disk before this is written.
    room_needed: fn(&Batch) -> u64,
    /// Nobody reads what is not durable yet, and a list is of one moment: a commit has the lock to itself.
    state: RwLock<State>,
    /// Moments that somebody still reads.
    moments: Mutex<Vec<Weak<Mutex<Past>>>>,
}

enum State {
    Open(Box<Running>),
    /// A commit failed. sled shows what it could not write as if it had, so the next use opens it anew.
    Failed,
    /// A thread of sled's is gone or stuck, or the disk refused to sync, after which the kernel may show what is not there.
    /// Only a new process can open the store again.
    Broken(Error),
}

struct Running {
    db: sled::Db,
    /// For fsync; sled's own flush uses `sync_file_range`, after which a power loss may still forget everything.
    log: File,
    commits: u64,
    acknowledged: File,
    /// Whether sled hung or the disk refused to sync.
    broken: bool,
}

impl SledStore {
    /// Makes an empty store in this directory, which must be there and without one.
    ///
    /// # Errors
    /// [`Kind::StoreUnavailable`] if it cannot be written.
    pub fn create(directory: &Path) -> Result<()> {
        dir::create_private(&sled_path(directory))?;
        dir::write_private(&directory.join(COMMITS_FILE), &number(0))?;
        drop(Running::open(directory)?);
        for path in [&sled_path(directory).join("conf"), &sled_path(directory).join("blobs"), directory] {
            dir::sync(path)?;
        }
        Ok(())
    }

    /// Opens the store that is in this directory. Only one may be open at a time; the caller holds a lock that sees to it.
    ///
    /// # Errors
    /// [`Kind::StoreDamaged`] if sled cannot read its files or has lost commits; [`Kind::StoreUnavailable`] if they cannot
    /// be read or written.
    pub fn open(directory: &Path) -> Result<Self> {
        // Without this, sled would make an empty store where the old one has been taken away.
        let log = sled_path(directory).join("db");
        if !log.try_exists().map_err(|error| fault::io(&log, &error))? {
            return Err(fault::damaged(&sled_path(directory), "its files are missing"));
        }
        let running = Running::open(directory)?;
        let state = RwLock::new(State::Open(running.into()));
        Ok(Self { directory: directory.to_owned(), room_needed, state, moments: Mutex::default() })
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T> {
        let mut state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Failed) {
            drop(state);
            self.reopen(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))?;
            state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        }
        match &*state {
            State::Open(running) => {
                guarded(&self.directory, || read(&running.db).map_err(|error| fault::sled(&self.directory, &error)))
            }
            State::Failed => Err(Kind::StoreUnavailable.error("The store failed again while it was read.")),
            State::Broken(error) => Err(error.clone()),
        }
    }

    /// The moments that are still read.
    fn pasts(&self) -> Vec<Arc<Mutex<Past>>> {
        let mut moments = lock(&self.moments);
        moments.retain(|past| past.strong_count() > 0);
        moments.iter().filter_map(Weak::upgrade).collect()
    }

    fn reopen(&self, state: &mut State) -> Result<()> {
        if matches!(state, State::Failed) {
            *state = State::Open(Running::open(&self.directory)?.into());
        }
        Ok(())
    }

    /// Refuses before anything is touched what would not fit.
    fn check_room(&self, batch: &Batch) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.directory).map_err(|error| fault::io(&self.directory, &error.into()))?;
        if !room::is_left(&disk, (self.room_needed)(batch)) {
            return Err(fault::disk_full(&self.directory.display()));
        }
        Ok(())
    }
}

fn room_needed(batch: &Batch) -> u64 {
    // sled writes the neighbours of a record again with it.
    room::FOR_STORE + 4 * batch.size() as u64
}

impl Store for SledStore {
    fn get(&self, place: &Place) -> Result<Option<Vec<u8>>> {
        let pieces = self.read(|db| {
            let first = db.get(place.as_str())?.map(|first| Ok((place.as_str().into(), first)));
            first.into_iter().chain(db.scan_prefix(pieces::behind(place))).collect::<sled::Result<Vec<_>>>()
        })?;
        Ok(pieces::join(pieces)?.pop().map(|(_, value)| value))
    }

    fn list(&self, below: &Place) -> Result<Vec<(Place, Vec<u8>)>> {
        pieces::join(self.read(|db| db.scan_prefix(format!("{below}/")).collect::<sled::Result<Vec<_>>>())?)
    }

    fn page(&self, below: &Place, after: &str, most: usize) -> Result<Records> {
        let prefix = format!("{below}/");
        // The other pieces of the record that it names begin with it as well; no other name goes on with such a byte.
        let begin = format!("{prefix}{after}{}", if after.is_empty() { "" } else { "\u{1}" });
        let pieces = self.read(|db| {
            let mut firsts = 0;
            let mut pieces = Vec::new();
            for piece in db.range(begin.as_bytes()..) {
                let (key, value) = piece?;
                firsts += usize::from(pieces::is_first(&key));
                if !key.starts_with(prefix.as_bytes()) || firsts > most {
                    break;
                }
                // Whoever makes a cursor up may point into the middle of a record.
                if firsts > 0 {
                    pieces.push((key, value));
                }
            }
            Ok(pieces)
        })?;
        pieces::join(pieces)
    }

    fn all(&self) -> Result<Vec<(Place, Vec<u8>)>> {
        pieces::join(self.read(|db| db.range(FIRST..).collect::<sled::Result<Vec<_>>>())?)
    }

    fn moment(self: Arc<Self>) -> Result<Box<dyn Iterator<Item = Result<Records>>>> {
        let past = Arc::new(Mutex::new(Past::from(FIRST.to_vec())));
        // No commit is half done while it is read.
        self.read(|_| {
            lock(&self.moments).push(Arc::downgrade(&past));
            Ok(())
        })?;
        Ok(Box::new(Moment::new(self, past)))
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        self.reopen(&mut state)?;
        let running = match &mut *state {
            State::Open(running) => running,
            State::Failed => return Err(Kind::Internal.error("The store was not opened anew.")),
            State::Broken(error) => return Err(error.clone()),
        };
        self.check_room(&batch)?;
        let mut ended = false;
        let result = guarded(&self.directory, || {
            let result = running.commit(&self.directory, batch, &self.pasts());
            ended = true;
            result
        });
        if let Err(error) = &result {
            let broken = running.broken || !ended;
            let next = if broken { State::Broken(error.clone()) } else { State::Failed };
            let failed = std::mem::replace(&mut *state, next);
            if broken {
                // Dropping it could wait forever for a thread that is gone.
                std::mem::forget(failed);
            }
        }
        result
    }
}

impl Running {
    fn open(directory: &Path) -> Result<Self> {
        let path = sled_path(directory);
        remove_unfinished_snapshots(&path).map_err(|error| fault::io(&path, &error))?;
        let db = guarded(directory, || open_sled(&path))?;
        let failed = |error: io::Error| fault::io(&path, &error);
        dir::make_private(&path).map_err(failed)?;
        let log = File::open(path.join("db")).map_err(failed)?;
        let commits = match db.get(COMMITS_KEY).map_err(|error| fault::sled(directory, &error))? {
            Some(bytes) => match <[u8; 8]>::try_from(&*bytes) {
                Ok(bytes) => u64::from_be_bytes(bytes),
                Err(_) => return Err(fault::damaged(directory, "the number of its last commit is not a number")),
            },
            None => 0,
        };
        let acknowledged = open_acknowledged(directory, commits)?;
        let mut running = Self { db, log, commits, acknowledged, broken: false };
        // What a crash left in the log has been recovered, but nobody may build on it before it is on disk; the snapshot's
        // new name is then on disk as well.
        running.sync(directory)?;
        dir::sync(&path)?;
        Ok(running)
    }

    fn commit(&mut self, directory: &Path, batch: Batch, pasts: &[Arc<Mutex<Past>>]) -> Result<()> {
        let commits = self.commits + 1;
        let mut writes = sled::Batch::default();
        let remember = |key: &[u8]| {
            let remembered = pasts.iter().try_for_each(|past| lock(past).remember(key, || self.db.get(key)));
            remembered.map_err(|error| fault::sled(directory, &error))
        };
        // The last write to a place is the one that counts.
        for (place, value) in batch.writes.into_iter().collect::<BTreeMap<_, _>>() {
            if let Some(first) = self.db.get(place.as_str()).map_err(|error| fault::sled(directory, &error))? {
                for key in pieces::keys(&place, &first) {
                    remember(&key)?;
                    writes.remove(key);
                }
            }
            if let Some(value) = value {
                for (key, piece) in pieces::cut(&place, &value)? {
                    remember(&key)?;
                    writes.insert(key, piece);
                }
            }
        }
        writes.insert(COMMITS_KEY, &commits.to_be_bytes());
        self.db.apply_batch(writes).map_err(|error| fault::sled(directory, &error))?;
        self.flush(directory)?;
        self.sync(directory)?;
        self.commits = commits;
        // After the commit and without a sync of its own: whatever happens, the number is never ahead of the store. Should
        // it fail, later damage may go unnoticed, but this commit is done.
        if let Err(error) = self.acknowledged.write_all_at(&number(commits), 0) {
            tracing::warn!(%error, "the number of the last commit could not be written");
        }
        Ok(())
    }

    /// Has sled write what it holds.
    fn flush(&mut self, directory: &Path) -> Result<()> {
        let (send, receive) = mpsc::channel();
        for _ in 0..FLUSH_TRIES {
            let (db, send) = (self.db.clone(), send.clone());
            std::thread::spawn(move || send.send(db.flush()));
            match receive.recv_timeout(FLUSH_PATIENCE) {
                Ok(result) => return result.map(drop).map_err(|error| fault::sled(directory, &error)),
                Err(_) => tracing::warn!("the store's disk takes long to write"),
            }
        }
        self.broken = true;
        Err(Kind::StoreUnavailable.error(format!("The disk that holds {} does not answer.", directory.display())))
    }

    /// Waits until what sled has written is on disk.
    fn sync(&mut self, directory: &Path) -> Result<()> {
        let result = self.log.sync_data().map_err(|error| fault::io(directory, &error));
        self.broken |= result.is_err();
        result
    }
}

fn sled_path(directory: &Path) -> PathBuf {
    directory.join("sled")
}

/// Opens sled, waiting for an earlier handle of this or another process to let go of it.
fn open_sled(path: &Path) -> Result<sled::Db> {
    // Everything is flushed when it is committed, so sled needs no thread that does it now and then.
    let config = sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(None);
    let deadline = Instant::now() + LINGER;
    let _small_pages = SmallPages::only();
    loop {
        match config.clone().open() {
            Err(error) if fault::is_held(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result.map_err(|error| fault::sled(path, &error)),
        }
    }
}

/// Removes snapshots that a crash or a full disk left half written: sled would take one for its newest and refuse to open
/// (spacejam/sled#1527). Only the lock's holder comes here, so nobody is still writing them.
fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"snap.") && name.ends_with(b".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Compares the commits that sled still has with those that were acknowledged.
fn open_acknowledged(directory: &Path, commits: u64) -> Result<File> {
    let path = directory.join(COMMITS_FILE);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        // Removed by somebody who wants to go on with what is left.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return dir::write_private(&path, &number(commits)),
        Err(error) => return Err(fault::io(&path, &error)),
    };
    let go_on = || {
        format!("Restore the data directory from a backup, or remove {} to go on with what is left.", path.display())
    };
    let mut text = [0; NUMBER];
    let acknowledged =
        file.read_exact_at(&mut text, 0).ok().and_then(|()| std::str::from_utf8(&text).ok()?.trim().parse().ok());
    let Some(acknowledged) = acknowledged else {
        return Err(fault::damaged(&path, "it should hold a number").hint(go_on()));
    };
    let lost = u64::saturating_sub(acknowledged, commits);
    if lost > 0 {
        let reason = format!(
            "the last {lost} of {acknowledged} commits are gone; its log was damaged, or an older copy put in its place"
        );
        return Err(fault::damaged(directory, reason).hint(go_on()));
    }
    Ok(file)
}

/// The length of a number in a file: always the same, so that it is overwritten in place, which needs no room and is never
/// seen half done.
const NUMBER: usize = 21;

fn number(value: u64) -> [u8; NUMBER] {
    let mut text = [b'\n'; NUMBER];
    text[..NUMBER - 1].copy_from_slice(format!("{value:020}").as_bytes());
    text
}

/// sled asserts what it believes of its files, so a damaged one may make it panic instead of failing. What it was doing is
/// then never used again.
fn guarded<T>(directory: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(fault::damaged(directory, "its files contradict each other")))
}

#[cfg(test)]
mod tests;
