//! What a process has in its memory, to be searched.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    process::Command,
};

use crate::Canary;

/// Which spellings of a canary stand in what a process of this user's has written to its memory.
///
/// # Panics
/// Where it cannot be read, or nothing of it could.
#[track_caller]
pub fn found_in_memory(canary: &Canary, process: u32) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (dump, wanted) = (folder.path().join("memory"), folder.path().join("wanted"));
    let written = copy(process, &dump);
    assert!(written > 1 << 20, "only {written} bytes of the memory could be read");
    fs::write(&wanted, canary.spellings().map(|spelling| [spelling, b"\n"].concat()).collect::<Vec<_>>().concat())
        .unwrap();
    // This process is not optimised, and there is much to search.
    let found = Command::new("grep").args(["-aoiFhf"]).args([&wanted, &dump]).env("LC_ALL", "C").output().unwrap();
    assert!(matches!(found.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&found.stderr));
    let mut found: Vec<String> = String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Copies every page that is there and may be written, and gives how many bytes those are.
fn copy(process: u32, to: &std::path::Path) -> u64 {
    let open =
        |what| File::open(format!("/proc/{process}/{what}")).expect("another process's memory cannot be read here");
    let (memory, pages) = (open("mem"), open("pagemap"));
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the process has gone");
    let page = u64::try_from(rustix::param::page_size()).unwrap();
    let (mut dump, mut written) = (BufWriter::new(File::create(to).unwrap()), 0);
    for (start, end) in maps.lines().filter_map(writable) {
        let mut entries = vec![0; usize::try_from((end - start) / page * 8).unwrap()];
        if pages.read_exact_at(&mut entries, start / page * 8).is_err() {
            continue;
        }
        for (index, entry) in entries.chunks_exact(8).enumerate() {
            // Present, or swapped out (`proc_pid_pagemap(5)`).
            if u64::from_ne_bytes(entry.try_into().unwrap()) >> 62 == 0 {
                continue;
            }
            let mut content = vec![0; usize::try_from(page).unwrap()];
            // One may have gone meanwhile.
            if memory.read_exact_at(&mut content, start + index as u64 * page).is_ok() {
                dump.write_all(&content).unwrap();
                written += page;
            }
        }
    }
    dump.flush().unwrap();
    written
}

fn writable(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-').filter(|_| rest.starts_with("rw"))?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}
