//! The store has one owner at a time. The lock is the operating system's, so a process that died holds nothing.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::sled_store::unavailable;
use crate::error::{Kind, Result};

/// How often a held lock is tried again.
const EVERY: Duration = Duration::from_millis(20);

/// Held for as long as it lives.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock of a data directory.
    ///
    /// # Errors
    /// `store-locked` with the holder's process id, `store-unavailable` where the file cannot be made.
    pub(super) fn take(data_directory: &Path, wait: Duration) -> Result<Self> {
        let path = data_directory.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unavailable(&path, &error))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if began.elapsed() < wait => thread::sleep(EVERY),
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // Only for the sentence; the lock itself is what counts.
                    let _ = file.read_to_string(&mut holder);
                    let by = if holder.trim().is_empty() {
                        String::new()
                    } else {
                        format!(" by the process {}", holder.trim())
                    };
                    return Err(Kind::StoreLocked
                        .error(format!(
                            "The data directory {} is in use{by}, and was for {} s.",
                            data_directory.display(),
                            wait.as_secs()
                        ))
                        .hint("Wait for that command, or stop it; a process that died holds no lock."));
                }
                Err(TryLockError::Error(error)) => return Err(unavailable(&path, &error)),
            }
        }
        // Who holds it is for people; a lock that cannot say so is still one.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}
