//! What tests of several parts have in common.

use std::{
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use tempfile::TempDir;

use crate::{
    host::Host,
    settings::{Given, Settings, Source, Sourced},
};

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

/// Does one thing while others do another over and over again, and are anywhere in the middle of it.
pub(crate) fn among<T>(over_and_over: impl Fn() + Sync, once: impl FnOnce() -> T) -> T {
    let (times, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    over_and_over();
                    times.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while times.load(Ordering::Relaxed) < 3 {
            thread::yield_now();
        }
        let done = once();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

/// Does both at once, and gives what came of each.
pub(crate) fn at_once<T: Send, U>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> U) -> (T, U) {
    let ready = Barrier::new(2);
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            ready.wait();
            one()
        });
        ready.wait();
        let other = other();
        (one.join().unwrap(), other)
    })
}
