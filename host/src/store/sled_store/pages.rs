//! Small pages while sled opens. Its metrics are 19 MB that are never used; with huge pages, the few bytes that the allocator
//! writes into each part of them have the kernel wipe all of it. That is a third of what a short command costs, and sled's own
//! threads spin as long.

use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};

/// While this lives, the process is given no huge pages that it has not yet. Where the kernel cannot do that, opening a store
/// only takes longer.
pub(super) struct SmallPages {
    until_dropped: bool,
}

impl SmallPages {
    pub(super) fn only() -> Self {
        let until_dropped =
            matches!(transparent_huge_pages_are_disabled(), Ok(false)) && disable_transparent_huge_pages(true).is_ok();
        Self { until_dropped }
    }
}

impl Drop for SmallPages {
    fn drop(&mut self) {
        if self.until_dropped {
            // What was possible a moment ago is possible now.
            let _ = disable_transparent_huge_pages(false);
        }
    }
}
