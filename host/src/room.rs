//! Room on a disk: nothing is begun that could not be written down to its end.

use rustix::fs::StatVfs;

/// What must stay free before the store is written, since sled needs room to open at all: it fills up its current segment
/// (512 KiB), writes a snapshot, and may start further segments. Whoever could still read a full disk can then still read the
/// store.
pub(crate) const FOR_STORE: u64 = 4 << 20;

/// What must stay free before a request leaves: thousands of lines more than the store needs, in which the calls that are under
/// way end, and then it notes where the audit ends.
pub(crate) const FOR_AUDIT: u64 = FOR_STORE + (1 << 20);

/// Whether so much is free on a disk. Some network file systems do not say how large they are.
pub(crate) fn is_left(disk: &StatVfs, needed: u64) -> bool {
    disk.f_blocks == 0 || disk.f_bavail.saturating_mul(disk.f_frsize) >= needed
}
