//! Lines from the newest to the oldest, so that whoever wants the last ones reads no more of the file than that.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::Path,
};

use serde_json::Value;

use crate::error::{Kind, Result};

/// Read at a time: some hundred lines.
const BLOCK: u64 = 64 << 10;

/// A line, as it stands in the file.
pub struct Line {
    /// Where it begins; what is before it are older lines.
    pub at: u64,
    text: String,
}

impl Line {
    /// Whether it has these words, which is quicker to know than what it says.
    pub fn mentions(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    /// What it says, without its place in the chain; none where it is torn.
    pub fn read(&self) -> Option<Value> {
        let mut line: Value = serde_json::from_str(&self.text).ok()?;
        line.as_object_mut()?.remove("mac");
        Some(line)
    }
}

/// See the module.
pub struct Backwards {
    file: Option<File>,
    /// Where what was not read yet ends.
    unread: u64,
    /// What was read and not given.
    rest: Vec<u8>,
}

impl Backwards {
    /// From the end, or from a place that a line began at. An audit that is not there has no lines.
    ///
    /// # Errors
    /// `store-unavailable` where the file cannot be read.
    pub fn open(path: &Path, before: Option<u64>) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { file: None, unread: 0, rest: Vec::new() });
            }
            Err(error) => return Err(unreadable(&error)),
        };
        let length = file.metadata().map_err(|error| unreadable(&error))?.len();
        let unread = before.map_or(length, |before| before.min(length));
        Ok(Self { file: Some(file), unread, rest: Vec::new() })
    }

    fn read_more(&mut self) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let begin = self.unread.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(self.unread - begin).unwrap_or_default()];
        file.seek(SeekFrom::Start(begin)).map_err(|error| unreadable(&error))?;
        file.read_exact(&mut block).map_err(|error| unreadable(&error))?;
        block.append(&mut self.rest);
        self.rest = block;
        self.unread = begin;
        Ok(())
    }
}

impl Iterator for Backwards {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // The last byte is the end of the very line that is looked for.
            let before = self.rest.len().checked_sub(1).map(|last| &self.rest[..last]);
            let begin = before.and_then(|before| before.iter().rposition(|byte| *byte == b'\n')).map(|end| end + 1);
            match begin {
                Some(begin) => return Some(Ok(self.take(begin))),
                None if self.unread > 0 => {
                    if let Err(error) = self.read_more() {
                        return Some(Err(error));
                    }
                }
                None if self.rest.is_empty() => return None,
                None => return Some(Ok(self.take(0))),
            }
        }
    }
}

impl Backwards {
    fn take(&mut self, begin: usize) -> Line {
        let text = String::from_utf8_lossy(&self.rest.split_off(begin)).into_owned();
        Line { at: self.unread + begin as u64, text }
    }
}

fn unreadable(error: &std::io::Error) -> crate::Error {
    Kind::StoreUnavailable.error(format!("The audit cannot be read: {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(path: &Path, before: Option<u64>) -> Vec<u64> {
        let lines = Backwards::open(path, before).unwrap().map(Result::unwrap);
        lines.filter_map(|line| line.read()?["seq"].as_u64()).collect()
    }

    #[test]
    fn lines_come_from_the_last_to_the_first_whatever_blocks_they_are_cut_into() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        assert!(numbers(&path, None).is_empty(), "there is none");
        let line = |seq: u64| format!("{{\"seq\":{seq},\"x\":\"{}\",\"mac\":\"m\"}}\n", "ü".repeat(seq as usize % 300));
        std::fs::write(&path, (1..=2_000).map(line).collect::<String>()).unwrap();
        assert_eq!(numbers(&path, None), (1..=2_000).rev().collect::<Vec<_>>());
        let lines: Vec<Line> = Backwards::open(&path, None).unwrap().map(Result::unwrap).collect();
        assert!(lines[0].read().unwrap().get("mac").is_none());
        for line in [&lines[0], &lines[700], &lines[1_999]] {
            let first = line.read().unwrap()["seq"].as_u64().unwrap();
            assert_eq!(numbers(&path, Some(line.at)), (1..first).rev().collect::<Vec<_>>());
        }
        // A place that no line begins at cuts one, and shows nothing of it.
        assert_eq!(numbers(&path, Some(lines[700].at + 9)), numbers(&path, Some(lines[700].at)));
    }

    #[test]
    fn a_line_that_is_being_written_is_not_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        std::fs::write(&path, "{\"seq\":1}\n{\"seq\":2").unwrap();
        assert_eq!(numbers(&path, None), [1]);
    }
}
