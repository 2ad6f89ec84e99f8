//! The header of a store: a small file beside the records, written once, that is read before anything else is touched. It
//! tells a wrong key from a damaged store and a damaged store from a newer one, and holds the sealed master secret.

use std::{fs, path::Path};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    dir, fault,
    key::{Key, KeySource},
    master::Master,
    seal::{self, Part, Sealer},
};
use crate::error::{Error, Kind, Result};

/// The file's name in the store's directory.
const FILE: &str = "header";

/// What is in the file. `key_check` says whether a key is the right one without saying anything about it; `checksum` finds
/// accidental damage, so that a wrong key is blamed on the key only if the file is as it was written.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u64,
    store: Uuid,
    key_check: String,
    master: String,
    checksum: String,
}

/// Makes the header of a new store, with a random id and a random master.
pub(super) fn create(directory: &Path, key: &Key) -> Result<()> {
    create_with(directory, key, Uuid::new_v4(), &Master::generate()?).map(drop)
}

/// Makes the header of a store with this id and this master.
pub(super) fn create_with(directory: &Path, key: &Key, store: Uuid, master: &Master) -> Result<Sealer> {
    let sealer = Sealer::new(key, store);
    let mut sealed = Vec::new();
    seal::encrypt(sealer.key_encryption_key(), Part::Master, "", master.expose(), &mut sealed)?;
    let mut header = Header {
        format: seal::VERSION.into(),
        store,
        key_check: sealer.key_check(),
        master: hex::encode(sealed),
        checksum: String::new(),
    };
    header.checksum = header.sum();
    let mut text = serde_json::to_vec_pretty(&header).map_err(|error| Kind::Internal.error(error.to_string()))?;
    text.push(b'\n');
    dir::write_private(&directory.join(FILE), &text)?;
    Ok(sealer)
}

/// The id of the store there, if its header can be read.
pub(super) fn id(directory: &Path) -> Option<Uuid> {
    let text = fs::read(directory.join(FILE)).ok()?;
    serde_json::from_slice::<Header>(&text).ok().map(|header| header.store)
}

/// Reads the header and opens it with the key.
///
/// # Errors
/// [`Kind::StoreDamaged`] if the file is not what was written, [`Kind::WrongKey`] if it is and the key does not fit,
/// [`Kind::StoreUnavailable`] if a newer Attaché wrote it.
pub(super) fn open(directory: &Path, key: &Key, source: &KeySource) -> Result<(Sealer, Master)> {
    let path = directory.join(FILE);
    let damaged = |reason: &str| fault::damaged(&path, reason);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(damaged("the file is missing")),
        Err(error) => return Err(fault::io(&path, &error)),
    };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|_| damaged("it cannot be parsed"))?;
    match value["format"].as_u64() {
        Some(format) if format > seal::VERSION.into() => {
            return Err(seal::newer(format_args!("The store in {}", directory.display()), format));
        }
        _ => {}
    }
    let header: Header = serde_json::from_value(value).map_err(|_| damaged("it is incomplete"))?;
    if header.checksum != header.sum() {
        return Err(damaged("its checksum does not fit"));
    }
    let expected = hex::decode(&header.key_check).map_err(|_| damaged("it is incomplete"))?;
    let sealer = Sealer::new(key, header.store);
    if !sealer.is_of(&expected) {
        return Err(wrong_key(directory, source));
    }
    let master = hex::decode(&header.master)
        .ok()
        .and_then(|sealed| seal::decrypt(sealer.key_encryption_key(), Part::Master, "", &sealed))
        .and_then(|master| Master::read(&master))
        .ok_or_else(|| damaged("its master secret does not open"))?;
    Ok((sealer, master))
}

fn wrong_key(directory: &Path, source: &KeySource) -> Error {
    let hint = match source {
        KeySource::File(path) => {
            format!("{} is not the key file that this store was made with; restore it.", path.display())
        }
        KeySource::Env(name) => format!("The variable {name} holds another key than this store was made with."),
        KeySource::Command(_) => "The key command prints another key than this store was made with.".to_owned(),
    };
    Kind::WrongKey.error(format!("The key does not open the store in {}.", directory.display())).hint(hint)
}

impl Header {
    fn sum(&self) -> String {
        let fields = format!("{}\n{}\n{}\n{}", self.format, self.store, self.key_check, self.master);
        hex::encode(digest::digest(&digest::SHA256, fields.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (tempfile::TempDir, Key, String) {
        let home = tempfile::tempdir().unwrap();
        let key = Key::generate().unwrap();
        create(home.path(), &key).unwrap();
        let text = fs::read_to_string(home.path().join(FILE)).unwrap();
        (home, key, text)
    }

    fn open_err(home: &tempfile::TempDir, key: &Key) -> Error {
        open(home.path(), key, &KeySource::Env("KEY".into())).unwrap_err()
    }

    #[test]
    fn the_master_stays_the_same() {
        let (home, key, _) = made();
        let source = KeySource::Env("KEY".into());
        let [one, two] = [0, 1].map(|_| open(home.path(), &key, &source).unwrap().1);
        assert_eq!(one.expose(), two.expose());
        assert_ne!(one.expose(), &[0; Master::LENGTH]);
    }

    #[test]
    fn a_wrong_key_is_not_called_damage() {
        let (home, _, _) = made();
        let error = open_err(&home, &Key::generate().unwrap());
        assert_eq!(error.kind(), Kind::WrongKey);
        assert_eq!(error.mend(), Some("The variable KEY holds another key than this store was made with."));
    }

    #[test]
    fn no_altered_character_of_the_header_is_called_a_wrong_key() {
        let (home, key, text) = made();
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] ^= 1;
            fs::write(home.path().join(FILE), &altered).unwrap();
            match open(home.path(), &key, &KeySource::Env("KEY".into())) {
                // White space may change.
                Ok(_) => assert!(text.as_bytes()[at].is_ascii_whitespace(), "{at}"),
                Err(error) => {
                    assert!(matches!(error.kind(), Kind::StoreDamaged | Kind::StoreUnavailable), "{at}: {error}")
                }
            }
        }
    }

    #[test]
    fn a_missing_header_is_damage() {
        let (home, key, _) = made();
        fs::remove_file(home.path().join(FILE)).unwrap();
        let error = open_err(&home, &key);
        assert_eq!(error.kind(), Kind::StoreDamaged);
        assert!(error.message().contains("the file is missing"), "{error}");
    }

    #[test]
    fn a_newer_header_says_so_even_if_nothing_else_of_it_is_known() {
        let (home, key, _) = made();
        fs::write(home.path().join(FILE), r#"{"format": 2, "anything": []}"#).unwrap();
        let error = open_err(&home, &key);
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().contains("written by a newer Attaché"), "{error}");
    }
}
