//! Caller keys: what applications and agents show that call through HTTP or MCP. A key belongs to one environment, says what
//! may be done with it, is shown once, and is kept as a hash.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    audit::Event,
    consent::{now, proper_name},
    digest::Digest,
    error::{Error, Kind, Result},
    host::Host,
    manifest::{Effect, Effects},
    secret::Secret,
    store::{Changes, Place},
    sync::lock,
    text,
};

/// How a key begins: whoever finds one somewhere knows what it opens.
const PREFIX: &str = "attache_";
/// 256 bits.
const SECRET_BYTES: usize = 32;

/// What a key is good for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Call operations of connections, and see and check which there are
    Call,
    /// Connect accounts, by links among other ways, and see and end what they agreed to
    Connect,
    /// Everything that an operator does in the key's environment
    Administer,
}

impl Permission {
    /// As it is written on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Connect => "connect",
            Self::Administer => "administer",
        }
    }
}

/// A key, without what it is shown as.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallerKey {
    /// Names it in its own text, so that it is found without comparing all.
    pub id: Uuid,
    /// For people, unique in the environment.
    pub name: String,
    /// The only one that it opens.
    pub environment: String,
    /// What it is good for.
    pub permissions: BTreeSet<Permission>,
    /// What operations that it calls may do.
    pub effects: BTreeSet<Effect>,
    /// The connections that it reaches, by id; none for all of its environment.
    pub connections: Option<BTreeSet<Uuid>>,
    /// RFC 3339.
    pub created: String,
    /// Who made it.
    pub created_by: String,
    /// RFC 3339; none for until it is revoked.
    pub expires: Option<String>,
    /// Of its secret part, which has 256 bits of randomness: a slow hash would add nothing.
    hash: Digest,
}

impl CallerKey {
    /// Who called, in consents and the audit.
    pub fn caller(&self) -> String {
        format!("key:{}", self.name)
    }

    /// Whether it may do that.
    ///
    /// # Errors
    /// `denied`.
    pub fn permits(&self, permission: Permission) -> Result<()> {
        if self.permissions.contains(&permission) || self.permissions.contains(&Permission::Administer) {
            return Ok(());
        }
        Err(Kind::Denied
            .error(format!("This key may not {}.", permission.name()))
            .hint("`attache caller create` makes one that may."))
    }

    /// Whether it reaches a connection.
    pub fn reaches(&self, connection: Uuid) -> bool {
        self.connections.as_ref().is_none_or(|connections| connections.contains(&connection))
    }

    /// What operations that it calls may do.
    pub fn allowed(&self) -> Effects {
        self.effects.iter().copied().collect()
    }

    fn is_over(&self, now: Timestamp) -> bool {
        let until = self.expires.as_deref().map(str::parse::<Timestamp>);
        // One whose end cannot be read is over.
        until.is_some_and(|until| until.map_or(true, |until| until <= now))
    }
}

/// Whose something is that was begun: one key's alone, and not another's of the same name; or an operator's, as they are called.
pub(crate) fn holder(key: Option<Uuid>, caller: &str) -> String {
    key.map_or_else(|| caller.to_owned(), |key| key.simple().to_string())
}

/// What a key is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The environment's name.
    pub environment: String,
    /// For people.
    pub name: String,
    /// At least one.
    pub permissions: BTreeSet<Permission>,
    /// Beside `read`.
    pub effects: BTreeSet<Effect>,
    /// The connections' names; none for all.
    pub connections: Option<Vec<String>>,
    /// Until when.
    pub expires: Option<Timestamp>,
    /// Who makes it.
    pub caller: String,
}

/// A key as it is shown, once, and presented.
struct Shown {
    id: Uuid,
    secret: Secret,
}

impl Shown {
    fn text(&self) -> Secret {
        let mut text = format!("{PREFIX}{}_", self.id.simple());
        URL_SAFE_NO_PAD.encode_string(self.secret.expose(), &mut text);
        Secret::new(text)
    }
}

impl FromStr for Shown {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (id, secret) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(not_a_key)?;
        let id = Uuid::try_parse(id).map_err(|_| not_a_key())?;
        let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| not_a_key())?;
        Ok(Self { id, secret: Secret::new(secret) })
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({})", self.id)
    }
}

impl Host {
    /// Makes a key, and gives what is shown of it this once.
    ///
    /// # Errors
    /// `not-found` for an environment or connection that is not there; `already-exists`; `usage` for one that is good for nothing.
    pub fn create_key(&self, new: NewKey) -> Result<(CallerKey, Secret)> {
        // Until it is written the environment stays, and nobody makes another of this name.
        let _keeping = lock(&self.keeping);
        let book = self.book(&new.environment)?;
        proper_name(&new.name)?;
        if new.permissions.is_empty() {
            return Err(Kind::Usage
                .error("A key that may do nothing is of no use.")
                .hint("Say what it is for: call, connect or administer."));
        }
        if new.connections.is_some() && new.permissions.contains(&Permission::Administer) {
            return Err(Kind::Usage
                .error("Who administers an environment reaches all of it.")
                .hint("Leave out the connections, or the permission `administer`."));
        }
        if self.keys(&new.environment)?.iter().any(|key| key.name == new.name) {
            return Err(Kind::AlreadyExists
                .error(format!("There is a key `{}` already.", new.name))
                .hint("Choose another name, or revoke it first."));
        }
        let connections = match &new.connections {
            None => None,
            Some(names) => {
                Some(names.iter().map(|name| Ok(book.connection(name)?.id)).collect::<Result<BTreeSet<_>>>()?)
            }
        };
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| Kind::Internal.error(format!("There are no random bytes: {error}.")))?;
        let shown = Shown { id: Uuid::new_v4(), secret: Secret::new(secret.to_vec()) };
        let key = CallerKey {
            id: shown.id,
            name: new.name,
            environment: new.environment,
            permissions: new.permissions,
            effects: new.effects.into_iter().chain([Effect::Read]).collect(),
            connections,
            created: now(),
            created_by: new.caller,
            expires: new.expires.map(|until| until.to_string()),
            hash: Digest::of(shown.secret.expose()),
        };
        self.audit.write(&Event::key_created(&key.environment, &key.name, &key.created_by))?;
        self.vault.commit(Changes::new().put(&key_place(key.id)?, &key)?)?;
        Ok((key, shown.text()))
    }

    /// The keys of an environment, by name.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn keys(&self, environment: &str) -> Result<Vec<CallerKey>> {
        self.book(environment)?;
        let mut own = self.all_keys()?;
        own.retain(|key| key.environment == environment);
        own.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(own)
    }

    /// Ends a key: from now on nobody comes in with it.
    ///
    /// # Errors
    /// `not-found`.
    pub fn revoke_key(&self, environment: &str, name: &str, caller: &str) -> Result<()> {
        let key = self.keys(environment)?.into_iter().find(|key| key.name == name).ok_or_else(|| {
            Kind::NotFound
                .error(format!("There is no key `{}`.", text::foreign(name, 64)))
                .hint("`attache caller list` shows them.")
        })?;
        self.audit.write(&Event::key_revoked(environment, name, caller))?;
        self.vault.commit(Changes::new().delete(&key_place(key.id)?))
    }

    /// Where the keys of an environment are.
    pub(crate) fn key_places(&self, environment: &str) -> Result<Vec<Place>> {
        let own = self.all_keys()?.into_iter().filter(|key| key.environment == environment);
        own.map(|key| key_place(key.id)).collect()
    }

    fn all_keys(&self) -> Result<Vec<CallerKey>> {
        Ok(self.vault.list::<CallerKey>(&Place::new([FOLDER])?)?.into_iter().map(|(_, key)| key).collect())
    }

    /// Whether a key that was shown before is one still.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn key_stands(&self, id: Uuid) -> Result<bool> {
        Ok(self.kept_key(id)?.is_some_and(|key| !key.is_over(Timestamp::now())))
    }

    /// Demands that it is.
    ///
    /// # Errors
    /// `denied`, as for one that never was.
    pub(crate) fn still_a_key(&self, id: Uuid) -> Result<()> {
        if self.key_stands(id)? { Ok(()) } else { Err(not_a_key()) }
    }

    /// The key that somebody shows.
    ///
    /// # Errors
    /// `denied`, with one and the same sentence for one that never was, was revoked, or is over.
    pub fn key_shown(&self, text: &str) -> Result<Arc<CallerKey>> {
        let shown: Shown = text.parse()?;
        let key = self.kept_key(shown.id)?.ok_or_else(not_a_key)?;
        let given = Digest::of(shown.secret.expose());
        if verify_slices_are_equal(given.as_bytes(), key.hash.as_bytes()).is_err() || key.is_over(Timestamp::now()) {
            return Err(not_a_key());
        }
        Ok(key)
    }

    /// As it is kept, also where it is over.
    fn kept_key(&self, id: Uuid) -> Result<Option<Arc<CallerKey>>> {
        self.shown.find(&self.vault, id, || Ok(self.vault.get::<CallerKey>(&key_place(id)?)?.map(Arc::new)))
    }
}

const FOLDER: &str = "caller-keys";

fn key_place(id: Uuid) -> Result<Place> {
    Place::new([FOLDER, &id.simple().to_string()])
}

fn not_a_key() -> Error {
    Kind::Denied
        .error("This key opens nothing: it was revoked, is over, or never was.")
        .hint("`attache caller create` makes one; it goes into the header `Authorization: Bearer KEY`.")
}
