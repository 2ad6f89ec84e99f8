//! A secret that is searched for where it must not be.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use url::form_urlencoded;

/// A secret and its spellings: as it is, in hex, in both alphabets of base64 at every alignment, and percent-encoded; in
/// whatever case, since host names and logs are written in one.
pub struct Canary {
    /// The secret itself.
    pub secret: String,
    spellings: Vec<(&'static str, Vec<u8>)>,
}

impl Canary {
    /// A secret nobody else has, long enough that no text has it by chance.
    pub fn new(secret: &str) -> Self {
        Self::of_bytes(secret.as_bytes())
    }

    /// One that need not be text.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut spellings = vec![("clear", bytes.to_vec()), ("hex", hex::encode(bytes).into_bytes())];
        let names = ["base64", "base64 after 1 byte", "base64 after 2 bytes"];
        let names_url = ["base64url", "base64url after 1 byte", "base64url after 2 bytes"];
        for (engine, names) in [(BASE64_STANDARD_NO_PAD, names), (BASE64_URL_SAFE_NO_PAD, names_url)] {
            spellings.extend(names.iter().enumerate().map(|(before, name)| (*name, aligned(&engine, bytes, before))));
        }
        let form: String = form_urlencoded::byte_serialize(bytes).collect();
        let every: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        spellings.extend([("percent", form.into_bytes()), ("percent, every byte", every.into_bytes())]);
        let mut different: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for (name, mut spelling) in spellings {
            spelling.make_ascii_lowercase();
            if different.iter().all(|(_, other)| *other != spelling) {
                different.push((name, spelling));
            }
        }
        Self { secret: String::from_utf8_lossy(bytes).into_owned(), spellings: different }
    }

    /// Which of its spellings stand in there.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&'static str> {
        self.found_in_lower(&bytes.to_ascii_lowercase())
    }

    fn found_in_lower(&self, lower: &[u8]) -> Vec<&'static str> {
        self.spellings.iter().filter(|(_, spelling)| contains(lower, spelling)).map(|(name, _)| *name).collect()
    }

    /// All of its spellings.
    pub(crate) fn spellings(&self) -> impl Iterator<Item = &[u8]> {
        self.spellings.iter().map(|(_, spelling)| spelling.as_slice())
    }

    /// Demands that it stands nowhere in there.
    #[track_caller]
    pub fn is_not_in(&self, what: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "the secret stands in {what}, in {found:?}:\n{}", String::from_utf8_lossy(bytes));
    }

    /// Demands that it stands in no file below a folder, nor in the name of one; gives how many files there were.
    #[track_caller]
    pub fn is_not_below(&self, folder: &Path) -> usize {
        let files = files_below(folder);
        for path in &files {
            let name = path.display().to_string();
            self.is_not_in(&format!("the name {name}"), name.as_bytes());
            self.is_not_in(&name, &fs::read(path).unwrap());
        }
        files.len()
    }
}

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}

/// What was seen in many places, in lower case, to be searched when all of it is there.
#[derive(Default)]
pub struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    /// Keeps what was seen in a place.
    pub fn note(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let mut bytes = bytes.into();
        bytes.make_ascii_lowercase();
        self.0.push((place.into(), bytes));
    }

    /// Keeps every file below a folder.
    pub fn note_below(&mut self, folder: &Path) {
        for path in files_below(folder) {
            self.note(format!("the name {}", path.display()), path.display().to_string());
            self.note(path.display().to_string(), fs::read(&path).unwrap());
        }
    }

    /// Demands that a secret stands in none of the places.
    #[track_caller]
    pub fn lacks(&self, canary: &Canary) {
        for (place, bytes) in &self.0 {
            let found = canary.found_in_lower(bytes);
            assert!(
                found.is_empty(),
                "the secret stands in {place}, in {found:?}:\n{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    /// Demands that the search finds each spelling of what was planted in a place whose name begins so.
    #[track_caller]
    pub fn has(&self, planted: &Canary, place: &str) {
        let places: Vec<_> = self.0.iter().filter(|(name, _)| name.starts_with(place)).collect();
        let found: Vec<_> = places.iter().flat_map(|(_, bytes)| planted.found_in_lower(bytes)).collect();
        for (name, _) in &planted.spellings {
            assert!(found.contains(name), "{name} of what was planted was not found in {} of {place}", places.len());
        }
    }

    /// Demands that what was planted is found in clear in a place whose name begins so.
    #[track_caller]
    pub fn shows(&self, planted: &Canary, place: &str) {
        let places = self.0.iter().filter(|(name, _)| name.starts_with(place));
        let found = places.filter(|(_, bytes)| planted.found_in_lower(bytes).contains(&"clear")).count();
        assert!(found > 0, "what was planted was not found in {place}");
    }
}

/// The characters of a base64 text that depend on these bytes alone, where so many others stand before them.
fn aligned(engine: &impl Engine, bytes: &[u8], before: usize) -> Vec<u8> {
    let padded = [&vec![b'x'; before][..], bytes].concat();
    let encoded = engine.encode(&padded);
    let end = encoded.len() - usize::from(padded.len() % 3 != 0);
    encoded.as_bytes()[[0, 2, 3][before]..end].to_vec()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// A text in each of the spellings that a [`Canary`] is searched for in, as a service or a program would write them.
pub fn spelled(secret: &str) -> Vec<(&'static str, String)> {
    let (standard, url_safe) = (base64::prelude::BASE64_STANDARD, base64::prelude::BASE64_URL_SAFE);
    let within = |before: &str| format!("{before}{secret}:");
    vec![
        ("clear", secret.to_owned()),
        ("hex", hex::encode(secret)),
        ("hex", hex::encode_upper(secret)),
        ("base64", standard.encode(within(""))),
        ("base64 after 1 byte", standard.encode(within("a"))),
        ("base64 after 2 bytes", standard.encode(within("ab"))),
        ("base64url", url_safe.encode(within(""))),
        ("base64url after 1 byte", url_safe.encode(within("a"))),
        ("base64url after 2 bytes", url_safe.encode(within("ab"))),
        ("percent", form_urlencoded::byte_serialize(secret.as_bytes()).collect()),
        ("percent, every byte", secret.bytes().map(|byte| format!("%{byte:02X}")).collect()),
    ]
}
