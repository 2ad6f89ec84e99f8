//! A secret that is searched for where it must not be.

use std::{fs, path::Path};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// A secret and its spellings: as it is, in base64 at every alignment, and in hex; in whatever case, since host names and logs
/// are written in one.
pub struct Canary {
    /// The secret itself.
    pub secret: String,
    spellings: Vec<(&'static str, Vec<u8>)>,
}

impl Canary {
    /// A secret nobody else has, long enough that no text has it by chance.
    pub fn new(secret: &str) -> Self {
        let mut spellings = vec![("clear", secret.as_bytes().to_vec()), ("hex", hex::encode(secret).into_bytes())];
        for offset in 0..3 {
            for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
                let padded = [&vec![b'x'; offset][..], secret.as_bytes()].concat();
                let encoded = engine.encode(&padded);
                // The characters that do not depend on what stands around.
                let end = encoded.len() - usize::from(padded.len() % 3 != 0);
                spellings.push(("base64", encoded.as_bytes()[[0, 2, 3][offset]..end].to_vec()));
            }
        }
        spellings.iter_mut().for_each(|(_, spelling)| spelling.make_ascii_lowercase());
        Self { secret: secret.to_owned(), spellings }
    }

    /// Which of its spellings stand in there.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&'static str> {
        let lower = bytes.to_ascii_lowercase();
        let mut found: Vec<_> =
            self.spellings.iter().filter(|(_, spelling)| contains(&lower, spelling)).map(|(name, _)| *name).collect();
        found.dedup();
        found
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

    /// Demands that it stands in no file below a folder; gives how many files there were.
    #[track_caller]
    pub fn is_not_below(&self, folder: &Path) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                files += self.is_not_below(&path);
            } else if path.is_file() {
                self.is_not_in(&path.display().to_string(), &fs::read(&path).unwrap());
                files += 1;
            }
        }
        files
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
