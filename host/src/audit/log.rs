//! Writing the audit: a line is in the file when `write` returns, and on the disk at most 50 ms later. A line that tells of
//! something that is over already may be noted instead: it is in the file with the next one that is written, and at most
//! 50 ms later.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
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
    secret::Secret,
    sync::lock,
};

/// Lines are synced in groups: the most that a power cut can take.
const GROUP: Duration = Duration::from_millis(50);
/// Room for what a line has beside its members: number, time, name and MAC.
const FRAME: usize = 192;

/// The audit of one data directory, open for writing.
pub struct Audit {
    shared: Arc<Shared>,
    chain: Chain,
    syncer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    counts: Counts,
}

struct State {
    file: Arc<File>,
    clock: Clock,
    head: Option<Head>,
    /// Lines that are in the chain and not in the file yet.
    noted: Vec<u8>,
    /// Whether there are lines that were not synced yet.
    unsynced: bool,
    /// Since when, until they are on the disk.
    waiting_since: Option<Instant>,
    /// Once the audit could not be written, nothing may happen that it would not know of.
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
        let reached = |head: &Option<Head>| head.as_ref().map_or(0, |head| head.seq);
        let head = if reached(&last) < reached(&anchor) { anchor.clone() } else { last };
        // What a process wrote that died before it could sync must be on the disk before it is anchored.
        let unsynced = reached(&head) > reached(&anchor);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                file: Arc::new(file),
                clock: Clock::default(),
                head,
                noted: Vec::new(),
                unsynced,
                waiting_since: None,
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
        Ok(Self { shared, chain: Chain::new(&key), syncer: Some(syncer) })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// `store-unavailable` where it cannot be written now, or could not be before: then nothing else is done either.
    pub fn write(&self, event: &Event) -> Result<()> {
        let mut state = self.append(event)?;
        state.flush();
        if state.broken { Err(refused()) } else { Ok(()) }
    }

    /// Notes a line: of what is over already, so that nothing waits for it.
    ///
    /// # Errors
    /// `store-unavailable` where nothing could be written before.
    pub fn note(&self, event: &Event) -> Result<()> {
        self.append(event).map(drop)
    }

    fn append(&self, event: &Event) -> Result<MutexGuard<'_, State>> {
        // Everything that needs no lock, before it.
        let members = event.members();
        if let Some(counted) = event.counted() {
            self.shared.counts.count(counted);
        }
        let mut state = self.shared.lock();
        if state.broken {
            return Err(refused());
        }
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
        Ok(state)
    }

    /// Waits until everything written is on the disk.
    ///
    /// # Errors
    /// `store-unavailable`.
    pub fn sync(&self) -> Result<()> {
        let state = sync_now(&self.shared, self.shared.lock());
        if state.broken { Err(refused()) } else { Ok(()) }
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
        state.flush();
        if state.broken {
            return Err(refused());
        }
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
        state = sync_now(shared, state);
        if state.closing {
            return;
        }
    }
}

/// Syncs what there is. Others write meanwhile: a disk takes milliseconds for it.
fn sync_now<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    state.flush();
    if !std::mem::replace(&mut state.unsynced, false) || state.broken {
        return state;
    }
    let (file, waiting) = (state.file.clone(), state.waiting_since);
    drop(state);
    let synced = file.sync_data();
    let mut state = shared.lock();
    // Lines that came meanwhile have a moment of their own.
    if state.waiting_since == waiting {
        state.waiting_since = None;
    }
    if let Err(error) = synced {
        tracing::error!(%error, "the audit cannot be synced");
        state.broken = true;
    }
    state
}

impl State {
    /// Writes what was noted.
    fn flush(&mut self) {
        if self.noted.is_empty() || self.broken {
            return;
        }
        if let Err(error) = (&*self.file).write_all(&self.noted) {
            tracing::error!(%error, "the audit cannot be written");
            self.broken = true;
        }
        self.noted.clear();
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
        let _ = write!(line, "{{\"seq\":{seq},\"time\":\"{second}.{millisecond:03}Z\",\"event\":\"{name}\"{members}");
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
        fs::write(&aside, torn)?;
        File::open(&aside)?.sync_all()?;
        file.set_len(from)?;
        file.sync_all()
    };
    keep().map_err(|error| unwritable(&error))
}

fn unwritable(error: &std::io::Error) -> Error {
    Kind::StoreUnavailable
        .error(format!("The audit cannot be written: {error}."))
        .hint("Calls are refused until it can be: see to the disk and the permissions of the data directory.")
}

fn refused() -> Error {
    Kind::StoreUnavailable
        .error("The audit cannot be written, so nothing is done that it would have to know of.")
        .hint("See to the disk and the permissions of the data directory.")
}

#[cfg(test)]
mod tests {
    use super::{
        super::event::{About, Subject},
        *,
    };
    use crate::digest::Digest;

    fn key() -> Secret {
        Secret::new([7; 32])
    }

    fn event(connection: &str) -> Event {
        Event::connected(&Subject::new(About {
            environment: "default".into(),
            connection: connection.into(),
            connector: "c".into(),
            digest: Digest::of(b""),
            operation: String::new(),
            call: uuid::Uuid::nil(),
            caller: "test".into(),
        }))
    }

    /// Writes some lines and gives the head that a finished command would note.
    fn written(folder: &Path, lines: usize) -> Head {
        let audit = Audit::open(folder, key(), None).unwrap();
        for line in 0..lines {
            audit.write(&event(&format!("c{line}"))).unwrap();
        }
        audit.sync().unwrap();
        audit.head().unwrap()
    }

    fn verify(folder: &Path, anchor: &Head) -> std::result::Result<u64, String> {
        Audit::verify(&Audit::path(folder), &key(), Some(anchor)).map_err(|error| error.to_string())
    }

    /// Changes the file's lines, and says what verifying finds.
    fn after(change: impl FnOnce(&mut Vec<String>)) -> std::result::Result<u64, String> {
        let folder = tempfile::tempdir().unwrap();
        let head = written(folder.path(), 4);
        let path = Audit::path(folder.path());
        let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        verify(folder.path(), &head)
    }

    #[test]
    fn a_chain_goes_on_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), 2);
        let head = written(folder.path(), 2);
        assert_eq!(head.seq, 4);
        assert_eq!(verify(folder.path(), &head), Ok(4));
    }

    #[test]
    fn a_changed_dropped_swapped_added_or_cut_line_is_found() {
        assert_eq!(after(|_| {}), Ok(4));
        assert!(after(|lines| lines[1] = lines[1].replace("c1", "c9")).unwrap_err().contains("line 2 was changed"));
        assert!(after(|lines| drop(lines.remove(1))).unwrap_err().contains("line 2 has the number 3"));
        assert!(after(|lines| lines.swap(1, 2)).unwrap_err().contains("line 2 has the number 3"));
        assert!(after(|lines| lines.insert(1, lines[1].clone())).unwrap_err().contains("line 3 has the number 2"));
        assert!(after(|lines| drop(lines.pop())).unwrap_err().contains("ends at line 3"));
        assert!(after(|lines| lines.clear()).unwrap_err().contains("ends at line 0"));
        assert!(after(|lines| lines[2] = "{}".into()).unwrap_err().contains("line 3 is not a line"));
    }

    #[test]
    fn a_cut_stays_visible_however_much_is_written_after_it() {
        // Regression: the next command noted the end of what was left as the end of all.
        let folder = tempfile::tempdir().unwrap();
        let anchor = written(folder.path(), 4);
        let path = Audit::path(folder.path());
        let kept: String = fs::read_to_string(&path).unwrap().lines().take(2).map(|line| format!("{line}\n")).collect();
        fs::write(&path, kept).unwrap();
        let audit = Audit::open(folder.path(), key(), Some(anchor)).unwrap();
        audit.write(&event("after")).unwrap();
        audit.sync().unwrap();
        let head = audit.head().unwrap();
        assert_eq!(head.seq, 5);
        assert!(verify(folder.path(), &head).unwrap_err().contains("line 3 has the number 5 where 3 belongs"));
    }

    #[test]
    fn another_key_does_not_continue_the_chain_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), 1);
        let audit = Audit::open(folder.path(), Secret::new([8; 32]), None).unwrap();
        audit.write(&event("forged")).unwrap();
        audit.sync().unwrap();
        assert!(
            Audit::verify(&Audit::path(folder.path()), &key(), None)
                .unwrap_err()
                .message()
                .contains("line 2 was changed")
        );
    }

    #[test]
    fn a_line_torn_by_a_crash_is_set_aside_and_the_chain_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), 2);
        let path = Audit::path(folder.path());
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":3,\"ti").unwrap();
        let head = written(folder.path(), 1);
        assert_eq!(verify(folder.path(), &head), Ok(3));
        let aside: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .filter(|it| it.file_name().to_string_lossy().contains("torn"))
            .collect();
        assert_eq!(fs::read(aside[0].path()).unwrap(), b"{\"seq\":3,\"ti");
    }

    #[test]
    fn an_audit_that_cannot_be_written_refuses_everything_after() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), key(), None).unwrap();
        // A file that is open for reading only stands for a disk that takes no more.
        audit.shared.lock().file = Arc::new(File::open(Audit::path(folder.path())).unwrap());
        for _ in 0..2 {
            assert_eq!(audit.write(&event("c")).unwrap_err().kind(), Kind::StoreUnavailable);
        }
        assert_eq!(audit.sync().unwrap_err().kind(), Kind::StoreUnavailable);
    }

    #[test]
    fn many_tasks_write_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), key(), None).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let audit = &audit;
                scope.spawn(move || (0..50).for_each(|_| audit.write(&event(&format!("t{thread}"))).unwrap()));
            }
        });
        audit.sync().unwrap();
        assert_eq!(verify(folder.path(), &audit.head().unwrap()), Ok(200));
    }
}
