//! The records of one environment by name: the one place that knows where in the store each of them is.

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{App, Approval, Captured, Connection, Consent, Credential, Environment, Pending, now};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    store::{Changes, Place, Vault},
    text,
};

/// The environment that is always there.
const DEFAULT: &str = "default";

/// Where it is kept when connections were last used: apart from what calls depend on, since each changes it.
pub(crate) const LAST_USED: &str = "last-used";

/// One environment's records.
pub struct Book<'a> {
    vault: &'a Vault,
    environment: String,
}

impl<'a> Book<'a> {
    /// Opens an environment.
    ///
    /// # Errors
    /// `not-found` where there is none of that name.
    pub fn open(vault: &'a Vault, environment: &str) -> Result<Self> {
        let there = environment == DEFAULT || vault.get::<Environment>(&environment_place(environment)?)?.is_some();
        if !there {
            return Err(Kind::NotFound
                .error(format!("There is no environment `{}`.", text::foreign(environment, 64)))
                .hint(format!(
                    "`attache environment list` shows them; `attache environment create {environment}` makes one."
                )));
        }
        Ok(Self { vault, environment: environment.to_owned() })
    }

    /// Every environment, `default` first.
    pub fn environments(vault: &Vault) -> Result<Vec<Environment>> {
        let mut all = vec![Environment { name: DEFAULT.into(), created: String::new() }];
        all.extend(vault.list::<Environment>(&Place::new(["environments"])?)?.into_iter().map(|(_, it)| it));
        Ok(all)
    }

    /// Makes an environment.
    pub fn create_environment(vault: &Vault, name: &str) -> Result<Environment> {
        proper_name(name)?;
        let place = environment_place(name)?;
        if name == DEFAULT || vault.get::<Environment>(&place)?.is_some() {
            return Err(Kind::AlreadyExists.error(format!("The environment `{name}` is there already.")));
        }
        let environment = Environment { name: name.to_owned(), created: now() };
        vault.commit(Changes::new().put(&place, &environment)?)?;
        Ok(environment)
    }

    /// Removes an environment that has nothing in it, with what belongs to it elsewhere.
    pub fn remove_environment(vault: &Vault, name: &str, elsewhere: &[Place]) -> Result<()> {
        let book = Book::open(vault, name)?;
        if name == DEFAULT {
            return Err(Kind::Denied.error("The environment `default` is always there."));
        }
        let (connections, connectors) = (book.connections()?.len(), book.approvals()?.len());
        let waiting = vault.places_below(&book.place("pending", None)?)?.len();
        if waiting > 0 {
            return Err(Kind::Denied
                .error(format!("In the environment `{name}`, {waiting} sign-ins wait to be confirmed: what they brought would be left at the provider."))
                .hint("`attache serve` ends those that nobody confirms within ten minutes."));
        }
        if connections + connectors > 0 {
            return Err(Kind::Denied
                .error(format!(
                    "The environment `{name}` still has {connections} connections and {connectors} connectors."
                ))
                .hint(format!("Remove them first: `attache --environment {name} connection list`.")));
        }
        // Consents that were revoked stay as long as the environment does.
        let left = vault.places_below(&Place::new(["environment", name])?)?;
        vault.commit(
            left.iter()
                .chain(elsewhere)
                .fold(Changes::new().delete(&environment_place(name)?), |changes, place| changes.delete(place)),
        )
    }

    /// Its name.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// The approval of a connector.
    ///
    /// # Errors
    /// `not-found`.
    pub fn approval(&self, connector: &str) -> Result<Approval> {
        self.find_approval(connector)?.ok_or_else(|| {
            Kind::NotFound
                .error(format!(
                    "There is no connector `{}` in the environment `{}`.",
                    text::foreign(connector, 64),
                    self.environment
                ))
                .hint("`attache connector list` shows them; `attache connector add FILE` adds one.")
        })
    }

    /// The approval of a connector, if there is one.
    pub fn find_approval(&self, connector: &str) -> Result<Option<Approval>> {
        self.find("approval", connector)
    }

    /// All approvals, by connector.
    pub fn approvals(&self) -> Result<Vec<Approval>> {
        self.all("approval")
    }

    /// The app of a connector by its name; the only one there is where none is given.
    ///
    /// # Errors
    /// `not-found`, and `usage` where there are several and none is named.
    pub fn app(&self, connector: &str, name: Option<&str>) -> Result<App> {
        let mut apps = self.apps(connector)?;
        let names: Vec<String> = apps.iter().map(|app| app.name.clone()).collect();
        match name {
            Some(name) => apps.into_iter().find(|app| app.name == name).ok_or_else(|| {
                Kind::NotFound
                    .error(format!("The connector `{connector}` has no app `{}`.", text::foreign(name, 64)))
                    .hint("`attache app list` shows them.")
            }),
            None if apps.len() > 1 => Err(Kind::Usage
                .error(format!("The connector `{connector}` has several apps."))
                .hint(format!("Choose one with `--app`: {}.", names.join(", ")))),
            None => apps.pop().ok_or_else(|| {
                Kind::ApprovalNeeded
                    .error(format!("The connector `{connector}` signs people in through an app, and none is registered here."))
                    .hint(format!("Register one at the provider, then `attache app set {connector} --client-id ID --client-secret SOURCE`."))
            }),
        }
    }

    /// A connector's apps, by name.
    pub fn apps(&self, connector: &str) -> Result<Vec<App>> {
        let place = self.place("app", Some(connector))?;
        Ok(self.vault.list(&place)?.into_iter().map(|(_, app)| app).collect())
    }

    /// Writes an app.
    pub fn put_app(&self, app: &App) -> Result<()> {
        self.vault.commit(self.app_changes(app)?)
    }

    /// What keeps an app.
    pub(crate) fn app_changes(&self, app: &App) -> Result<Changes> {
        Changes::new().put(&self.app_place(app)?, app)
    }

    /// Removes an app with its secrets.
    pub fn remove_app(&self, app: &App) -> Result<()> {
        self.vault.commit(Changes::new().delete(&self.app_place(app)?))
    }

    fn app_place(&self, app: &App) -> Result<Place> {
        self.place("app", Some(&app.connector))?.join(&app.name)
    }

    /// The connection of a name.
    ///
    /// # Errors
    /// `not-found`.
    pub fn connection(&self, name: &str) -> Result<Connection> {
        self.find_connection(name)?.ok_or_else(|| self.no_connection(name))
    }

    /// That it is not there, or is said not to be.
    pub fn no_connection(&self, name: &str) -> Error {
        Kind::NotFound
            .error(format!(
                "There is no connection `{}` in the environment `{}`.",
                text::foreign(name, 64),
                self.environment
            ))
            .hint("`attache connection list` shows them; `attache connect CONNECTOR` makes one.")
    }

    /// The connection of a name, if there is one.
    pub fn find_connection(&self, name: &str) -> Result<Option<Connection>> {
        self.find("connection", name)
    }

    /// The connection of an id, if there is one.
    pub fn connection_of_id(&self, id: Uuid) -> Result<Option<Connection>> {
        // Its consent has its name, and is found by the id.
        let Some(consent) = self.consent(id)? else { return Ok(None) };
        Ok(self.find_connection(&consent.name)?.filter(|connection| connection.id == id))
    }

    /// All connections, by name.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        self.all("connection")
    }

    /// So many connections at most, by name, of those whose names come behind this one. No others are read.
    pub fn connections_after(&self, name: &str, most: usize) -> Result<Vec<Connection>> {
        self.vault.page(&self.place("connection", None)?, name, most)
    }

    /// The secrets of a connection; none where they were taken away by a revocation.
    pub fn credential(&self, connection: Uuid) -> Result<Option<Credential>> {
        self.vault.get(&self.place("credential", Some(&connection.to_string()))?)
    }

    /// What a connection captured when it signed in last.
    pub fn captured(&self, connection: Uuid) -> Result<Option<Captured>> {
        self.vault.get(&self.captured_place(connection)?)
    }

    /// Where that is kept.
    pub(crate) fn captured_place(&self, connection: Uuid) -> Result<Place> {
        self.place("captured", Some(&connection.to_string()))
    }

    /// When a call of a connection ended last, in seconds since 1970; none where it was not written of any.
    pub(crate) fn last_used(&self, connection: Uuid) -> Result<Option<i64>> {
        self.vault.get(&self.last_used_place(connection)?)
    }

    /// Where that is kept.
    pub(crate) fn last_used_place(&self, connection: Uuid) -> Result<Place> {
        self.place(LAST_USED, Some(&connection.to_string()))
    }

    /// The consent of a connection.
    pub fn consent(&self, connection: Uuid) -> Result<Option<Consent>> {
        self.vault.get(&self.place("consent", Some(&connection.to_string()))?)
    }

    /// Writes an approval.
    pub fn put_approval(&self, approval: &Approval) -> Result<()> {
        self.vault.commit(Changes::new().put(&self.place("approval", Some(&approval.connector))?, approval)?)
    }

    /// Removes an approval.
    pub fn remove_approval(&self, connector: &str) -> Result<()> {
        self.vault.commit(Changes::new().delete(&self.place("approval", Some(connector))?))
    }

    /// What keeps a connection with its secrets, what it captured and its consent.
    pub fn connection_changes(
        &self,
        connection: &Connection,
        credential: &Credential,
        captured: Option<&Captured>,
        consent: &Consent,
    ) -> Result<Changes> {
        let id = connection.id.to_string();
        let changes = Changes::new()
            .put(&self.place("connection", Some(&connection.name))?, connection)?
            .put(&self.place("credential", Some(&id))?, credential)?
            .put(&self.place("consent", Some(&id))?, consent)?;
        let place = self.captured_place(connection.id)?;
        Ok(match captured {
            Some(captured) => changes.put(&place, captured)?,
            None => changes.delete(&place),
        })
    }

    /// What keeps what there is of a connection in another form.
    pub(crate) fn kept_anew(
        &self,
        connection: &Connection,
        credential: Option<&Credential>,
        captured: Option<&Captured>,
        consent: &Consent,
    ) -> Result<Changes> {
        let id = connection.id.to_string();
        let mut changes = Changes::new()
            .put(&self.place("connection", Some(&connection.name))?, connection)?
            .put(&self.place("consent", Some(&id))?, consent)?;
        if let Some(credential) = credential {
            changes = changes.put(&self.place("credential", Some(&id))?, credential)?;
        }
        match captured {
            Some(captured) => changes.put(&self.captured_place(connection.id)?, captured),
            None => Ok(changes),
        }
    }

    /// Writes what is to be confirmed with this code.
    pub fn put_pending(&self, code: Digest, pending: &Pending) -> Result<()> {
        self.vault.commit(Changes::new().put(&self.pending_place(code)?, pending)?)
    }

    /// Takes what is to be confirmed with this code, where it is what whoever asks may have: from now on there is nothing more
    /// to confirm, and whoever asks at the same time gets nothing.
    pub fn take_pending(&self, code: Digest, may_be: impl FnOnce(&Pending) -> bool) -> Result<Option<Pending>> {
        self.vault.take(&self.pending_place(code)?, may_be)
    }

    /// All that waits to be confirmed, each with its code's digest.
    pub fn pending(&self) -> Result<Vec<(Digest, Pending)>> {
        let all = self.vault.list::<Pending>(&self.place("pending", None)?)?.into_iter();
        all.map(|(place, pending)| Ok((place.name().parse()?, pending))).collect()
    }

    fn pending_place(&self, code: Digest) -> Result<Place> {
        self.place("pending", Some(&code.to_string()))
    }

    /// What ends a consent: from then on no call is made under it. Its secrets stay until [`Book::forget_secrets`].
    pub fn revocation(&self, consent: &Consent) -> Result<Changes> {
        let revoked = Consent { revoked: Some(now()), ..consent.clone() };
        Changes::new().put(&self.place("consent", Some(&consent.connection.to_string()))?, &revoked)
    }

    /// Deletes what was typed and what was captured.
    pub fn forget_secrets(&self, connection: Uuid) -> Result<()> {
        self.vault.commit(
            Changes::new()
                .delete(&self.place("credential", Some(&connection.to_string()))?)
                .delete(&self.captured_place(connection)?),
        )
    }

    /// Removes a connection with everything that is kept of it.
    pub fn remove_connection(&self, connection: &Connection) -> Result<()> {
        let id = connection.id.to_string();
        self.vault.commit(
            Changes::new()
                .delete(&self.place("connection", Some(&connection.name))?)
                .delete(&self.place("credential", Some(&id))?)
                .delete(&self.captured_place(connection.id)?)
                .delete(&self.place("consent", Some(&id))?)
                .delete(&self.last_used_place(connection.id)?)
                .delete(&connection.about(&self.environment).told_place()?),
        )
    }

    fn find<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<T>> {
        // A name that could not have been given cannot be there.
        match proper_name(name) {
            Ok(()) => self.vault.get(&self.place(kind, Some(name))?),
            Err(_) => Ok(None),
        }
    }

    fn all<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        Ok(self.vault.list(&self.place(kind, None)?)?.into_iter().map(|(_, record)| record).collect())
    }

    fn place(&self, kind: &str, name: Option<&str>) -> Result<Place> {
        Place::new(["environment", self.environment.as_str(), kind].into_iter().chain(name))
    }
}

fn environment_place(name: &str) -> Result<Place> {
    Place::new(["environments", name])
}

/// A name that a person chooses for a connection or an environment.
///
/// # Errors
/// `usage` with what a name may be.
pub fn proper_name(name: &str) -> Result<()> {
    let good = !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(Kind::Usage.error(format!(
        "`{}` is not a name: it has letters, digits, `.`, `_` and `-`, begins with a letter or digit, and is no longer than 64.",
        text::foreign(name, 64)
    )))
}
