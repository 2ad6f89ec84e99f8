//! The lock: one process owns a data directory at a time.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use super::fault;
use crate::error::{Error, Kind, Result};

/// The longest pause between two tries: short enough that a person does not notice it, long enough to cost nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// A held lock. The kernel releases it when this is dropped or the process ends, however it ends, so a dead holder never
/// blocks.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for it at most this long.
    ///
    /// # Errors
    /// [`Kind::StoreLocked`] when somebody else still holds it then; [`Kind::StoreUnavailable`] when the file cannot be
    /// made.
    pub(crate) fn acquire(path: &Path, wait: Duration) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| fault::io(path, &error))?;
        if !wait_for(&file, wait).map_err(|error| fault::io(path, &error))? {
            return Err(held(path, &mut file));
        }
        // Who holds it is only ever shown to people: a full disk must not keep anybody from reading.
        let _ = write_pid(&mut file);
        Ok(Self { _file: file })
    }
}

/// Locks the file, waiting for it at most this long; whether it is locked then.
pub(crate) fn wait_for(file: &File, wait: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + wait;
    let mut pause = Duration::from_millis(1);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
                pause = PAUSE.min(pause * 2);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn held(path: &Path, file: &mut File) -> Error {
    let directory = path.parent().unwrap_or(path).display();
    let mut text = String::new();
    let holder = match file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) if pid == std::process::id() => "This process itself".to_owned(),
        Some(pid) => format!("Another process (pid {pid})"),
        None => "Another process".to_owned(),
    };
    Kind::StoreLocked
        .error(format!("{holder} holds the data directory {directory}."))
        .hint("Wait until it is done, or end it; `attache serve` is used through its socket instead.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_holds_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let first = Lock::acquire(&path, Duration::ZERO).unwrap();
        let error = Lock::acquire(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), Kind::StoreLocked);
        assert!(error.message().starts_with("This process itself holds the data directory"), "{error}");
        drop(first);
        Lock::acquire(&path, Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn what_a_dead_holder_left_does_not_matter() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        std::fs::write(&path, "4194304999999 not a pid").unwrap();
        Lock::acquire(&path, Duration::ZERO).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn who_waits_gets_it_as_soon_as_it_is_free() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let first = Lock::acquire(&path, Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Lock::acquire(&path, Duration::from_secs(60)));
            drop(first);
            second.join().unwrap().unwrap();
        });
    }
}
