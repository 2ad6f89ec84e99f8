//! The chain: each line carries the HMAC-SHA256 of the one before it and of itself, so that a line changed, dropped, swapped
//! or put in is found by whoever has the key. That the tail was not cut off is known from the head, which the sealed store
//! keeps.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Backwards;
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

/// A line is longer than this only where it is not one of ours.
pub(super) const LONGEST_LINE: u64 = 64 << 10;
/// Read at a time.
const READ: usize = 64 << 10;
/// What stands between a line's content and its MAC.
const SEAM: &str = ",\"mac\":\"";

/// The last line of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number, from 1.
    pub seq: u64,
    /// Its MAC, in hex.
    pub mac: String,
}

/// Which lines to read.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this environment, and of the data directory as a whole.
    pub environment: Option<String>,
    /// Only of this connection.
    pub connection: Option<String>,
    /// Only of this event.
    pub event: Option<String>,
    /// Only from then on.
    pub since: Option<Timestamp>,
    /// Only those before the line of this number.
    pub before: Option<u64>,
    /// Only so many, the newest.
    pub limit: usize,
    /// What is of no environment too.
    pub of_host: bool,
}

/// In hex.
struct Mac([u8; 64]);

impl Mac {
    fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

/// Computes lines and their MACs.
pub(super) struct Chain {
    key: hmac::Key,
}

impl Chain {
    pub(super) fn new(key: &Secret) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()) }
    }

    /// Finishes the line that begins there, which is a JSON object that lacks its last member and its end. `mac` is that of the
    /// line before it, and becomes its own.
    pub(super) fn finish(&self, lines: &mut String, start: usize, mac: &mut String) {
        let own = self.mac(mac, &lines[start..]);
        mac.clear();
        mac.push_str(own.as_str());
        lines.push_str(SEAM);
        lines.push_str(mac);
        lines.push_str("\"}\n");
    }

    fn mac(&self, previous: &str, open: &str) -> Mac {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(previous.as_bytes());
        context.update(b"\n");
        context.update(open.as_bytes());
        // Many times as fast as one digit after the other.
        let mut digits = [0; 64];
        hex::encode_to_slice(context.sign(), &mut digits).expect("twice as many digits as bytes");
        Mac(digits)
    }
}

/// Walks a chain from its first line to its last, however it is cut when it is fed.
pub(crate) struct Walk {
    chain: Chain,
    /// The head that was noted, which has to be met.
    anchor: Option<Head>,
    met_anchor: bool,
    head: Option<Head>,
    lines: u64,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Walk {
    /// Of the chain with this key.
    pub(crate) fn new(key: &Secret, anchor: Option<Head>) -> Self {
        let met_anchor = anchor.is_none();
        Self { chain: Chain::new(key), anchor, met_anchor, head: None, lines: 0, rest: Vec::new() }
    }

    /// Goes on with more of the file.
    ///
    /// # Errors
    /// `store-damaged` at the first line that is not what was written.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") || self.rest.len() as u64 > LONGEST_LINE {
                let line = std::mem::take(&mut self.rest);
                self.line(&String::from_utf8_lossy(&line))?;
            }
        }
        Ok(())
    }

    /// Ends the walk, and gives the last line's place.
    ///
    /// # Errors
    /// `store-damaged` where the end was cut off.
    pub(crate) fn end(mut self) -> Result<Option<Head>> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&String::from_utf8_lossy(&rest))?;
        }
        if self.met_anchor {
            return Ok(self.head);
        }
        let last = self.head.as_ref().map_or(0, |head| head.seq);
        let noted = self.anchor.as_ref().map_or(0, |anchor| anchor.seq);
        Err(Kind::StoreDamaged
            .error(format!("The audit is not what was written: it ends at line {last}, and line {noted} was written."))
            .hint("Its end was cut off, or another audit was put in its place."))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.lines += 1;
        let number = self.lines;
        let expected_seq = self.head.as_ref().map_or(1, |head| head.seq + 1);
        let wrong = |why: &str| -> Error {
            Kind::StoreDamaged
                .error(format!("The audit is not what was written: line {number} {why}."))
                .hint("Keep the file as it is for whoever looks into it; lines before that one are good.")
        };
        let (open, mac) = split(line).ok_or_else(|| wrong("is not a line of the audit"))?;
        let seq = serde_json::from_str::<Value>(line)
            .ok()
            .and_then(|line| line["seq"].as_u64())
            .ok_or_else(|| wrong("has no number"))?;
        if seq != expected_seq {
            return Err(wrong(&format!(
                "has the number {seq} where {expected_seq} belongs: lines were dropped, swapped or put in"
            )));
        }
        let previous = self.head.as_ref().map_or("", |head| head.mac.as_str());
        if self.chain.mac(previous, open).as_str() != mac {
            return Err(wrong("was changed, or the one before it was"));
        }
        let here = Head { seq, mac: mac.to_owned() };
        if self.anchor.as_ref().is_some_and(|anchor| anchor.seq == seq) {
            self.met_anchor = self.anchor.as_ref() == Some(&here);
        }
        self.head = Some(here);
        Ok(())
    }
}

/// Reads lines as JSON, the newest last, from the end and no further than there are enough. It does not check the chain.
///
/// # Errors
/// `store-unavailable` where the file cannot be read.
pub fn read(path: &Path, filter: &Filter) -> Result<Vec<Value>> {
    let is = |line: &Value, member: &str, wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| line[member] == **wanted)
    };
    let mut found = Vec::new();
    for line in Backwards::open(path, None)? {
        if found.len() == filter.limit {
            break;
        }
        let line = line?;
        // Quicker to know than what it says.
        if ![&filter.connection, &filter.event].into_iter().flatten().all(|wanted| line.mentions(wanted)) {
            continue;
        }
        let Some(line) = line.read() else { continue };
        let of_all = filter.of_host && line["environment"].is_null();
        let time = || line["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let wanted = (of_all || is(&line, "environment", &filter.environment))
            && is(&line, "connection", &filter.connection)
            && is(&line, "event", &filter.event)
            && filter.before.is_none_or(|before| line["seq"].as_u64().is_some_and(|seq| seq < before))
            && filter.since.is_none_or(|since| time().is_some_and(|time| time >= since));
        if wanted {
            found.push(line);
        }
    }
    found.reverse();
    Ok(found)
}

/// The content that a MAC is over, and the MAC.
pub(super) fn split(line: &str) -> Option<(&str, &str)> {
    let (open, tail) = line.trim_end_matches('\n').rsplit_once(SEAM)?;
    let mac = tail.strip_suffix("\"}")?;
    (mac.len() == 64).then_some((open, mac))
}

/// Walks a whole file and gives its head.
pub(super) fn verify(path: &Path, key: &Secret, anchor: Option<&Head>) -> Result<Option<Head>> {
    let mut walk = Walk::new(key, anchor.cloned());
    let mut reader = BufReader::with_capacity(READ, File::open(path).map_err(unreadable)?);
    loop {
        let read = match reader.fill_buf() {
            Ok([]) => return walk.end(),
            Ok(read) => read,
            Err(error) => return Err(unreadable(error)),
        };
        walk.feed(read)?;
        let read = read.len();
        reader.consume(read);
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Kind::StoreUnavailable.error(format!("The audit cannot be read: {error}."))
}
