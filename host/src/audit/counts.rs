//! How often what was written down happened, for whoever watches the host: numbers, and nothing of whom they are about.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A request left, or tried to.
    Sent,
    /// A request was refused before it left.
    Denied,
    /// A request left, or tried to, and there was no answer that could be used.
    Failed,
    /// A service answered with a status of 100 times this.
    Answered(u8),
    /// A sign-in gave what it should.
    SignedIn,
    /// A sign-in was refused for good.
    SignInRefused,
    /// A sign-in gave nothing, and the next may.
    SignInFailed,
    /// A renewal gave what it should.
    Renewed,
    /// A renewal was refused for good.
    RenewalRefused,
    /// A renewal gave nothing, and the next may.
    RenewalFailed,
}

impl Counted {
    /// Statuses are of five classes (RFC 9110, 15); what is none of them is counted with the last.
    const CLASSES: usize = 5;
    const OTHERS: usize = 9;
    const ALL: usize = Self::CLASSES + Self::OTHERS;

    fn index(self) -> usize {
        match self {
            Self::Sent => 0,
            Self::Denied => 1,
            Self::Failed => 2,
            Self::SignedIn => 3,
            Self::SignInRefused => 4,
            Self::SignInFailed => 5,
            Self::Renewed => 6,
            Self::RenewalRefused => 7,
            Self::RenewalFailed => 8,
            Self::Answered(class) => Self::OTHERS + usize::from(class.clamp(1, Self::CLASSES as u8)) - 1,
        }
    }
}

/// Since the audit was opened.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; Counted::ALL]);

impl Counts {
    pub(super) fn count(&self, counted: Counted) {
        self.0[counted.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub(crate) fn of(&self, counted: Counted) -> u64 {
        self.0[counted.index()].load(Ordering::Relaxed)
    }
}
