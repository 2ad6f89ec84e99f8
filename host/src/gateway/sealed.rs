//! A credential in a box: what was typed, sealed to a gateway's key (HPKE, RFC 9180) and bound to the terms that it was typed
//! for. The terms travel beside the box in clear; opened under others, it is refused as a whole. They are all that the gateway
//! goes by: where the credential is placed and to whom it goes is what was sealed, never what the host says later.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;
use uuid::Uuid;

use super::key::{OpeningKey, SealingKey};
use crate::{
    consent::{
        self, App, Discovered, SealedBox, SealedText,
        app::{SecretAuth, is_client_id},
        oauth2::Registry,
    },
    digest::Digest,
    error::{Error, Kind, Result},
    manifest::{AuthOption, Values, audience::OriginPattern, declared},
    origin::Origin,
    secret::Secret,
    text,
};

/// What a box is for, and in which form: another is another protocol's.
const INFO: &[u8] = b"attache gateway box 1";
/// The same for what an app has, and for what a gateway keeps with the host.
const INFO_APP: &[u8] = b"attache gateway app 1";
const INFO_KEPT: &[u8] = b"attache gateway kept 1";
const VERSION: u32 = 1;

/// What a box is bound to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Terms {
    version: u32,
    /// The environment's name.
    pub environment: String,
    /// The gateway's name.
    pub gateway: String,
    /// The connection's id.
    pub connection: Uuid,
    /// How often the connection was made, this time included.
    pub generation: u64,
    /// The connector's name.
    pub connector: String,
    /// The auth option word for word: where the credential is placed, with what is signed.
    pub option: declared::AuthOption,
    /// What was typed and is no secret.
    pub parameters: BTreeMap<String, String>,
    /// The origins that the credential may go to.
    pub audience: Vec<String>,
    /// The operator's app that it signs in through, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<NamedApp>,
    /// What the provider said of itself when this was agreed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovered: Option<Discovered>,
    /// The origins that it signs in at, as far as they were known then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sign_in: Vec<String>,
}

/// An app, as the terms of a connection name it. Its secrets may be replaced; with another client it is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamedApp {
    /// Its name.
    pub name: String,
    /// RFC 6749, 2.2.
    pub client_id: String,
}

/// What a connection is to be, before anything is sealed for it.
pub(crate) struct Wanted<'a> {
    pub(crate) environment: &'a str,
    pub(crate) gateway: &'a str,
    pub(crate) connection: Uuid,
    pub(crate) generation: u64,
    pub(crate) connector: &'a str,
    pub(crate) option: &'a declared::AuthOption,
    pub(crate) parameters: &'a BTreeMap<String, String>,
    pub(crate) audience: &'a [OriginPattern],
    pub(crate) app: Option<&'a App>,
    pub(crate) discovered: &'a Discovered,
    pub(crate) sign_in: &'a [Origin],
}

impl From<Wanted<'_>> for Terms {
    fn from(wanted: Wanted<'_>) -> Self {
        Self {
            version: VERSION,
            environment: wanted.environment.to_owned(),
            gateway: wanted.gateway.to_owned(),
            connection: wanted.connection,
            generation: wanted.generation,
            connector: wanted.connector.to_owned(),
            option: wanted.option.clone(),
            parameters: wanted.parameters.clone(),
            audience: written(wanted.audience),
            app: wanted.app.map(|app| NamedApp { name: app.name.clone(), client_id: app.client_id.clone() }),
            discovered: Some(wanted.discovered.clone()).filter(|it| *it != Discovered::default()),
            sign_in: wanted.sign_in.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What terms come to with what was typed.
#[derive(Debug)]
pub(crate) struct Meant {
    pub(crate) option: AuthOption,
    pub(crate) values: Values,
    pub(crate) audience: Vec<OriginPattern>,
}

impl Terms {
    /// As it is bound: just these bytes, from whoever proposes them to whoever opens the box.
    ///
    /// # Errors
    /// `internal`.
    pub fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Kind::Internal.error(format!("Terms cannot be written: {error}.")))
    }

    /// Reads them.
    ///
    /// # Errors
    /// `denied` where they are of another version, or none.
    pub fn parse(text: &str) -> Result<Self> {
        let terms: Self = serde_json::from_str(text).map_err(|_| unknown())?;
        if terms.version == VERSION { Ok(terms) } else { Err(unknown()) }
    }

    /// Finds out what they come to.
    ///
    /// # Errors
    /// `invalid-input` where what was typed does not fit them; `denied` where they name another audience than the auth option
    /// makes of it.
    pub(crate) fn mean(&self, secrets: BTreeMap<String, Secret>) -> Result<Meant> {
        let option = AuthOption::check(&self.option)?;
        let values = Values::new(&option, self.parameters.clone(), secrets)?;
        let audience = consent::audience(&option, &values)?;
        if written(&audience) != self.audience {
            return Err(Kind::Denied.error(format!(
                "The terms say that the credential goes to {}, and their auth option says {}.",
                self.audience.join(", "),
                written(&audience).join(", ")
            )));
        }
        Ok(Meant { option, values, audience })
    }
}

/// An app in a box: whose secrets they are, and what they are for. The connections that it may sign in for are those of these
/// auth options, word for word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AppTerms {
    version: u32,
    /// The environment's name.
    pub environment: String,
    /// The gateway's name.
    pub gateway: String,
    /// The connector's name.
    pub connector: String,
    /// The app's name, and how the provider knows it.
    pub app: NamedApp,
    /// Which of its keys the provider knows.
    pub key_id: Option<String>,
    /// How it proves that it has its client secret, where the operator says so.
    pub client_auth: Option<SecretAuth>,
    /// Where its secrets may go.
    pub origins: BTreeSet<Origin>,
    /// What of it is no secret.
    pub parameters: BTreeMap<String, String>,
    /// What may be signed in for.
    pub options: Vec<declared::AuthOption>,
    /// Where the gateway registered it by itself (RFC 7591).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<Url>,
    /// When its client secret runs out, as [`App`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_expires: Option<i64>,
}

impl AppTerms {
    /// Of an app that is to be sealed to a gateway.
    pub(crate) fn of(app: &App, environment: &str, gateway: &str, declared: &declared::Connector) -> Self {
        let needs_app = |option: &&declared::AuthOption| AuthOption::check(option).is_ok_and(|it| it.needs_app());
        Self::with_options(app, environment, gateway, declared.auth.iter().filter(needs_app).cloned().collect())
    }

    /// Of an app that a gateway registered by itself, for the one auth option that says where.
    pub(super) fn registered(app: &App, terms: &Terms) -> Self {
        let own = Self::with_options(app, &terms.environment, &terms.gateway, vec![terms.option.clone()]);
        Self { registered_at: app.registered_at.clone(), secret_expires: app.secret_expires, ..own }
    }

    fn with_options(app: &App, environment: &str, gateway: &str, options: Vec<declared::AuthOption>) -> Self {
        Self {
            version: VERSION,
            environment: environment.to_owned(),
            gateway: gateway.to_owned(),
            connector: app.connector.clone(),
            app: NamedApp { name: app.name.clone(), client_id: app.client_id.clone() },
            key_id: app.key_id.clone(),
            client_auth: app.client_auth,
            origins: app.origins.clone(),
            parameters: app.parameters.clone(),
            options,
            registered_at: None,
            secret_expires: None,
        }
    }

    /// The app that a gateway says it registered; its secrets are in the box.
    ///
    /// # Errors
    /// `denied` where that is another app than it was told to register: one for something else, or with another provider.
    pub(crate) fn accept(self, wanted: &Terms, name: &str, registry: &Registry) -> Result<App> {
        let is_it = self.environment == wanted.environment
            && self.gateway == wanted.gateway
            && self.connector == wanted.connector
            && self.app.name == name
            && self.options == [wanted.option.clone()]
            && self.origins == registry.origins
            && self.registered_at.as_ref() == Some(&registry.endpoint)
            && (&self.key_id, self.parameters.is_empty()) == (&None, true)
            && is_client_id(&self.app.client_id);
        match is_it {
            true => Ok(self.with(BTreeMap::new())),
            false => Err(Kind::Denied.error("The gateway registered another app than it was told to.")),
        }
    }

    /// As it is bound.
    ///
    /// # Errors
    /// `internal`.
    pub fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Kind::Internal.error(format!("Terms cannot be written: {error}.")))
    }

    /// Reads them.
    ///
    /// # Errors
    /// `denied` where they are of another version, or none.
    pub fn parse(text: &str) -> Result<Self> {
        let terms: Self = serde_json::from_str(text).map_err(|_| unknown())?;
        if terms.version == VERSION { Ok(terms) } else { Err(unknown()) }
    }

    /// Whether a connection of these terms may sign in with it.
    ///
    /// # Errors
    /// `denied` where it is another's.
    pub(super) fn permit(&self, terms: &Terms) -> Result<()> {
        let is_theirs = self.environment == terms.environment
            && self.gateway == terms.gateway
            && self.connector == terms.connector
            && terms.app.as_ref() == Some(&self.app);
        if !is_theirs {
            return Err(Kind::Denied.error("The host names an app that the connection was not made with."));
        }
        if self.options.contains(&terms.option) {
            return Ok(());
        }
        Err(Kind::Denied
            .error(format!(
                "The app `{}` was sealed for what its connector said of its auth options then, which has changed.",
                text::foreign(&self.app.name, 64)
            ))
            .hint(format!(
                "Whoever registered it seals it anew: `attache app set {} --name {} --gateway {}`, with its secrets.",
                text::foreign(&self.connector, 64),
                text::foreign(&self.app.name, 64),
                text::foreign(&self.gateway, 64)
            )))
    }

    fn with(self, secrets: BTreeMap<String, Secret>) -> App {
        App {
            connector: self.connector,
            name: self.app.name,
            client_id: self.app.client_id,
            key_id: self.key_id,
            client_auth: self.client_auth,
            origins: self.origins,
            redirect_uri: None,
            parameters: self.parameters,
            secrets,
            registered_at: self.registered_at,
            secret_expires: self.secret_expires,
            gateway: None,
            sealed: None,
            created: String::new(),
        }
    }
}

fn unknown() -> Error {
    Kind::Denied
        .error("The terms of a sealed credential are not understood.")
        .hint("Run the same version of Attaché at both ends, or connect again.")
}

fn written(audience: &[OriginPattern]) -> Vec<String> {
    audience.iter().map(ToString::to_string).collect()
}

/// What is in a box.
#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(with = "crate::secret::in_sealed_record")]
    secrets: BTreeMap<String, Secret>,
}

/// Seals what was typed, bound to the text of the terms.
///
/// # Errors
/// `internal`.
pub(crate) fn seal(terms: &str, secrets: BTreeMap<String, Secret>, key: &SealingKey) -> Result<SealedBox> {
    Ok(SealedBox::of(terms, seal_text(INFO, terms.as_bytes(), &Content { secrets }, key)?))
}

/// The same for the secrets of an app, bound to the text of its terms.
///
/// # Errors
/// `internal`.
pub(crate) fn seal_app(terms: &str, secrets: BTreeMap<String, Secret>, key: &SealingKey) -> Result<SealedBox> {
    Ok(SealedBox::of(terms, seal_text(INFO_APP, terms.as_bytes(), &Content { secrets }, key)?))
}

/// What a gateway keeps with the host: each is for one purpose, and for one connection under the very terms that it was got for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// What was captured.
    Captured,
    /// What ties a person who comes back to whoever was sent.
    Trip,
    /// A device code.
    Device,
}

impl Purpose {
    fn bound_to(self, terms: &str) -> Vec<u8> {
        let name = match self {
            Self::Captured => "captured",
            Self::Trip => "trip",
            Self::Device => "device",
        };
        format!("{name}\n{}", Digest::of(terms.as_bytes())).into_bytes()
    }
}

/// Seals something that the gateway itself will open again.
///
/// # Errors
/// `internal`.
pub(super) fn keep(purpose: Purpose, terms: &str, content: &impl Serialize, key: &SealingKey) -> Result<SealedText> {
    seal_text(INFO_KEPT, &purpose.bound_to(terms), content, key)
}

/// Opens what was kept so.
///
/// # Errors
/// `reconnect-needed` where it was kept for something else, or by another.
pub(super) fn kept<T: DeserializeOwned>(
    purpose: Purpose,
    terms: &str,
    sealed: &SealedText,
    key: &OpeningKey,
) -> Result<T> {
    let opened = open_text(INFO_KEPT, &purpose.bound_to(terms), sealed, key).ok_or_else(|| {
        Kind::ReconnectNeeded
            .error("The gateway cannot open what it signed in for: that was another gateway, or under other terms.")
            .hint("`attache connection reconnect NAME` signs in again.")
    })?;
    serde_json::from_slice(opened.expose()).map_err(|_| unknown())
}

/// Something that is sealed to a gateway, with what it takes to open it beside the key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Sealed {
    what: What,
    /// What it is bound to.
    terms: String,
    pub(super) text: SealedText,
}

/// See [`Sealed`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Connection,
    App,
    Captured,
}

impl Sealed {
    pub(super) fn of_connection(sealed: &SealedBox) -> Self {
        Self::of(What::Connection, &sealed.terms, sealed.text())
    }

    pub(super) fn of_app(sealed: &SealedBox) -> Self {
        Self::of(What::App, &sealed.terms, sealed.text())
    }

    /// What was captured for the connection of these terms.
    pub(super) fn of_captured(text: &SealedText, terms: &str) -> Self {
        Self::of(What::Captured, terms, text.clone())
    }

    fn of(what: What, terms: &str, text: SealedText) -> Self {
        Self { what, terms: terms.to_owned(), text }
    }

    /// Tells it from every other.
    pub(super) fn digest(&self) -> Result<Digest> {
        let text = serde_json::to_vec(self).map_err(|_| Kind::Internal.error("What is sealed cannot be written."))?;
        Ok(Digest::of(&text))
    }
}

/// Seals something to another key, bound to the very same; none where the old one does not open it.
pub(super) fn reseal(sealed: &Sealed, old: &OpeningKey, new: &SealingKey) -> Option<Sealed> {
    let Sealed { what, terms, text } = sealed;
    let (info, bound_to) = match what {
        What::Connection => (INFO, terms.clone().into_bytes()),
        What::App => (INFO_APP, terms.clone().into_bytes()),
        What::Captured => (INFO_KEPT, Purpose::Captured.bound_to(terms)),
    };
    let opened = open_text(info, &bound_to, text, old)?;
    Some(Sealed::of(*what, terms, seal_bytes(info, &bound_to, &opened, new).ok()?))
}

fn seal_text(info: &[u8], bound_to: &[u8], content: &impl Serialize, key: &SealingKey) -> Result<SealedText> {
    let content = serde_json::to_vec(content).map(Secret::new);
    let content = content.map_err(|_| Kind::Internal.error("What is to be sealed cannot be written."))?;
    seal_bytes(info, bound_to, &content, key)
}

fn seal_bytes(info: &[u8], bound_to: &[u8], content: &Secret, key: &SealingKey) -> Result<SealedText> {
    let (encapsulated, sealed) = key.seal(info, bound_to, content.expose())?;
    Ok(SealedText { encapsulated: BASE64_STANDARD.encode(encapsulated), sealed: BASE64_STANDARD.encode(sealed) })
}

fn open_text(info: &[u8], bound_to: &[u8], sealed: &SealedText, key: &OpeningKey) -> Option<Secret> {
    let decoded = |text: &str| BASE64_STANDARD.decode(text).ok();
    let (encapsulated, content) = decoded(&sealed.encapsulated).zip(decoded(&sealed.sealed))?;
    let opened = key.open(info, bound_to, &encapsulated, &content)?;
    Some(Secret::new(opened.as_slice()))
}

/// Opens the box of an app.
///
/// # Errors
/// `approval-needed` where it was sealed to another key or under other terms.
pub(super) fn open_app(sealed: &SealedBox, key: &OpeningKey) -> Result<(AppTerms, App)> {
    let opened = open_text(INFO_APP, sealed.terms.as_bytes(), &sealed.text(), key).ok_or_else(|| {
        Kind::ApprovalNeeded
            .error("The gateway cannot open the app's secrets: they were sealed to another key, or under other terms.")
            .hint("`attache app set CONNECTOR --gateway NAME` with its secrets seals them anew.")
    })?;
    let Content { secrets } = serde_json::from_slice(opened.expose()).map_err(|_| unknown())?;
    let terms = AppTerms::parse(&sealed.terms)?;
    Ok((terms.clone(), terms.with(secrets)))
}

/// Opens a box: the terms, and what they come to.
///
/// # Errors
/// `reconnect-needed` where it was sealed to another key or under other terms; as for [`Terms::mean`].
pub(super) fn open(sealed: &SealedBox, key: &OpeningKey) -> Result<(Terms, Meant)> {
    let opened = open_text(INFO, sealed.terms.as_bytes(), &sealed.text(), key).ok_or_else(|| {
        Kind::ReconnectNeeded
            .error("The gateway cannot open the credential: it was sealed to another key, or under other terms.")
            .hint("`attache connection reconnect NAME` seals it anew.")
    })?;
    let Content { secrets } = serde_json::from_slice(opened.expose()).map_err(|_| unknown())?;
    let terms = Terms::parse(&sealed.terms)?;
    let meant = terms.mean(secrets)?;
    Ok((terms, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option() -> declared::AuthOption {
        declared::AuthOption {
            id: "key".into(),
            title: "A key".into(),
            parameters: [("base", declared::ValueKind::Url), ("key", declared::ValueKind::Secret)]
                .map(|(name, kind)| declared::Parameter {
                    name: name.into(),
                    title: name.into(),
                    kind,
                    settings: Vec::new(),
                })
                .to_vec(),
            scheme: declared::Scheme::Direct,
            jwts: Vec::new(),
            attach: vec![declared::Attachment::Header("X-Key".into(), "{key}".into())],
            audience: vec!["{base}".into()],
        }
    }

    fn terms() -> Terms {
        Terms {
            version: VERSION,
            environment: "default".into(),
            gateway: "plant".into(),
            connection: Uuid::nil(),
            generation: 1,
            connector: "echo".into(),
            option: option(),
            parameters: [("base".to_owned(), "https://a.example/x".to_owned())].into(),
            audience: vec!["https://a.example".into()],
            app: None,
            discovered: None,
            sign_in: Vec::new(),
        }
    }

    fn secrets() -> BTreeMap<String, Secret> {
        [("key".to_owned(), Secret::new("hunter2-hunter2"))].into()
    }

    fn sealed(terms: &Terms, key: &OpeningKey) -> SealedBox {
        seal(&terms.text().unwrap(), secrets(), key.public()).unwrap()
    }

    #[test]
    fn a_box_opens_to_what_was_typed_and_what_it_is_for() {
        let key = OpeningKey::generate().unwrap();
        let (opened, meant) = open(&sealed(&terms(), &key), &key).unwrap();
        assert_eq!(opened, terms());
        assert_eq!(meant.values.secret()["key"].expose(), b"hunter2-hunter2");
        assert_eq!(written(&meant.audience), ["https://a.example"]);
        assert!(!serde_json::to_string(&sealed(&terms(), &key)).unwrap().contains("hunter2"));
    }

    #[test]
    fn nobody_changes_a_word_of_the_terms() {
        let key = OpeningKey::generate().unwrap();
        let changes: [fn(&mut Terms); 8] = [
            |it| it.environment = "other".into(),
            |it| it.gateway = "other".into(),
            |it| it.connection = Uuid::max(),
            |it| it.generation = 2,
            |it| it.connector = "other".into(),
            |it| it.option.attach = vec![declared::Attachment::Query("key".into(), "{key}".into())],
            |it| it.parameters = [("base".to_owned(), "https://evil.example".to_owned())].into(),
            |it| it.audience = vec!["https://evil.example".into()],
        ];
        for change in changes {
            let mut other = terms();
            change(&mut other);
            let aimed = SealedBox { terms: other.text().unwrap(), ..sealed(&terms(), &key) };
            let error = open(&aimed, &key).unwrap_err();
            assert_eq!(error.kind(), Kind::ReconnectNeeded, "{other:?}");
        }
        let spaced = SealedBox { terms: format!("{} ", terms().text().unwrap()), ..sealed(&terms(), &key) };
        assert!(open(&spaced, &key).is_err(), "not even in how they are written");
    }

    #[test]
    fn terms_that_contradict_themselves_are_refused_though_they_were_sealed() {
        let key = OpeningKey::generate().unwrap();
        let wider = Terms { audience: vec!["https://a.example".into(), "https://evil.example".into()], ..terms() };
        assert_eq!(open(&sealed(&wider, &key), &key).unwrap_err().kind(), Kind::Denied);
        let mut reading = terms();
        reading.option.attach = vec![declared::Attachment::Other("elsewhere".into(), "{key}".into())];
        assert!(open(&sealed(&reading, &key), &key).is_err());
        let newer = Terms { version: 2, ..terms() };
        assert!(open(&sealed(&newer, &key), &key).unwrap_err().message().contains("not understood"));
    }

    #[test]
    fn what_is_not_a_box_is_not_opened() {
        let key = OpeningKey::generate().unwrap();
        let good = sealed(&terms(), &key);
        for encapsulated in ["", "AAAA", "?", good.sealed.as_str()] {
            assert!(
                open(&SealedBox { encapsulated: encapsulated.into(), ..good.clone() }, &key).is_err(),
                "{encapsulated}"
            );
        }
        assert!(open(&good, &OpeningKey::generate().unwrap()).is_err(), "another gateway's");
    }
}
