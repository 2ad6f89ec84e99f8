//! [`Host`]: the store, the audit, the engine and the transport, opened together. The command line, and whoever embeds
//! the library, work through it.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell as AsyncOnce;
use url::Url;
use uuid::Uuid;

use crate::{
    audit::{Audit, Event, Head},
    call,
    callers::CallerKey,
    connect::find_option,
    consent::{
        self, App, Approval, Book, Connection, Consent, Elsewhere, Ending, Environment, Isolation, Kept, LEAVING,
        Leaving, SignIn, Source, Terms, Turn, Turns, Way,
    },
    digest::Digest,
    egress::{Access, Credentials, Through, Typed},
    error::{Error, Kind, Result},
    gateway::Relay,
    manifest::{AuthOption, Manifest, Operation, Values, declared},
    metrics::Metrics,
    once::Ledger,
    outbox::{EventType, Outbox, Reason},
    runtime::{Component, Library, Resting, Runtime},
    settings::Settings,
    store::{AtHand, Changes, KeySource, NewKey, Place, Rotated, Vault},
    survey::Surveys,
    sync::lock,
    traffic::Traffic,
    transport::{SystemResolver, Transport},
    underway::Underway,
    uses::Uses,
};

/// A connector that is ready to be called.
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    /// What it was made of.
    pub(crate) declared: Arc<declared::Connector>,
    /// What it is approved for.
    pub(crate) terms: Arc<Terms>,
    component: AsyncOnce<Component>,
}

/// A connection that is ready to be used: what every call of it needs and none changes.
pub(crate) struct Ready {
    pub(crate) connection: Connection,
    pub(crate) digest: Digest,
    pub(crate) isolation: Isolation,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) access: Arc<Access>,
    /// Scopes that the provider granted, where there are any.
    pub(crate) granted: Vec<String>,
    /// Why nothing that it signed in for is used any longer, where that is so.
    refused: Option<String>,
    consent: Consent,
    turn: Arc<Turn>,
    /// The store's when its records were read.
    revision: u64,
}

impl Ready {
    /// Whether it is signed in still, as far as is known before anything is sent.
    ///
    /// # Errors
    /// `reconnect-needed`, with the command that signs in again.
    pub(crate) fn signed_in(&self) -> Result<()> {
        let Some(why) = &self.refused else { return Ok(()) };
        let command = format!("`attache connection reconnect {}` signs in again.", self.connection.name);
        Err(Kind::ReconnectNeeded.error(why).hint(command))
    }

    /// Whether its connection was ended or connected anew.
    pub(crate) fn is_over(&self) -> bool {
        self.turn.is_over()
    }

    /// Whether what the provider granted is enough for an operation. Where it has no scopes, nothing is missing.
    ///
    /// # Errors
    /// `consent-needed`, with the command that asks for just what is missing.
    pub(crate) fn grants(&self, operation: &Operation) -> Result<()> {
        // Most need none, and this is on the way of every call.
        if operation.scopes.is_empty() {
            return Ok(());
        }
        let option = self.loaded.manifest.option(&self.connection.option);
        let Some(option) = option.filter(|option| option.scheme.oauth2().is_some()) else { return Ok(()) };
        let missing: Vec<&str> =
            operation.scopes.iter().filter(|scope| !self.granted.contains(scope)).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let declares = |option: &&AuthOption| {
            let scopes = option.scheme.oauth2().into_iter().flat_map(|it| &it.scopes);
            scopes.map(|scope| scope.name.to_string()).any(|name| missing.contains(&name.as_str()))
        };
        // What only another auth option asks for is not to be had by this one.
        let another = self.loaded.manifest.options.iter().find(declares).filter(|_| !declares(&option));
        let command = match another {
            Some(another) => format!("connect {} --auth {}", self.connection.connector, another.id),
            None => {
                let flags: Vec<String> = missing.iter().map(|scope| format!("--scope {scope}")).collect();
                format!("connection reconnect {} {}", self.connection.name, flags.join(" "))
            }
        };
        Err(Kind::ConsentNeeded
            .error(format!(
                "The operation `{}` needs {}, which the provider did not grant to the connection `{}`.",
                operation.id,
                missing.join(" and "),
                self.connection.name
            ))
            .hint(format!("`attache {command}` asks for it.")))
    }
}

/// Connections that are kept ready: more than are busy at a time; making one ready again costs some reads of the store.
const READY: usize = 1_024;
/// The same of caller keys, and of what callers call connections.
const AT_HAND: usize = 4_096;

/// Connections that are looked at in a row while others wait.
const SOME: usize = 100;

/// How long another process's lock is waited for: longer than any command holds it.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// One data directory, opened. It has one owner at a time; drop it before waiting for a person.
pub struct Host {
    pub(crate) vault: Arc<Vault>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) library: Library,
    pub(crate) settings: Settings,
    loaded: Mutex<HashMap<Digest, Arc<Loaded>>>,
    /// By environment and name.
    ready: Mutex<HashMap<(String, String), Arc<Ready>>>,
    /// Caller keys that were shown, by id.
    pub(crate) shown: AtHand<Uuid, Arc<CallerKey>>,
    /// By environment, and by the name or id that a caller calls it: its id and name.
    pub(crate) called: AtHand<(String, String), (Uuid, String)>,
    pub(crate) resting: Resting,
    pub(crate) turns: Turns,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) underway: Arc<Underway>,
    pub(crate) uses: Uses,
    pub(crate) ledger: Mutex<Ledger>,
    /// Until when what somebody signed in for here can be confirmed, by its code's digest and by a clock that nobody sets.
    pub(crate) confirmable: Mutex<HashMap<Digest, Instant>>,
    /// Held from the last look at what a connector is approved for, and at its apps, until what becomes of it is written. Whoever
    /// holds this one and [`Host::keeping`] took this one first.
    pub(crate) approving: Mutex<()>,
    /// Held from the last look at what a connection is, or whether there is an environment and what it has beside connectors,
    /// until what it becomes is written.
    pub(crate) keeping: Mutex<()>,
    /// Held by the one backup that is made at a time.
    pub(crate) backing_up: Mutex<()>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) metrics: Metrics,
    pub(crate) surveys: Surveys,
    /// Where providers send people back to this host, where others than this machine's browsers find it.
    pub(crate) people_return: OnceLock<Url>,
    pub(crate) relay: Arc<Relay>,
    /// Held by the one rotation that is made at a time.
    rotating: Mutex<()>,
    /// Where the key comes from, since it was rotated.
    moved_to: Mutex<Option<KeySource>>,
    runtime: OnceLock<Arc<Runtime>>,
    pub(crate) transport: OnceLock<Arc<Transport>>,
}

impl Host {
    /// Opens the data directory, and makes it (and the key file) on first use.
    ///
    /// # Errors
    /// The kinds of the store: `store-locked`, `wrong-key`, `store-damaged`, `store-unavailable`.
    pub fn open(settings: &Settings) -> Result<Self> {
        let key = settings.key_source()?;
        let data_dir = &settings.data_dir.value;
        let vault = Arc::new(Vault::open(data_dir, &key, LOCK_WAIT)?);
        let audit = Arc::new(Audit::open(data_dir, vault.subkey(b"audit"), vault.get(&anchor_place()?)?)?);
        let library = Library::open(data_dir, &vault.subkey(b"compiled code"))?;
        Ok(Self {
            outbox: Arc::new(Outbox::new(vault.clone(), audit.clone())),
            vault,
            audit,
            library,
            settings: settings.clone(),
            loaded: Mutex::default(),
            ready: Mutex::default(),
            shown: AtHand::new(AT_HAND),
            called: AtHand::new(AT_HAND),
            turns: Turns::default(),
            underway: Arc::default(),
            uses: Uses::default(),
            ledger: Mutex::default(),
            confirmable: Mutex::default(),
            approving: Mutex::default(),
            keeping: Mutex::default(),
            backing_up: Mutex::default(),
            traffic: Traffic::new(&settings.traffic.value),
            metrics: Metrics::default(),
            surveys: Surveys::default(),
            relay: Arc::default(),
            rotating: Mutex::default(),
            moved_to: Mutex::default(),
            resting: Resting::new(settings.concurrency.value as usize),
            people_return: OnceLock::new(),
            runtime: OnceLock::new(),
            transport: OnceLock::new(),
        })
    }

    /// The records of an environment.
    ///
    /// # Errors
    /// `not-found`.
    pub fn book(&self, environment: &str) -> Result<Book<'_>> {
        Book::open(&self.vault, environment)
    }

    /// Every environment.
    ///
    /// # Errors
    /// Those of the store.
    pub fn environments(&self) -> Result<Vec<Environment>> {
        Book::environments(&self.vault)
    }

    /// Makes an environment.
    ///
    /// # Errors
    /// `usage`, `already-exists`.
    pub fn create_environment(&self, name: &str) -> Result<Environment> {
        let _keeping = lock(&self.keeping);
        Book::create_environment(&self.vault, name)
    }

    /// Removes an environment that is empty.
    ///
    /// # Errors
    /// `not-found`, `denied`.
    pub fn remove_environment(&self, name: &str) -> Result<()> {
        // One of the same name that is made later is another, and opens to nobody's old key: nothing is kept here meanwhile.
        let (_approving, _keeping) = (lock(&self.approving), lock(&self.keeping));
        let (keys, gateways) = (self.key_places(name)?, self.gateways(name)?);
        let elsewhere = [keys, self.gateway_places(name)?].concat();
        self.outbox.change(|| Book::remove_environment(&self.vault, name, &elsewhere))?;
        let members = gateways.iter().flat_map(|gateway| &gateway.members);
        members.for_each(|member| self.relay.disconnect(member.identity));
        Ok(())
    }

    /// The audit's file.
    pub fn audit_path(&self) -> PathBuf {
        Audit::path(&self.settings.data_dir.value)
    }

    /// The audit's key and the last head that a finished command noted: what [`Audit::verify`] needs.
    ///
    /// # Errors
    /// Those of the store.
    pub fn audit_anchor(&self) -> Result<Option<Head>> {
        self.vault.get(&anchor_place()?)
    }

    /// Checks the audit's chain from its first line to its last.
    ///
    /// # Errors
    /// `store-damaged` with the first line that is not what was written; `store-unavailable` where it cannot be read.
    pub fn verify_audit(&self) -> Result<u64> {
        let anchor = self.audit_anchor()?;
        self.audit.sync()?;
        Audit::verify(&self.audit_path(), &self.vault.subkey(b"audit"), anchor.as_ref())
    }

    /// Makes everything written durable and notes the audit's head, so that a tail cut off later is found; and when
    /// connections were last used, for which nobody waits otherwise.
    ///
    /// # Errors
    /// `store-unavailable`.
    pub fn close(&self) -> Result<()> {
        self.audit.sync()?;
        let changes = match self.audit.head() {
            Some(head) if self.audit_anchor()?.is_none_or(|noted| noted.seq != head.seq) => {
                Changes::new().put(&anchor_place()?, &head)?
            }
            _ => Changes::new(),
        };
        self.write_with_uses(changes)
    }

    /// Seals everything anew under another key, and goes on with that.
    ///
    /// # Errors
    /// `usage` where the new key cannot be written or is the old one; `denied` while a backup is made; those of the store.
    pub fn rotate_key(&self, to: &NewKey, caller: &str) -> Result<Rotated> {
        // The next one begins with the key that this one leaves.
        let _rotating = lock(&self.rotating);
        let from = self.key_source()?;
        self.audit.write(&Event::key_rotation(from.kind(), to.source(&from).kind(), caller))?;
        self.close()?;
        let rotated = self.vault.rotate(&self.settings.data_dir.value, &from, to)?;
        *lock(&self.moved_to) = Some(to.source(&from).clone());
        Ok(rotated)
    }

    /// Where the key comes from now.
    pub(crate) fn key_source(&self) -> Result<KeySource> {
        match &*lock(&self.moved_to) {
            Some(source) => Ok(source.clone()),
            None => self.settings.key_source(),
        }
    }

    /// The engine; made when something first needs it.
    pub(crate) fn runtime(&self) -> Result<&Arc<Runtime>> {
        made_once(&self.runtime, || {
            Ok(Arc::new(Runtime::new(&self.settings.limits.value, self.settings.concurrency.value)?))
        })
    }

    /// The transport; made when something first needs it.
    pub(crate) fn transport(&self) -> Result<&Arc<Transport>> {
        made_once(&self.transport, || {
            let ca_file = self.settings.ca_file.as_ref().map(|it| it.value.clone());
            Ok(Arc::new(Transport::new(Arc::new(SystemResolver), ca_file)))
        })
    }

    /// Ends what a connection's network connections are doing, closes them, and lets its resting instances and its sign-ins
    /// go. Call it once new calls are refused; a sign-in that has left may still be under way, which what is given waits for.
    /// Whoever comes meanwhile finds the ended turn.
    pub(crate) fn close_pool(&self, connection: &Connection) -> Ending {
        // First, or a connector that sends again, since its request was cut off, would be let through once more.
        let ending = self.turns.end(connection.id);
        if let Some(transport) = self.transport.get() {
            transport.close(&connection.pool());
        }
        self.resting.forget(connection.id);
        // Its secrets are not to lie in memory until somebody names it again.
        lock(&self.ready).retain(|_, ready| ready.connection.id != connection.id);
        ending
    }

    /// The manifest of an approved connector.
    pub(crate) fn manifest(&self, approval: &Approval) -> Result<Manifest> {
        Manifest::reload(&approval.declared).map_err(|error| {
            Kind::ApprovalNeeded
                .error(format!(
                    "This version of Attaché no longer accepts the connector `{}`: {}",
                    approval.connector,
                    error.message()
                ))
                .hint("Add a newer version of it with `attache connector add FILE`.")
        })
    }

    /// A connection with everything that is needed to use it: approved, consented to, and not since changed.
    ///
    /// # Errors
    /// `not-found`, `approval-needed`, `consent-needed`, `reconnect-needed`, with the command that mends it.
    pub(crate) fn ready(&self, environment: &str, name: &str) -> Result<Arc<Ready>> {
        let revision = self.vault.revision();
        let key = (environment.to_owned(), name.to_owned());
        let kept = lock(&self.ready).get(&key).cloned();
        // A consent runs out, and what is handed out under one ends, without anybody writing anything.
        if let Some(ready) = kept
            && ready.revision == revision
            && ready.consent.is_live()
            && !ready.is_over()
        {
            return Ok(ready);
        }
        let ready = Arc::new(self.make_ready(environment, name, revision)?);
        let mut all = lock(&self.ready);
        if all.len() >= READY {
            all.clear();
        }
        // Whoever ends it from now on finds it there.
        if !ready.is_over() {
            all.insert(key, ready.clone());
        }
        Ok(ready)
    }

    /// The same where it is known which one is meant: another that took its name is not there.
    ///
    /// # Errors
    /// As for [`Host::ready`].
    pub(crate) fn ready_as(&self, environment: &str, name: &str, id: Option<Uuid>) -> Result<Arc<Ready>> {
        let ready = self.ready(environment, name);
        let Some(id) = id else { return ready };
        let is_it = match &ready {
            Ok(ready) => ready.connection.id == id,
            // What another lacks is not told either.
            Err(_) => self.book(environment)?.find_connection(name)?.is_some_and(|found| found.id == id),
        };
        if is_it { ready } else { Err(self.book(environment)?.no_connection(name)) }
    }

    /// Makes a connection ready. Where only its owner can help, that is told.
    pub(crate) fn make_ready(&self, environment: &str, name: &str, revision: u64) -> Result<Ready> {
        let book = self.book(environment)?;
        let mut connection = book.connection(name)?;
        let made = loop {
            let made = self.make_usable(&book, connection.clone(), revision);
            // It may have been connected anew between two of its records, which then do not belong together.
            let now = book.connection(name)?;
            if now.is_as_kept_with(&connection) {
                break made;
            }
            connection = now;
        };
        let about = connection.about(environment);
        let reason = match made.as_ref().map_err(Error::kind) {
            Err(Kind::ConsentNeeded) => Reason::NotAgreed,
            Err(Kind::ReconnectNeeded) => Reason::NoLongerFits,
            _ => return made,
        };
        // Whoever took the consent back knows, and was told of it otherwise.
        if book.consent(about.id)?.is_some_and(|consent| consent.revoked.is_none()) {
            let needed = about.happened(EventType::NeedsReconnect, Some(reason));
            self.outbox.commit(Changes::new(), &[needed])?;
        }
        made
    }

    fn make_usable(&self, book: &Book<'_>, connection: Connection, revision: u64) -> Result<Ready> {
        // Before the consent is looked at: one that is revoked in between ends this turn.
        let turn = self.turns.of(connection.id);
        let approval = book.find_approval(&connection.connector)?.ok_or_else(|| {
            Kind::ApprovalNeeded
                .error(format!("The connector `{}` of this connection is not approved here.", connection.connector))
                .hint("Add it with `attache connector add FILE`.")
        })?;
        let loaded = self.loaded(&approval)?;
        let consent = consent::standing(&connection, book.consent(connection.id)?)?;
        let mut credential = book.credential(connection.id)?;
        let sealed = credential.as_mut().and_then(|credential| credential.sealed.take());
        let (option, mut typed) = consent::typed(&loaded.manifest, &connection, credential)?;
        let app = connection.app.as_deref().map(|name| book.app(&connection.connector, Some(name))).transpose()?;
        let app = app.map(Arc::new);
        if let Some(app) = &app {
            app.give(option, &mut typed)?;
        }
        let relayed = self.relayed(book, &connection, &approval.declared, app.as_deref(), sealed)?;
        let (mut granted, mut refused) = (Vec::new(), None);
        let (values, credentials) = if option.scheme.is_direct() {
            (typed.clone(), Arc::new(Typed::new(typed)) as Arc<dyn Credentials>)
        } else {
            let captured = book.captured(connection.id)?.unwrap_or_default();
            let values = consent::with_captured(&option.scheme.captured(), typed.clone(), &captured)?;
            granted.clone_from(&captured.scopes);
            refused.clone_from(&captured.refused);
            let kept = Some(self.kept(book, &loaded, &connection, &consent)?);
            let elsewhere = relayed.clone().map(|it| self.signing_in(it, &consent));
            let sign_in = self.sign_in(option, app.clone(), typed, &connection, &consent, (kept, elsewhere))?;
            (values, Arc::new(sign_in) as Arc<dyn Credentials>)
        };
        let limits = self.settings.transport_limits();
        let mut access = consent::access(
            &loaded.manifest,
            option,
            &connection,
            &values,
            &consent,
            credentials,
            app.as_deref(),
            limits,
        )?;
        access.through = relayed.map(|it| Arc::new(it) as Arc<dyn Through>);
        access.stands = Some(turn.clone());
        Ok(Ready {
            turn,
            granted,
            refused,
            digest: approval.digest,
            isolation: approval.isolation,
            connection,
            access: Arc::new(access),
            loaded: loaded.clone(),
            consent,
            revision,
        })
    }

    /// Where a connection that is there keeps what it captures.
    fn kept(&self, book: &Book<'_>, loaded: &Arc<Loaded>, connection: &Connection, consent: &Consent) -> Result<Kept> {
        let (loaded, its, agreed_to) = (loaded.clone(), connection.clone(), consent.clone());
        Ok(Kept {
            vault: self.vault.clone(),
            place: book.captured_place(connection.id)?,
            leaving: Leaving::new(self.data_dir().join(LEAVING), connection.id.to_string()),
            outbox: self.outbox.clone(),
            about: connection.about(book.environment()),
            agreed: Box::new(move |values| {
                let option = find_option(&loaded.manifest, &its.option)?;
                consent::agreed(&loaded.manifest, option, &its, values, &agreed_to).map(drop)
            }),
        })
    }

    /// What signs in for a connection; it keeps what it captured there, if it is one yet.
    pub(crate) fn sign_in(
        &self,
        option: &AuthOption,
        app: Option<Arc<App>>,
        typed: Values,
        connection: &Connection,
        consent: &Consent,
        (kept, elsewhere): (Option<Kept>, Option<Arc<dyn Elsewhere>>),
    ) -> Result<SignIn> {
        let source = Source::of(option, app.clone(), connection.discovered.clone(), consent.scopes.clone());
        let source =
            source.ok_or_else(|| Kind::Internal.error("A connection that signs in by itself was asked to sign in."))?;
        // While connecting, an origin may still be one that the service names.
        let agreed = kept.is_some().then(|| consent.sign_in.iter().cloned().collect());
        let way = self.way(option, app, connection, agreed)?;
        Ok(SignIn::new(source, typed, (way, elsewhere), &self.turns, connection.id, kept))
    }

    /// The way that requests of a sign-in take; to the origins that the account's owner agreed to, once there is a consent.
    pub(crate) fn way(
        &self,
        option: &AuthOption,
        app: Option<Arc<App>>,
        connection: &Connection,
        agreed: Option<BTreeSet<String>>,
    ) -> Result<Way> {
        Ok(Way {
            agreed,
            transport: self.transport()?.clone(),
            audit: self.audit.clone(),
            private: connection.private.clone(),
            confined: false,
            limits: self.settings.transport_limits(),
            jwts: option.jwts.clone(),
            app,
        })
    }

    /// An approved connector, made ready once in a process. What it is follows from its digest, so a change of the approval
    /// is a change of the digest.
    pub(crate) fn loaded(&self, approval: &Approval) -> Result<Arc<Loaded>> {
        let mut loaded = lock(&self.loaded);
        if let Some(there) = loaded.get(&approval.digest) {
            return Ok(there.clone());
        }
        let made = Arc::new(Loaded {
            manifest: self.manifest(approval)?,
            declared: approval.declared.clone(),
            terms: approval.terms.clone(),
            component: AsyncOnce::new(),
        });
        loaded.insert(approval.digest, made.clone());
        Ok(made)
    }

    /// The component of a connector, loaded when it is first run.
    pub(crate) async fn component<'a>(&self, loaded: &'a Loaded, digest: Digest) -> Result<&'a Component> {
        loaded.component.get_or_try_init(async || self.library.load(self.runtime()?, digest).await).await
    }

    /// Renews what connections hold that were not renewed for so long: some providers end what nobody uses. Gives how many
    /// were renewed; one that cannot be is logged, and says so itself when it is called.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn keep_alive(&self, idle: Duration) -> Result<usize> {
        let mut renewed = 0;
        for environment in self.environments()?.into_iter().map(|environment| environment.name) {
            match self.keep_alive_in(&environment, idle).await {
                Ok(some) => renewed += some,
                Err(error) => tracing::error!(%environment, %error, "its connections cannot be read"),
            }
        }
        Ok(renewed)
    }

    /// The same in one environment, some connections at a time: others are served in between.
    async fn keep_alive_in(&self, environment: &str, idle: Duration) -> Result<usize> {
        let (mut renewed, mut after) = (0, String::new());
        loop {
            let some = self.book(environment)?.connections_after(&after, SOME)?;
            let Some(last) = some.last() else { return Ok(renewed) };
            after.clone_from(&last.name);
            for connection in some {
                // What never signed in holds nothing, and one without a live consent has nothing to keep.
                if !matches!(self.book(environment)?.captured(connection.id), Ok(Some(_))) {
                    continue;
                }
                let Ok(ready) = self.ready(environment, &connection.name) else { continue };
                let subject = call::subject(environment, &connection, ready.digest, "keep-alive", "host");
                match ready.access.credentials.keep_alive(idle, &subject).await {
                    Ok(done) => renewed += usize::from(done),
                    Err(error) => tracing::warn!(%environment, connection = connection.name, %error, "not kept alive"),
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.settings.data_dir.value
    }

    /// As it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Where the audit's last head is noted.
pub(crate) fn anchor_place() -> Result<Place> {
    Place::new(["audit", "head"])
}

fn made_once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

#[cfg(test)]
mod tests;
