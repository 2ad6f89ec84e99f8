//! What a gateway keeps: its keys, and the host that it joined; one file, whole or not there, for its owner alone.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::{Zeroize, Zeroizing};

use super::super::{
    Identity, SealingKey,
    key::{KEY_BYTES, OpeningKey},
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    secret::Secret,
    store::{dir, refuse_shared, unfinished},
};

/// In the data directory.
const FOLDER: &str = "gateway";
const FILE: &str = "gateway.key";
const VERSION: u32 = 1;

/// A gateway's own folder.
pub(super) struct Folder(PathBuf);

/// A gateway that joined a host.
pub(super) struct Membership {
    /// Where the host is.
    pub(super) host: Url,
    /// Whom it expects there.
    pub(super) host_key: Digest,
    /// What it is called there.
    pub(super) name: String,
    /// And the environment that it is in.
    pub(super) environment: String,
    pub(super) keys: Keys,
}

/// What nobody else has.
pub(super) struct Keys {
    /// Of the Ed25519 key pair.
    seed: Secret,
    pub(super) opening: OpeningKey,
    /// What takes its place once the host goes by it.
    pub(super) next: Option<OpeningKey>,
    /// What its audit is chained with.
    pub(super) audit: Secret,
}

impl Keys {
    /// New ones, but for the key that opens boxes where that is another machine's too.
    pub(super) fn generate(opening: Option<OpeningKey>) -> Result<Self> {
        let random = || -> Result<Secret> {
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            getrandom::fill(&mut *bytes)
                .map_err(|error| Kind::Internal.error(format!("There are no random bytes: {error}.")))?;
            Ok(Secret::new(bytes.to_vec()))
        };
        let opening = opening.map_or_else(OpeningKey::generate, Ok)?;
        Ok(Self { seed: random()?, opening, next: None, audit: random()? })
    }

    /// The host goes by the next one: the old one is forgotten.
    pub(super) fn promote(&mut self) {
        if let Some(next) = self.next.take() {
            self.opening = next;
        }
    }

    pub(super) fn identity(&self) -> Result<Identity> {
        Identity::of_seed(&self.seed)
    }
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    version: u32,
    host: Url,
    host_key: Digest,
    name: String,
    environment: String,
    identity_seed: String,
    opening_key: String,
    sealing_key: SealingKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
    audit_key: String,
}

/// Another key, while nobody knows yet which of both the host goes by.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Next {
    opening_key: String,
    sealing_key: SealingKey,
}

impl Drop for Next {
    fn drop(&mut self) {
        self.opening_key.zeroize();
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        for secret in [&mut self.identity_seed, &mut self.opening_key, &mut self.audit_key] {
            secret.zeroize();
        }
    }
}

impl Folder {
    /// Below a data directory; made where it is not there.
    pub(super) fn of(data_dir: &Path) -> Result<Self> {
        let folder = data_dir.join(FOLDER);
        dir::create_private(&folder)?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The one that joined, if one did.
    pub(super) fn read(&self) -> Result<Option<Membership>> {
        let path = self.0.join(FILE);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, &error)),
        };
        refuse_shared(&path, &file)?;
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(|error| unusable(&path, &error))?;
        let written: Written = serde_json::from_str(&text).map_err(|_| damaged(&path))?;
        if written.version != VERSION {
            return Err(damaged(&path));
        }
        let secret = |text: &str| BASE64_STANDARD.decode(text).map(Secret::new).map_err(|_| damaged(&path));
        Ok(Some(Membership {
            host: written.host.clone(),
            host_key: written.host_key,
            name: written.name.clone(),
            environment: written.environment.clone(),
            keys: Keys {
                seed: secret(&written.identity_seed)?,
                opening: OpeningKey::of(&secret(&written.opening_key)?, written.sealing_key.clone()),
                next: match &written.next {
                    Some(next) => Some(OpeningKey::of(&secret(&next.opening_key)?, next.sealing_key.clone())),
                    None => None,
                },
                audit: secret(&written.audit_key)?,
            },
        }))
    }

    /// The one that joined.
    ///
    /// # Errors
    /// `not-found`, with what lets one join.
    pub(super) fn joined(&self) -> Result<Membership> {
        self.read()?.filter(|it| !it.name.is_empty()).ok_or_else(|| {
            Kind::NotFound.error("No gateway joined from here.").hint(
                "`attache gateway enroll NAME` on the host gives a code, with which `attache gateway join` lets it in.",
            )
        })
    }

    /// Keeps it, in place of what was kept before: one or the other, whole.
    pub(super) fn write(&self, membership: &Membership) -> Result<()> {
        let path = self.0.join(FILE);
        let shown = |secret: &Secret| BASE64_STANDARD.encode(secret.expose());
        let Membership { host, host_key, name, environment, keys } = membership;
        let written = Written {
            version: VERSION,
            host: host.clone(),
            host_key: *host_key,
            name: name.clone(),
            environment: environment.clone(),
            identity_seed: shown(&keys.seed),
            opening_key: shown(&keys.opening.private()),
            sealing_key: keys.opening.public().clone(),
            next: keys
                .next
                .as_ref()
                .map(|next| Next { opening_key: shown(&next.private()), sealing_key: next.public().clone() }),
            audit_key: shown(&keys.audit),
        };
        let text = serde_json::to_vec_pretty(&written).map(Zeroizing::new);
        let text = text.map_err(|_| Kind::Internal.error("The gateway's keys cannot be written."))?;
        replace(&path, &text)
    }

    /// Takes away what was kept of one whose joining came to nothing.
    pub(super) fn forget(&self) -> Result<()> {
        let path = self.0.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(&path, &error)),
            _ => dir::sync(&self.0),
        }
    }
}

/// Writes a file of the gateway's folder in place of what it was: one or the other, whole, and for its owner alone.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let written = unfinished::begin_in(folder).and_then(|mut file| {
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    });
    written.map_err(|error| unusable(path, &error))?;
    dir::sync(folder)
}

pub(super) fn unusable(path: &Path, error: &io::Error) -> Error {
    Kind::StoreUnavailable.error(format!("The file {} cannot be used: {error}.", path.display()))
}

fn damaged(path: &Path) -> Error {
    Kind::StoreDamaged
        .error(format!("The file {} is not what a gateway of this version keeps.", path.display()))
        .hint("Use the version that wrote it, or move it away and join again with a new code.")
}
