//! What the provider was asked, in order, and what came of it. Values are fingerprints: enough to see that the same one came
//! twice, and nothing to use.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::digest::Digest;

/// A storm of 10,000 calls, several times over; the oldest go first.
const MOST_ENTRIES: usize = 100_000;

/// The beginning of a value's SHA-256: 16 hex digits, the same for the same value.
pub fn fingerprint(value: &str) -> String {
    beginning(&Digest::of(value.as_bytes()))
}

/// As a fingerprint has it.
pub(super) fn beginning(digest: &Digest) -> String {
    hex::encode(&digest.as_bytes()[..8])
}

/// One request.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Entry {
    /// In the order of the work, from 1.
    pub(super) number: u64,
    /// The provider's time, in seconds since 1970.
    pub(super) at: f64,
    pub(super) method: String,
    pub(super) path: String,
    /// As `/simulate/next` names it.
    pub(super) endpoint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<String>,
    /// Who it was for certain: it authenticated, or its token did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<String>,
    /// What is no secret, in clear.
    pub(super) asked: BTreeMap<String, Vec<String>>,
    /// Fingerprints of everything else.
    pub(super) presented: BTreeMap<String, String>,
    /// Fingerprints of what was given.
    pub(super) given: BTreeMap<String, String>,
    /// Of the answer, whether or not it arrived.
    pub(super) status: u16,
    /// `ok`, or the error's code.
    pub(super) outcome: String,
    /// Where the connection was cut: `before` the work, or `after` it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lost: Option<&'static str>,
    /// Whether a script answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) scripted: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    written: u64,
}

impl Log {
    pub(super) fn write(&mut self, mut entry: Entry) {
        self.written += 1;
        entry.number = self.written;
        let what = match &entry.grant {
            Some(grant) => format!("{} {grant}", entry.endpoint),
            None if entry.endpoint == "api" => format!("api {}", entry.path),
            None => entry.endpoint.to_owned(),
        };
        *self.counts.entry(what).or_default().entry(entry.status.to_string()).or_default() += 1;
        if self.entries.len() == MOST_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(super) fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// How often what was answered with which status.
    pub(super) fn counts(&self) -> &BTreeMap<String, BTreeMap<String, u64>> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_and_the_counts_stay() {
        let mut log = Log::default();
        for _ in 0..MOST_ENTRIES + 2 {
            log.write(Entry { endpoint: "api", path: "/api/me".into(), status: 200, ..Entry::default() });
        }
        assert_eq!((log.entries().len(), log.entries()[0].number), (MOST_ENTRIES, 3));
        assert_eq!(log.counts()["api /api/me"]["200"], MOST_ENTRIES as u64 + 2);
    }

    #[test]
    fn a_fingerprint_is_the_beginning_of_the_sha_256() {
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea");
    }
}
