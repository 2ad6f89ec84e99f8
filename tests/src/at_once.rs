//! What is done by several threads at once. The host's own tests read this file too, since their crate cannot depend on this one.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// Does one thing while others do another over and over again, and are anywhere in the middle of it.
pub fn among<T>(over_and_over: impl Fn() + Sync, once: impl FnOnce() -> T) -> T {
    let (times, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let others = [(); 2].map(|()| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    over_and_over();
                    times.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        // One that panicked is over, too, and has the scope panic.
        while times.load(Ordering::Relaxed) < 3 && !others.iter().any(|other| other.is_finished()) {
            thread::yield_now();
        }
        let done = once();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

/// Does both at once, and gives what came of each.
pub fn at_once<T: Send, U>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> U) -> (T, U) {
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
