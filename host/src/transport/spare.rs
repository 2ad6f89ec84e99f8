//! A service that fails again and again is spared, and so is whoever waits for it: it is not asked for a while, and then by one
//! request alone until that goes well.
//!
//! This is kept with the client of one connection to one origin, so that nobody's failures are anybody else's. While all goes
//! well it costs one load of a number.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Failures in a row: more than a restart behind a load balancer shows to one caller.
pub(super) const FAILURES: u32 = 5;
/// How a service did of late.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// In a row.
    failures: AtomicU32,
    /// In milliseconds of this process.
    until: AtomicU64,
}

impl Spare {
    /// Whether it may be asked; if not, how long to wait. One who may asks alone for as long as the `rest`.
    pub(super) fn judge(&self, rest: Duration) -> Result<(), Duration> {
        self.judge_at(now(), rest)
    }

    fn judge_at(&self, now: u64, rest: Duration) -> Result<(), Duration> {
        if self.failures.load(Ordering::Relaxed) < FAILURES {
            return Ok(());
        }
        let until = self.until.load(Ordering::Acquire);
        if now < until {
            return Err(Duration::from_millis(until - now));
        }
        // One finds out whether it is better; should it be given up in the middle, another does after the same time.
        let next = now + millis(rest);
        match self.until.compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(_) => Err(rest),
        }
    }

    /// Notes how it did; after a failure it rests so long.
    pub(super) fn note(&self, well: bool, rest: Duration) {
        if !well {
            self.failed_at(now(), rest);
        } else if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    fn failed_at(&self, now: u64, rest: Duration) {
        // Before the number: whoever finds it large enough finds until when, too.
        self.until.store(now + millis(rest), Ordering::Release);
        self.failures.fetch_add(1, Ordering::Release);
    }
}

fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    millis(BEGAN.elapsed())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::limits::REST, *};

    #[test]
    fn after_failures_in_a_row_one_finds_out_whether_it_is_better() {
        let spare = Spare::default();
        for _ in 1..FAILURES {
            spare.failed_at(0, REST);
        }
        spare.judge_at(0, REST).unwrap();
        spare.failed_at(0, REST);
        assert_eq!(spare.judge_at(1, REST), Err(REST - Duration::from_millis(1)));
        spare.judge_at(millis(REST), REST).unwrap();
        assert!(spare.judge_at(millis(REST), REST).is_err(), "one is enough");
        // It is no better.
        spare.failed_at(millis(REST) + 5, REST);
        assert!(spare.judge_at(2 * millis(REST), REST).is_err());
        spare.judge_at(2 * millis(REST) + 5, REST).unwrap();
        spare.note(true, REST);
        spare.judge_at(2 * millis(REST) + 6, REST).unwrap();
        spare.judge_at(2 * millis(REST) + 6, REST).unwrap();
    }

    #[test]
    fn what_goes_well_in_between_begins_anew() {
        let spare = Spare::default();
        for _ in 0..3 * FAILURES {
            for _ in 1..FAILURES {
                spare.note(false, REST);
            }
            spare.note(true, REST);
        }
        spare.judge(REST).unwrap();
    }
}
