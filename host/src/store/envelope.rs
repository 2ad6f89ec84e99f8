//! The envelope of a backup: a short header in the clear that says what opens it, and behind it a sealed stream. The stream has a
//! key of its own, which is wrapped by the key of the store that the backup was made of, or by a passphrase. The header is bound
//! to every chunk.
//!
//! ```text
//! "attache backup\n" ‖ length of the header (4) ‖ header (JSON) ‖ chunks
//! ```

use std::io::{self, ErrorKind, Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    KeySource, Vault,
    key::Key,
    master::Master,
    random,
    seal::{self, Part, Sealer},
    stream::{SealedReader, SealedWriter, StreamKey},
};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

const MAGIC: &[u8] = b"attache backup\n";

/// The format that is written.
const FORMAT: u64 = 1;

/// Headers have some 500 bytes.
const LONGEST_HEADER: u32 = 4 << 10;

/// The second recommendation of RFC 9106, section 4: 64 MiB, three passes, four lanes.
const COST: Cost = Cost { kibibytes: 64 << 10, passes: 3, lanes: 4 };

/// What a header may demand: a file must not cost whoever looks at it all memory, or hours.
const MOST: Cost = Cost { kibibytes: 1 << 20, passes: 16, lanes: 16 };

/// A passphrase is tried by whoever finds the file, as often as they like.
const SHORTEST_PASSPHRASE: usize = 12;

/// What is in the header.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Header {
    format: u64,
    opens_with: Wrapping,
    /// The stream's key, sealed.
    stream_key: String,
    /// Finds accidental damage, so that a wrong key is blamed on the key only if the header is as it was written.
    checksum: String,
}

/// What the stream's key is sealed under.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wrapping {
    /// The key-encryption key of the store that it was made of.
    Key {
        store: Uuid,
        key_check: String,
    },
    Passphrase {
        salt: String,
        cost: Cost,
    },
}

/// What Argon2id takes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Cost {
    kibibytes: u32,
    passes: u32,
    lanes: u32,
}

/// What a backup is to be opened with.
pub(crate) enum OpensWith<'a> {
    /// The key of the store that it was made of.
    Key(&'a KeySource),
    /// What was given when it was made.
    Passphrase(&'a Secret),
}

/// A backup that opened.
pub(crate) struct Opened<R> {
    /// What is in it.
    pub(crate) content: SealedReader<R>,
    /// Of the store that it was made of.
    pub(crate) master: Master,
    /// The key that opened it, if it was one.
    pub(super) key: Option<Key>,
}

impl Vault {
    /// Begins a backup: whoever restores it needs the key of this store, or the passphrase.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a passphrase that is too short; [`Kind::StoreUnavailable`] where it cannot be written.
    pub(crate) fn begin_backup<W: Write>(&self, passphrase: Option<&Secret>, mut to: W) -> Result<SealedWriter<W>> {
        let mut key: Zeroizing<StreamKey> = Zeroizing::default();
        random(&mut *key)?;
        let (opens_with, wrapping_key) = match passphrase {
            None => {
                let sealer = &self.kept().sealer;
                let (store, key_check) = (sealer.store(), sealer.key_check());
                let wrapping_key = Zeroizing::new(*sealer.key_encryption_key());
                (Wrapping::Key { store, key_check }, wrapping_key)
            }
            Some(passphrase) => {
                refuse_weak(passphrase)?;
                let mut salt = [0; 16];
                random(&mut salt)?;
                (Wrapping::Passphrase { salt: hex::encode(salt), cost: COST }, stretched(passphrase, &salt, COST)?)
            }
        };
        let mut wrapped = Vec::new();
        seal::encrypt(&wrapping_key, Part::Backup, "", &*key, &mut wrapped)?;
        let header = Header { format: FORMAT, opens_with, stream_key: hex::encode(wrapped), checksum: String::new() }
            .written()?;
        let begun = to.write_all(&header).and_then(|()| {
            let mut content = SealedWriter::new(&key, bound(&header), to);
            content.write_all(self.master().expose())?;
            Ok(content)
        });
        begun.map_err(|error| unwritten(&error))
    }
}

/// Opens a backup.
///
/// # Errors
/// [`Kind::InvalidInput`] for what is none; [`Kind::WrongKey`]; [`Kind::Usage`] where it opens with the other;
/// [`Kind::StoreDamaged`] where it is not what was written; [`Kind::StoreUnavailable`] where a newer Attaché wrote it, or it
/// cannot be read.
pub(crate) fn open<R: Read>(mut from: R, with: &OpensWith<'_>) -> Result<Opened<R>> {
    let (header, written) = read_header(&mut from)?;
    let (wrapping_key, key) = match (&header.opens_with, with) {
        (Wrapping::Key { store, key_check }, OpensWith::Key(source)) => {
            let key = source.load()?;
            let sealer = Sealer::new(&key, *store);
            if !hex::decode(key_check).is_ok_and(|expected| sealer.is_of(&expected)) {
                return Err(Kind::WrongKey
                    .error("The key is not that of the store which this backup was made of.")
                    .hint("Name the key that the store had then: --key SOURCE. `key rotate` keeps the old key file."));
            }
            (Zeroizing::new(*sealer.key_encryption_key()), Some(key))
        }
        (Wrapping::Passphrase { salt, cost }, OpensWith::Passphrase(passphrase)) => {
            cost.refuse_absurd()?;
            let salt = hex::decode(salt).map_err(|_| altered())?;
            (stretched(passphrase, &salt, *cost)?, None)
        }
        (Wrapping::Key { .. }, OpensWith::Passphrase(_)) => {
            return Err(Kind::Usage
                .error("This backup opens with the key of the store that it was made of, not with a passphrase.")
                .hint("Leave `--passphrase` out; `--key` says where the key is."));
        }
        (Wrapping::Passphrase { .. }, OpensWith::Key(_)) => {
            return Err(Kind::Usage
                .error("This backup opens with the passphrase that was given when it was made.")
                .hint("Say where it is: --passphrase env:NAME, file:PATH or prompt."));
        }
    };
    let stream_key = hex::decode(&header.stream_key)
        .ok()
        .and_then(|wrapped| seal::decrypt(&wrapping_key, Part::Backup, "", &wrapped))
        .and_then(|key| Some(Zeroizing::new(StreamKey::try_from(key.as_slice()).ok()?)));
    let Some(stream_key) = stream_key else {
        return Err(match with {
            OpensWith::Passphrase(_) => Kind::WrongKey.error("The passphrase does not open this backup."),
            // The key is the right one.
            OpensWith::Key(_) => altered(),
        });
    };
    let mut content = SealedReader::new(&stream_key, bound(&written), from);
    let mut master = Zeroizing::new([0; Master::LENGTH]);
    content.read_exact(&mut *master).map_err(|error| unread(&error))?;
    let master = Master::read(&*master).ok_or_else(altered)?;
    Ok(Opened { content, master, key })
}

/// That a backup is not what was written.
pub(crate) fn altered() -> Error {
    Kind::StoreDamaged
        .error("The backup is not what was written: it was altered, cut off or added to.")
        .hint("Use another copy of it, or another backup.")
}

/// Why a backup could not be read.
pub(crate) fn unread(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => altered(),
        _ => Kind::StoreUnavailable.error(format!("The backup cannot be read: {error}.")),
    }
}

/// Why one could not be written.
pub(crate) fn unwritten(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Kind::StoreUnavailable
            .error("The disk that the backup is written to is full, and there is no backup.")
            .hint("Free some space there, or write it elsewhere."),
        _ => Kind::StoreUnavailable.error(format!("The backup cannot be written: {error}.")),
    }
}

fn read_header(from: &mut impl Read) -> Result<(Header, Vec<u8>)> {
    let mut written = vec![0; MAGIC.len()];
    let begins = from.read_exact(&mut written);
    if begins.is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof) || written != MAGIC {
        return Err(Kind::InvalidInput.error("The file is not a backup that `attache backup` made."));
    }
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(|error| unread(&error))?;
    written.extend_from_slice(&length);
    let length = u32::from_be_bytes(length);
    if length > LONGEST_HEADER {
        return Err(altered());
    }
    let text = written.len();
    from.take(length.into()).read_to_end(&mut written).map_err(|error| unread(&error))?;
    let value: serde_json::Value = serde_json::from_slice(&written[text..]).map_err(|_| altered())?;
    if let Some(format) = value["format"].as_u64().filter(|format| *format > FORMAT) {
        return Err(Kind::StoreUnavailable
            .error(format!(
                "The backup was written by a newer Attaché: its format is {format}, this one reads up to {FORMAT}."
            ))
            .hint("Use the newer Attaché."));
    }
    let header: Header = serde_json::from_value(value).map_err(|_| altered())?;
    if header.sum()? != header.checksum {
        return Err(altered());
    }
    Ok((header, written))
}

impl Header {
    fn sum(&self) -> Result<String> {
        let fields = serde_json::to_vec(&(self.format, &self.opens_with, &self.stream_key));
        let fields = fields.map_err(|error| Kind::Internal.error(error.to_string()))?;
        Ok(hex::encode(digest::digest(&digest::SHA256, &fields)))
    }

    /// As it stands before the stream.
    fn written(mut self) -> Result<Vec<u8>> {
        self.checksum = self.sum()?;
        let text = serde_json::to_vec(&self).map_err(|error| Kind::Internal.error(error.to_string()))?;
        let length = u32::try_from(text.len()).map_err(|error| Kind::Internal.error(error.to_string()))?;
        Ok([MAGIC, &length.to_be_bytes(), &text].concat())
    }
}

impl Cost {
    fn refuse_absurd(self) -> Result<()> {
        if self.kibibytes <= MOST.kibibytes && self.passes <= MOST.passes && self.lanes <= MOST.lanes {
            return Ok(());
        }
        Err(Kind::InvalidInput
            .error("The backup demands more memory or time for its passphrase than any that is made."))
    }
}

/// The header's digest, by which all of it is bound.
fn bound(header: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, header).as_ref().to_vec()
}

fn refuse_weak(passphrase: &Secret) -> Result<()> {
    if passphrase.len() >= SHORTEST_PASSPHRASE {
        return Ok(());
    }
    Err(Kind::Usage
        .error(format!("A passphrase of less than {SHORTEST_PASSPHRASE} bytes would be found by trying."))
        .hint("Take several words that do not belong together, or what `attache key generate` prints."))
}

fn stretched(passphrase: &Secret, salt: &[u8], cost: Cost) -> Result<Zeroizing<[u8; 32]>> {
    let Cost { kibibytes, passes, lanes } = cost;
    let mut key = Zeroizing::new([0; 32]);
    Params::new(kibibytes, passes, lanes, None)
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                passphrase.expose(),
                salt,
                &mut *key,
            )
        })
        .map_err(|_| altered())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A vault, and where its key is.
    fn made(home: &std::path::Path) -> (Vault, KeySource) {
        let source = KeySource::File(home.join("key"));
        (Vault::open(&home.join("data"), &source, Duration::ZERO).unwrap(), source)
    }

    fn backup(vault: &Vault, passphrase: Option<&Secret>) -> Vec<u8> {
        let mut content = vault.begin_backup(passphrase, Vec::new()).unwrap();
        content.write_all(b"content").unwrap();
        content.finish().unwrap()
    }

    fn content(backup: &[u8], with: &OpensWith<'_>) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        open(backup, with)?.content.read_to_end(&mut content).map_err(|error| unread(&error))?;
        Ok(content)
    }

    #[test]
    fn it_opens_with_what_it_was_made_for_and_brings_the_master() {
        let home = tempfile::tempdir().unwrap();
        let (vault, source) = made(home.path());
        let words = Secret::new("several words together");
        for (passphrase, with) in [(None, OpensWith::Key(&source)), (Some(&words), OpensWith::Passphrase(&words))] {
            let backup = backup(&vault, passphrase);
            assert_eq!(content(&backup, &with).unwrap(), b"content");
            assert_eq!(open(&backup[..], &with).unwrap().master.expose(), vault.master().expose());
        }
    }

    #[test]
    fn a_wrong_key_is_told_from_damage() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((vault, source), (_, stranger)) = (made(home.path()), made(other.path()));
        let good = backup(&vault, None);
        assert_eq!(content(&good, &OpensWith::Key(&stranger)).unwrap_err().kind(), Kind::WrongKey);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let kind = content(&bad, &OpensWith::Key(&source)).unwrap_err().kind();
            let not_one = at < MAGIC.len() && kind == Kind::InvalidInput;
            assert!(not_one || matches!(kind, Kind::StoreDamaged | Kind::StoreUnavailable), "byte {at}: {kind:?}");
        }
    }

    #[test]
    fn the_header_of_one_does_not_go_with_the_content_of_another() {
        let home = tempfile::tempdir().unwrap();
        let (vault, source) = made(home.path());
        let [one, two] = [backup(&vault, None), backup(&vault, None)];
        let body = one.len() - (Master::LENGTH + b"content".len() + 16);
        let mixed = [&one[..body], &two[body..]].concat();
        assert_eq!(content(&mixed, &OpensWith::Key(&source)).unwrap_err().kind(), Kind::StoreDamaged);
    }
}
