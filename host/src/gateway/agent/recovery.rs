//! The recovery key: what opens a gateway's boxes, to be kept apart from its machine. With it another machine stands in for one
//! that is lost, or beside one that is not, and no connection has to be made again.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    super::{
        SealingKey,
        key::{KEY_BYTES, OpeningKey},
    },
    files::Folder,
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    secret::Secret,
};

/// Whoever finds one somewhere knows what it opens.
const PREFIX: &str = "attache_recovery_";

/// Writes the recovery key of the gateway on this machine into a new file, for its owner alone. Gives the fingerprint.
///
/// # Errors
/// `not-found` where no gateway joined from here; `already-exists` for a file that is there; `store-unavailable`.
pub fn write_recovery_key(data_dir: &Path, to: &PathBuf) -> Result<Digest> {
    let membership = Folder::of(data_dir)?.joined()?;
    let opening = &membership.keys.opening;
    let bytes = Secret::new([opening.private().expose(), opening.public().bytes()].concat());
    let mut text = PREFIX.to_owned();
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes.expose(), &mut text);
    text.push('\n');
    let text = Secret::new(text);
    let unwritten = |error: std::io::Error| -> Error {
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => Kind::AlreadyExists
                .error(format!("There is a file {} already, which is not written over.", to.display())),
            _ => Kind::StoreUnavailable.error(format!("The file {} cannot be written: {error}.", to.display())),
        }
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unwritten)?;
    file.write_all(text.expose()).and_then(|()| file.sync_all()).map_err(unwritten)?;
    Ok(opening.public().fingerprint())
}

/// Reads one.
///
/// # Errors
/// `invalid-input`; what was read is not repeated.
pub(super) fn read(text: &Secret) -> Result<OpeningKey> {
    let text = std::str::from_utf8(text.expose()).unwrap_or_default().trim();
    let bytes = text.strip_prefix(PREFIX).and_then(|rest| BASE64_URL_SAFE_NO_PAD.decode(rest).ok());
    let bytes = Secret::new(bytes.unwrap_or_default());
    let halves = bytes.expose().split_first_chunk::<KEY_BYTES>();
    let key = halves.and_then(|(private, public)| {
        let public = SealingKey::of_bytes(public.try_into().ok()?);
        OpeningKey::recovered(&Secret::new(private.to_vec()), public)
    });
    key.ok_or_else(|| {
        Kind::InvalidInput
            .error("That is not a recovery key that `attache gateway recovery-key` writes.")
            .hint("Give all of the file; what is in it begins with `attache_recovery_`.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recovery_key_is_not_taken_for_one() {
        let (one, other) = (OpeningKey::generate().unwrap(), OpeningKey::generate().unwrap());
        let written = |private: &OpeningKey, public: &OpeningKey| {
            let bytes = [private.private().expose(), public.public().bytes()].concat();
            Secret::new(format!("{PREFIX}{}\n", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
        };
        assert_eq!(read(&written(&one, &one)).unwrap().public(), one.public());
        assert!(read(&written(&one, &other)).is_err(), "its halves do not belong together");
        for wrong in ["", PREFIX, "attache_recovery_AAAA"] {
            assert!(read(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }
}
