//! What is to be written down and is not in the chain yet. Whoever tells of something waits here for nobody but others who do the
//! same: numbers and MACs are for whoever writes, who makes them for many lines at once.

use std::time::Instant;

use jiff::Timestamp;

use super::super::{Event, name::Name};

/// Lines of whom nobody knows yet which number they have.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) batch: Batch,
    /// How many lines ever were in it: the last of them has this number among them.
    pub(super) queued: u64,
    /// Whether there are lines, here or in the file, that were not synced yet.
    pub(super) unsynced: bool,
    /// Since when, until they are on the disk.
    pub(super) waiting_since: Option<Instant>,
    pub(super) closing: bool,
}

impl Queue {
    /// Puts a line at its end, and gives its number among those that were in it.
    pub(super) fn push(&mut self, event: &Event) -> u64 {
        self.batch.push(event);
        self.queued += 1;
        self.queued
    }

    /// There is a line that is not on the disk. Says whether it is the first.
    pub(super) fn begin_group(&mut self) -> bool {
        let is_first = !std::mem::replace(&mut self.unsynced, true);
        if is_first {
            self.waiting_since = Some(Instant::now());
        }
        is_first
    }
}

/// Lines one after the other.
#[derive(Default)]
pub(super) struct Batch {
    text: String,
    lines: Vec<Line>,
}

struct Line {
    at: Timestamp,
    name: Name,
    /// Where its members are in the text.
    from: usize,
    to: usize,
}

impl Batch {
    fn push(&mut self, event: &Event) {
        let from = self.text.len();
        event.write_members(&mut self.text);
        self.lines.push(Line { at: Timestamp::now(), name: event.name, from, to: self.text.len() });
    }

    /// How much it holds.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// When each was told, what it is called, and its members.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Timestamp, Name, &str)> {
        self.lines.iter().map(|line| (line.at, line.name, &self.text[line.from..line.to]))
    }

    /// Makes room for others.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
    }
}
