//! The allocator of a connector: it begins with memory that the instance has from the start, and grows only what does not
//! fit there.
//!
//! The host makes a fresh instance for every call, and the dearest thing that such an instance can do is to grow its
//! memory: for each growth the host's kernel changes the protection of pages, twice, in a process where other calls run.
//! Rust's own allocator for WebAssembly grows with its first byte. Most calls need less than [`ARENA`] and never grow.

#![allow(unsafe_code, reason = "an allocator hands out memory; what goes wrong here stays in the sandbox")]

use core::{
    alloc::Layout,
    arch::wasm32::memory_grow,
    mem::MaybeUninit,
    sync::atomic::{AtomicBool, Ordering},
};

use talc::{
    base::{CHUNK_UNIT, Talc, binning::Binning},
    cell::TalcSyncCell,
    source::Source,
    wasm::WasmBinning,
};

/// What a call has without growing: an answer of some 10 KB, parsed, with its copies. The host wipes all of a guest's
/// memory after every call, so more would cost every call: with stack and data it makes three pages for our connectors.
const ARENA: usize = 48 << 10;

const PAGE: usize = 64 << 10;

static mut MEMORY: [MaybeUninit<u8>; ARENA] = [MaybeUninit::uninit(); ARENA];

#[global_allocator]
static ALLOCATOR: TalcSyncCell<FirstTheArena, WasmBinning> =
    TalcSyncCell::new_wasm(FirstTheArena(AtomicBool::new(false)));

/// The arena, and when that is full what the host lets the memory grow by.
#[derive(Debug)]
struct FirstTheArena(AtomicBool);

// SAFETY: it allocates nothing itself, and gives `claim` only memory that nobody else has: the arena, once, which is
// named nowhere else, and pages that were grown just now.
unsafe impl Source for FirstTheArena {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        if !talc.source.0.swap(true, Ordering::Relaxed) {
            // SAFETY: as above.
            return unsafe { talc.claim((&raw mut MEMORY).cast(), ARENA) }.map(drop).ok_or(());
        }
        // What is asked for, rounded up to chunks, and what a heap of its own has at both ends.
        let pages = (layout.size() + layout.align() + 4 * CHUNK_UNIT).div_ceil(PAGE);
        match memory_grow::<0>(pages) {
            usize::MAX => Err(()),
            // SAFETY: as above.
            first => unsafe { talc.claim((first * PAGE) as *mut u8, pages * PAGE) }.map(drop).ok_or(()),
        }
    }
}
