//! Writing the audit: a line is in the file when `write` returns, and on the disk at most 50 ms later. A line that tells of
//! something that is over already may be noted instead: it is in the file with the next one that is written, and at most
//! 50 ms later.

use std::{
    fs::{File, OpenOptions},
    ops::{Deref, DerefMut},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Notify;

use self::{
    end::End,
    queue::Queue,
    torn::{last_line, sync_name},
};
use super::{
    Event,
    chain::{self, Chain, Head},
    counts::Counts,
};
use crate::{
    error::{Error, Kind, Result},
    room,
    secret::Secret,
    sync::lock,
};

mod end;
mod queue;
mod torn;

/// Lines are synced in groups: the most that a power cut can take.
const GROUP: Duration = Duration::from_millis(50);
/// Lines that are held back while the disk is full, in bytes: some ten thousand, which are of calls that were under way.
const MOST_HELD: usize = 4 << 20;
/// Room that was found on the disk is there for so long: what is written meanwhile is a small part of what has to be free.
const ROOM_LASTS: Duration = Duration::from_millis(10);

/// The audit of one data directory, open for writing.
pub struct Audit {
    shared: Arc<Shared>,
    /// To ask its disk for room without waiting for whoever writes.
    file: Arc<File>,
    /// When there was room for more, last.
    room_found: Mutex<Option<Instant>>,
    syncer: Option<JoinHandle<()>>,
}

/// Locked in this order, where more than one is: `syncing`, `end`, `queue`.
struct Shared {
    queue: Mutex<Queue>,
    /// The queue has a line, or is to be closed.
    changed: Condvar,
    end: Mutex<End>,
    /// Somebody wrote, or could not.
    let_go: Notify,
    /// How many of those that were in the queue are in the file.
    written: AtomicU64,
    /// Bytes in the chain that are not in the file, when it was let go last.
    held: AtomicUsize,
    /// See [`End::is_broken`].
    broken: AtomicBool,
    /// Held while the disk is told to keep what was written: whoever waits for that waits for all of it.
    syncing: Mutex<()>,
    counts: Counts,
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
            queue: Mutex::new(Queue { unsynced, ..Queue::default() }),
            changed: Condvar::new(),
            end: Mutex::new(End::new(file.clone(), length, Chain::new(&key), head)),
            let_go: Notify::new(),
            written: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            syncing: Mutex::default(),
            counts: Counts::default(),
        });
        let syncing = shared.clone();
        let syncer = std::thread::Builder::new()
            .name("attache-audit".into())
            .spawn(move || sync_in_groups(&syncing))
            .map_err(|error| unwritable(&error))?;
        Ok(Self { shared, file, room_found: Mutex::default(), syncer: Some(syncer) })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// `store-unavailable` where it cannot be written now: then it is in no chain, and nothing else is done either.
    pub fn write(&self, event: &Event) -> Result<()> {
        let mut end = self.shared.end();
        let (now, is_first) = self.shared.take_queued(&mut end, Queue::begin_group);
        if is_first {
            self.shared.changed.notify_one();
        }
        let before = end.chain_one(now, event);
        if let Err(error) = end.flush() {
            end.take_back(before);
            return Err(error);
        }
        drop(end);
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
        let Some(number) = self.shared.queue(event)? else { return self.write(event) };
        tokio::task::yield_now().await;
        loop {
            // Made before it is looked: whoever lets go after that is heard.
            let let_go = self.shared.let_go.notified();
            if self.shared.written.load(Ordering::Acquire) >= number {
                break;
            }
            match self.shared.try_flush() {
                Some(flushed) => {
                    flushed?;
                    break;
                }
                None => let_go.await,
            }
        }
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
        if self.shared.queue(event)?.is_none() {
            return self.write(event);
        }
        self.count(event);
        Ok(())
    }

    fn count(&self, event: &Event) {
        if let Some(counted) = event.counted() {
            self.shared.counts.count(counted);
        }
    }

    /// Puts what was noted into the file, for whoever reads it now. Where it cannot be written, whoever writes next is told.
    pub(crate) fn settle(&self) {
        let _ = self.shared.flush_queued(&mut self.shared.end());
    }

    /// Waits until everything written is on the disk.
    ///
    /// # Errors
    /// `store-unavailable`.
    pub fn sync(&self) -> Result<()> {
        self.shared.sync()
    }

    /// How often what was written down happened.
    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// How long the oldest line waits that is not on the disk.
    pub(crate) fn lag(&self) -> Duration {
        lock(&self.shared.queue).waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The last line, if there is one.
    pub fn head(&self) -> Option<Head> {
        let mut end = self.shared.end();
        self.shared.take_queued(&mut end, |_| ());
        end.head.clone()
    }

    /// The last line, and how long the file is with it: whatever is written later stands behind that.
    ///
    /// # Errors
    /// `store-unavailable`.
    pub(crate) fn moment(&self) -> Result<(Option<Head>, u64)> {
        let mut end = self.shared.end();
        self.shared.flush_queued(&mut end)?;
        let length = end.file.metadata().map_err(|error| unwritable(&error))?.len();
        Ok((end.head.clone(), length))
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
        lock(&self.shared.queue).closing = true;
        self.shared.changed.notify_all();
        if let Some(syncer) = self.syncer.take() {
            // A thread that panicked has nothing left to sync.
            let _ = syncer.join();
        }
    }
}

impl Shared {
    /// Queues a line, and gives its number among those that were queued; none where too much is held back already.
    fn queue(&self, event: &Event) -> Result<Option<u64>> {
        if self.broken.load(Ordering::Acquire) {
            return Err(refused());
        }
        let mut queue = lock(&self.queue);
        if queue.batch.bytes() + self.held.load(Ordering::Relaxed) > MOST_HELD {
            return Ok(None);
        }
        let number = queue.push(event);
        let is_first = queue.begin_group();
        drop(queue);
        // The syncer waits for the first line of a group, and sleeps through the others.
        if is_first {
            self.changed.notify_one();
        }
        Ok(Some(number))
    }

    /// Takes what is queued into the chain, and gives the time: whatever is queued from now on is later. `meanwhile` nobody queues
    /// anything.
    fn take_queued<T>(&self, end: &mut End, meanwhile: impl FnOnce(&mut Queue) -> T) -> (Timestamp, T) {
        let mut queue = lock(&self.queue);
        std::mem::swap(&mut queue.batch, &mut end.batch);
        end.taken = queue.queued;
        let (now, done) = (Timestamp::now(), meanwhile(&mut queue));
        drop(queue);
        end.chain_batch();
        (now, done)
    }

    /// Puts what is queued into the file.
    fn flush_queued(&self, end: &mut End) -> Result<()> {
        self.take_queued(end, |_| ());
        end.flush()
    }

    fn end(&self) -> Writing<'_> {
        Writing { shared: self, end: lock(&self.end), _then: LetGo(&self.let_go) }
    }

    /// Writes what is queued, where nobody else writes just now.
    fn try_flush(&self) -> Option<Result<()>> {
        let end = match self.end.try_lock() {
            Ok(end) => end,
            Err(TryLockError::Poisoned(left)) => left.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let mut end = Writing { shared: self, end, _then: LetGo(&self.let_go) };
        Some(self.flush_queued(&mut end))
    }

    /// Others write meanwhile: a disk takes milliseconds for it.
    fn sync(&self) -> Result<()> {
        let _alone = lock(&self.syncing);
        let mut end = self.end();
        let group = |queue: &mut Queue| (std::mem::take(&mut queue.unsynced), queue.waiting_since);
        let (_, (unsynced, waiting)) = self.take_queued(&mut end, group);
        let flushed = end.flush();
        let (file, held, broken) = (end.file.clone(), end.held() > 0, end.is_broken());
        drop(end);
        if held {
            let mut queue = lock(&self.queue);
            (queue.unsynced, queue.waiting_since) = (true, waiting);
        }
        if !unsynced || broken {
            return flushed;
        }
        if let Err(error) = file.sync_data() {
            // The kernel may have dropped what it could not write, and say nothing of it the next time.
            tracing::error!(%error, "the audit cannot be synced");
            self.end().fail();
            return Err(refused());
        }
        let mut queue = lock(&self.queue);
        // Lines that came meanwhile have a moment of their own.
        if queue.waiting_since == waiting && !held {
            queue.waiting_since = None;
        }
        flushed
    }
}

/// The end of the audit, for as long as somebody writes there.
struct Writing<'a> {
    shared: &'a Shared,
    end: MutexGuard<'a, End>,
    /// Dropped after the guard: whoever is told then finds it free.
    _then: LetGo<'a>,
}

impl Deref for Writing<'_> {
    type Target = End;

    fn deref(&self) -> &End {
        &self.end
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut End {
        &mut self.end
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let Self { shared, end, .. } = self;
        if end.is_broken() {
            shared.broken.store(true, Ordering::Release);
        } else if end.held() == 0 {
            shared.written.store(end.taken, Ordering::Release);
        }
        shared.held.store(end.held(), Ordering::Relaxed);
    }
}

struct LetGo<'a>(&'a Notify);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

fn sync_in_groups(shared: &Shared) {
    loop {
        let mut queue = shared
            .changed
            .wait_while(lock(&shared.queue), |queue| !queue.unsynced && !queue.closing)
            .unwrap_or_else(PoisonError::into_inner);
        if !queue.closing {
            // Lines that come within the group share one sync.
            queue = shared
                .changed
                .wait_timeout_while(queue, GROUP, |queue| !queue.closing)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let closing = queue.closing;
        drop(queue);
        // What failed is tried again, or is told to whoever writes next.
        let _ = shared.sync();
        if closing {
            return;
        }
    }
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
