//! The end of the audit: the last line of the chain, and what is in the chain and not in the file yet.

use std::{
    fmt::Write as _,
    fs::File,
    io::{ErrorKind, Write},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    super::{
        Event,
        chain::{Chain, Head},
        name::Name,
    },
    MOST_HELD, full,
    queue::Batch,
    refused,
};
use crate::error::Result;

/// Whoever has it writes, and nobody else.
pub(super) struct End {
    pub(super) file: Arc<File>,
    /// How long the file is with every line that was written whole.
    length: u64,
    chain: Chain,
    clock: Clock,
    pub(super) head: Option<Head>,
    /// Lines that are in the chain and not in the file yet.
    noted: String,
    /// What the queue had, and how many ever were in it by then.
    pub(super) batch: Batch,
    pub(super) taken: u64,
    /// What was noted waits for room on the disk.
    full: bool,
    /// Once the disk failed, nothing may happen that the audit would not know of, until it is opened anew.
    broken: bool,
}

/// How the chain was before a line.
pub(super) struct Before {
    head: Option<Head>,
    noted: usize,
}

impl End {
    pub(super) fn new(file: Arc<File>, length: u64, chain: Chain, head: Option<Head>) -> Self {
        Self {
            file,
            length,
            chain,
            clock: Clock::default(),
            head,
            noted: String::new(),
            batch: Batch::default(),
            taken: 0,
            full: false,
            broken: false,
        }
    }

    /// Whether nothing can be written any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// How much there is in the chain that is not in the file.
    pub(super) fn held(&self) -> usize {
        self.noted.len()
    }

    /// Takes what the queue had into the chain.
    pub(super) fn chain_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for (at, name, members) in batch.lines() {
            self.chain(at, name, |line| line.push_str(members));
        }
        batch.clear();
        self.batch = batch;
    }

    /// Takes one line into the chain, and gives how it was before.
    pub(super) fn chain_one(&mut self, at: Timestamp, event: &Event) -> Before {
        let before = Before { head: self.head.clone(), noted: self.noted.len() };
        self.chain(at, event.name, |line| event.write_members(line));
        before
    }

    fn chain(&mut self, at: Timestamp, name: Name, write_members: impl FnOnce(&mut String)) {
        let start = self.noted.len();
        let head = self.head.get_or_insert_with(|| Head { seq: 0, mac: String::new() });
        head.seq += 1;
        self.clock.open(head.seq, at, name, &mut self.noted);
        write_members(&mut self.noted);
        self.chain.finish(&mut self.noted, start, &mut head.mac);
    }

    /// Writes what was noted. Where the disk has no room for all of it, nothing of it is in the file, and it stays noted.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.broken {
            return Err(refused());
        }
        if self.noted.is_empty() {
            return Ok(());
        }
        let Err(error) = (&*self.file).write_all(self.noted.as_bytes()) else {
            self.length += self.noted.len() as u64;
            self.noted.clear();
            self.full = false;
            return Ok(());
        };
        let no_room = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if no_room && self.noted.len() <= MOST_HELD && self.file.set_len(self.length).is_ok() {
            if !std::mem::replace(&mut self.full, true) {
                tracing::error!(%error, "the audit cannot be written until there is room");
            }
            return Err(full());
        }
        tracing::error!(%error, "the audit cannot be written");
        self.fail();
        Err(refused())
    }

    /// Nothing is written any more.
    pub(super) fn fail(&mut self) {
        self.broken = true;
        self.noted.clear();
    }

    /// Takes the last line back, which was not written.
    pub(super) fn take_back(&mut self, before: Before) {
        self.noted.truncate(before.noted);
        self.head = before.head;
    }
}

/// Writes the time of lines. Many lines have one second, which is formatted once for all of them.
#[derive(Default)]
struct Clock {
    second: i64,
    written: String,
}

impl Clock {
    /// Begins a line: what every one has, in a JSON object that is still open.
    fn open(&mut self, seq: u64, at: Timestamp, name: Name, to: &mut String) {
        if self.written.is_empty() || self.second != at.as_second() {
            self.written = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.second = at.as_second();
        }
        let (second, millisecond) = (&self.written, at.subsec_millisecond());
        // Writing to a string cannot fail.
        let _ = write!(to, "{{\"seq\":{seq},\"time\":\"{second}.{millisecond:03}Z\",\"event\":\"{name}\"");
    }
}
