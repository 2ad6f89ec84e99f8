//! Writing the audit: a line is in the file when `write` returns, and on the disk at most 50 ms later. A line that tells of
//! something that is over already may be noted instead: it is in the file with the next one that is written, and at most
//! 50 ms later.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Event,
    chain::{self, Chain, Head, LONGEST_LINE, split},
    counts::Counts,
    name::Name,
};
use crate::{
    error::{Error, Kind, Result},
    room,
    secret::Secret,
    sync::lock,
};

/// Lines are synced in groups: the most that a power cut can take.
const GROUP: Duration = Duration::from_millis(50);
/// Lines that are held back while the disk is full, in bytes: some ten thousand, which are of calls that were under way.
const MOST_HELD: usize = 4 << 20;
/// Room that was found on the disk is there for so long: what is written meanwhile is a small part of what has to be free.
const ROOM_LASTS: Duration = Duration::from_millis(10);
/// Room for what a line has beside its members: number, time, name and MAC.
const FRAME: usize = 192;

/// The audit of one data directory, open for writing.
pub struct Audit {
    shared: Arc<Shared>,
    chain: Chain,
    /// To ask its disk for room without waiting for whoever writes.
    file: Arc<File>,
    /// When there was room for more, last.
    room_found: Mutex<Option<Instant>>,
    syncer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    counts: Counts,
}

struct State {
    file: Arc<File>,
    /// How long the file is with every line that was written whole.
    length: u64,
    clock: Clock,
    head: Option<Head>,
    /// The number of the last line that is in the file.
    written: u64,
    /// Lines that are in the chain and not in the file yet.
    noted: Vec<u8>,
    /// Whether there are lines that were not synced yet.
    unsynced: bool,
    /// Since when, until they are on the disk.
    waiting_since: Option<Instant>,
    /// What was noted waits for room on the disk.
    full: bool,
    /// Once the disk failed, nothing may happen that the audit would not know of, until it is opened anew.
    broken: bool,
    closing: bool,
}

impl Audit {
    /// Where it is.
    pub fn path(data_directory: &Path) -> PathBuf {
        data_directory.join("audit.log")
    }

    /// Opens it to append. The anchor is the head that was noted when a command ended: where the file ends before it, the
    /// end was cut off, and the chain goes on from the anchor, so that the gap stays for `verify` to find. A last line that a crash tore is set aside into a file of its own, and the chain goes on from
    /// the one before it: a torn line was never reported as written.
    ///
    /// # Errors
    /// `store-unavailable` where it cannot be written, `store-damaged` where its last line is not one.
    pub fn open(data_directory: &Path, key: Secret, anchor: Option<Head>) -> Result<Self> {
        let path = Self::path(data_directory);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unwritable(&error))?;
        let last = last_line(&mut file, &path)?;
        if last.is_none() {
            // It may be new.
            sync_name(&path).map_err(|error| unwritable(&error))?;
        }
        let reached = |head: &Option<Head>| head.as_ref().map_or(0, |head| head.seq);
        let head = if reached(&last) < reached(&anchor) { anchor.clone() } else { last };
        // What a process wrote that died before it could sync must be on the disk before it is anchored.
        let unsynced = reached(&head) > reached(&anchor);
        let length = file.metadata().map_err(|error| unwritable(&error))?.len();
        let file = Arc::new(file);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                file: file.clone(),
                length,
                clock: Clock::default(),
                written: reached(&head),
                head,
                noted: Vec::new(),
                unsynced,
                waiting_since: None,
                full: false,
                broken: false,
                closing: false,
            }),
            changed: Condvar::new(),
            counts: Counts::default(),
        });
        let syncing = shared.clone();
        let syncer = std::thread::Builder::new()
            .name("attache-audit".into())
            .spawn(move || sync_in_groups(&syncing))
            .map_err(|error| unwritable(&error))?;
        Ok(Self { shared, chain: Chain::new(&key), file, room_found: Mutex::default(), syncer: Some(syncer) })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// `store-unavailable` where it cannot be written now: then it is in no chain, and nothing else is done either.
    pub fn write(&self, event: &Event) -> Result<()> {
        let (mut state, before) = self.append(event)?;
        if let Err(error) = state.flush() {
            state.take_back(before);
            return Err(error);
        }
        self.count(event);
        Ok(())
    }

    /// Appends a line of what is over already, and of which somebody is told in any case. Where it cannot be written, the log says
    /// so, and the next request does not pass the audit.
    pub(crate) fn write_over(&self, event: &Event) {
        if let Err(error) = self.write(event) {
            tracing::error!(%error, "the audit cannot be written");
        }
    }

    /// Appends the line of a request that is about to leave; it is in the file when this is over. Requests that leave together
    /// share one system call: whoever comes first lets everything run that is ready to, and then writes the lines of all. What
    /// comes of a request is written down too, so there must be room for that on the disk, and for the store to note where the
    /// audit ends.
    ///
    /// # Errors
    /// `store-unavailable` where it cannot be written now. Where the disk filled up that very moment, its line is among those
    /// that are held back: then the audit tells of a request that did not leave, which is better than the opposite.
    pub async fn leaving(&self, event: &Event) -> Result<()> {
        self.find_room()?;
        let seq = self.append(event)?.0.head.as_ref().map_or(0, |head| head.seq);
        tokio::task::yield_now().await;
        let mut state = self.shared.lock();
        if state.written < seq {
            state.flush()?;
        }
        drop(state);
        self.count(event);
        Ok(())
    }

    /// Whether there is room now, or was a moment ago: far more is kept free than is written in that time.
    fn find_room(&self) -> Result<()> {
        let mut looked = lock(&self.room_found);
        if looked.is_some_and(|when| when.elapsed() < ROOM_LASTS) {
            return Ok(());
        }
        let disk = rustix::fs::fstatvfs(&*self.file).map_err(|error| unwritable(&error.into()))?;
        if !room::is_left(&disk, room::FOR_AUDIT) {
            return Err(full());
        }
        *looked = Some(Instant::now());
        Ok(())
    }

    /// Notes a line: of what is over already, so that nothing waits for it. Where the disk is full, it is held back until
    /// there is room.
    ///
    /// # Errors
    /// `store-unavailable` where nothing could be written before.
    pub fn note(&self, event: &Event) -> Result<()> {
        let (mut state, before) = self.append(event)?;
        if state.noted.len() > MOST_HELD
            && let Err(error) = state.flush()
        {
            state.take_back(before);
            return Err(error);
        }
        self.count(event);
        Ok(())
    }

    fn count(&self, event: &Event) {
        if let Some(counted) = event.counted() {
            self.shared.counts.count(counted);
        }
    }

    fn append(&self, event: &Event) -> Result<(MutexGuard<'_, State>, Before)> {
        // Everything that needs no lock, before it.
        let members = event.members();
        let mut state = self.shared.lock();
        if state.broken {
            return Err(refused());
        }
        let before = Before { head: state.head.clone(), noted: state.noted.len() };
        let seq = state.head.as_ref().map_or(1, |head| head.seq + 1);
        let mut line = state.clock.open(seq, event.name, &members);
        let previous = state.head.as_ref().map_or("", |head| head.mac.as_str());
        let mac = self.chain.finish(previous, &mut line);
        state.noted.extend_from_slice(line.as_bytes());
        state.head = Some(Head { seq, mac });
        // The syncer waits for the first line of a group, and sleeps through the others.
        if !std::mem::replace(&mut state.unsynced, true) {
            state.waiting_since = Some(Instant::now());
            self.shared.changed.notify_one();
        }
        Ok((state, before))
    }

    /// Puts what was noted into the file, for whoever reads it now. Where it cannot be written, whoever writes next is told.
    pub(crate) fn settle(&self) {
        let _ = self.shared.lock().flush();
    }

    /// Waits until everything written is on the disk.
    ///
    /// # Errors
    /// `store-unavailable`.
    pub fn sync(&self) -> Result<()> {
        sync_now(&self.shared, self.shared.lock()).1
    }

    /// How often what was written down happened.
    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// How long the oldest line waits that is not on the disk.
    pub(crate) fn lag(&self) -> Duration {
        self.shared.lock().waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The last line, if there is one.
    pub fn head(&self) -> Option<Head> {
        self.shared.lock().head.clone()
    }

    /// The last line, and how long the file is with it: whatever is written later stands behind that.
    ///
    /// # Errors
    /// `store-unavailable`.
    pub(crate) fn moment(&self) -> Result<(Option<Head>, u64)> {
        let mut state = self.shared.lock();
        state.flush()?;
        let length = state.file.metadata().map_err(|error| unwritable(&error))?.len();
        Ok((state.head.clone(), length))
    }

    /// Walks the whole chain. The anchor is the head that was noted when a command ended.
    ///
    /// # Errors
    /// `store-damaged` with the first line that is not what was written.
    pub fn verify(path: &Path, key: &Secret, anchor: Option<&Head>) -> Result<u64> {
        Ok(chain::verify(path, key, anchor)?.map_or(0, |head| head.seq))
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(syncer) = self.syncer.take() {
            // A thread that panicked has nothing left to sync.
            let _ = syncer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed only after the file was, so a panic elsewhere leaves it true.
        lock(&self.state)
    }
}

fn sync_in_groups(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        state = shared
            .changed
            .wait_while(state, |state| !state.unsynced && !state.closing)
            .unwrap_or_else(PoisonError::into_inner);
        if !state.closing {
            // Lines that come within the group share one sync.
            state = shared
                .changed
                .wait_timeout_while(state, GROUP, |state| !state.closing)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        // What failed is tried again, or is told to whoever writes next.
        state = sync_now(shared, state).0;
        if state.closing {
            return;
        }
    }
}

/// Syncs what there is. Others write meanwhile: a disk takes milliseconds for it.
fn sync_now<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, Result<()>) {
    let written = state.flush();
    let held = !state.noted.is_empty();
    if !std::mem::replace(&mut state.unsynced, held) || state.broken {
        return (state, written);
    }
    let (file, waiting) = (state.file.clone(), state.waiting_since);
    drop(state);
    let synced = file.sync_data();
    let mut state = shared.lock();
    // Lines that came meanwhile have a moment of their own.
    if state.waiting_since == waiting && !held {
        state.waiting_since = None;
    }
    if let Err(error) = synced {
        // The kernel may have dropped what it could not write, and say nothing of it the next time.
        tracing::error!(%error, "the audit cannot be synced");
        state.broken = true;
        return (state, Err(refused()));
    }
    (state, written)
}

/// How the chain was before a line.
struct Before {
    head: Option<Head>,
    noted: usize,
}

impl State {
    /// Writes what was noted. Where the disk has no room for all of it, nothing of it is in the file, and it stays noted.
    fn flush(&mut self) -> Result<()> {
        if self.broken {
            return Err(refused());
        }
        if self.noted.is_empty() {
            return Ok(());
        }
        let Err(error) = (&*self.file).write_all(&self.noted) else {
            self.length += self.noted.len() as u64;
            self.noted.clear();
            self.written = self.head.as_ref().map_or(0, |head| head.seq);
            self.full = false;
            return Ok(());
        };
        let no_room = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if no_room && self.noted.len() <= MOST_HELD && self.file.set_len(self.length).is_ok() {
            if !std::mem::replace(&mut self.full, true) {
                tracing::error!(%error, "the audit cannot be written until there is room");
            }
            return Err(full());
        }
        tracing::error!(%error, "the audit cannot be written");
        self.broken = true;
        self.noted.clear();
        Err(refused())
    }

    /// Takes the last line back, which was not written.
    fn take_back(&mut self, before: Before) {
        self.noted.truncate(before.noted);
        self.head = before.head;
    }
}

/// Writes the time of lines. Many lines have one second, which is formatted once for all of them.
#[derive(Default)]
struct Clock {
    second: i64,
    written: String,
}

impl Clock {
    /// What every line has, and the event's own members: a JSON object that is still open.
    fn open(&mut self, seq: u64, name: Name, members: &str) -> String {
        let now = Timestamp::now();
        if self.written.is_empty() || self.second != now.as_second() {
            self.written = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.second = now.as_second();
        }
        let (second, millisecond) = (&self.written, now.subsec_millisecond());
        let mut line = String::with_capacity(members.len() + FRAME);
        // Writing to a string cannot fail.
        let _ = write!(line, "{{\"seq\":{seq},\"time\":\"{second}.{millisecond:03}Z\",\"event\":\"{name}\"");
        line.push_str(members);
        line
    }
}

/// Finds the last line, and sets a torn one aside.
fn last_line(file: &mut File, path: &Path) -> Result<Option<Head>> {
    let length = file.metadata().map_err(|error| unwritable(&error))?.len();
    if length == 0 {
        return Ok(None);
    }
    // Two of the longest lines: the last whole one is in there, whatever was torn behind it.
    let from = length.saturating_sub(2 * LONGEST_LINE);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut tail)).map_err(|error| unwritable(&error))?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        set_aside(file, path, from + whole as u64, &tail[whole..])?;
    }
    let lines = String::from_utf8_lossy(&tail[..whole]).into_owned();
    let Some(last) = lines.lines().last() else { return Ok(None) };
    let head = split(last).and_then(|(_, mac)| {
        let seq = serde_json::from_str::<Value>(last).ok()?["seq"].as_u64()?;
        Some(Head { seq, mac: mac.to_owned() })
    });
    head.map(Some).ok_or_else(|| {
        Kind::StoreDamaged.error(format!("The last line of {} is not a line of the audit.", path.display())).hint(
            "Move the file away to begin a new audit; `attache audit verify` will tell that the old one is missing.",
        )
    })
}

fn set_aside(file: &File, path: &Path, from: u64, torn: &[u8]) -> Result<()> {
    let aside = path.with_extension(format!("torn-{}", Timestamp::now().as_millisecond()));
    tracing::warn!(aside = %aside.display(), "the audit's last line was torn by a crash; it is set aside");
    let keep = || -> std::io::Result<()> {
        let mut kept = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        kept.write_all(torn)?;
        kept.sync_all()?;
        sync_name(&aside)?;
        file.set_len(from)?;
        file.sync_all()
    };
    keep().map_err(|error| unwritable(&error))
}

/// Waits until a file's name is on the disk.
fn sync_name(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn unwritable(error: &std::io::Error) -> Error {
    Kind::StoreUnavailable
        .error(format!("The audit cannot be written: {error}."))
        .hint("Calls are refused until it can be: see to the disk and the permissions of the data directory.")
}

fn full() -> Error {
    Kind::StoreUnavailable
        .error("The disk that holds the audit is full, so nothing is done that it would have to know of.")
        .hint("Free some space; nothing else is needed for calls to work again.")
}

fn refused() -> Error {
    Kind::StoreUnavailable
        .error("The audit cannot be written, so nothing is done that it would have to know of.")
        .hint("See to the disk and the permissions of the data directory.")
}

#[cfg(test)]
mod tests;
