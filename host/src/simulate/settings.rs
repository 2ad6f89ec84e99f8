//! How the provider behaves. A setting has one name: as a flag, and as a member of what `/simulate/settings` takes.

use std::collections::BTreeSet;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{
    certified::Certified,
    quirk::{Preset, Quirk},
};
use crate::{
    error::{Kind, Result},
    secret::Secret,
};

/// What is asked of an authorization request in the way of PKCE (RFC 7636).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pkce {
    /// A request without a challenge is refused (RFC 9700, 2.1.1)
    Required,
    /// A challenge is checked where there is one
    Optional,
}

/// Some settings, each as it is to be. A list replaces what was there.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Change {
    /// Have the quirks of a real provider
    #[arg(long, value_name = "PROVIDER")]
    pub like: Option<Preset>,
    /// Differ from the standard as a real provider does; may be repeated
    #[arg(long, value_name = "NAME")]
    pub quirk: Option<Vec<Quirk>>,
    /// Answer each authorization request at once, a device's too, as if the person had approved
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub approve: Option<bool>,
    /// Answer each authorization request at once, a device's too, as if the person had denied it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub deny: Option<bool>,
    /// A client; without a secret it is a public one. Unless given: demo:demo-secret
    #[arg(long, value_name = "ID:SECRET")]
    pub client: Option<Vec<String>>,
    /// A client's public key in PEM, for assertions that it signs
    #[arg(skip)]
    pub client_key: Option<Vec<String>>,
    /// A client's certificate in PEM, which it shows in the TLS handshake
    #[arg(skip)]
    pub client_certificate: Option<Vec<String>>,
    /// The certificate in PEM of the authority that certifies a client, by the DNS name that is the client's id
    #[arg(skip)]
    pub client_authority: Option<Vec<String>>,
    /// Where these clients may have people sent back to. Unless given: anywhere on loopback
    #[arg(long, value_name = "URI")]
    pub redirect_uri: Option<Vec<String>>,
    /// A scope that there is. Unless given, there is any
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<Vec<String>>,
    /// A scope that is never granted, though it is asked for
    #[arg(long, value_name = "SCOPE")]
    pub withhold: Option<Vec<String>>,
    /// Who the person is. Unless given: jo
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// How long an access token is good for. Unless given: 3600
    #[arg(long, value_name = "SECONDS")]
    pub access_lifetime: Option<u32>,
    /// How long a refresh token is good for without being used. Unless given: 1209600, two weeks
    #[arg(long, value_name = "SECONDS")]
    pub refresh_lifetime: Option<u32>,
    /// How long an authorization code is good for. Unless given: 60
    #[arg(long, value_name = "SECONDS")]
    pub code_lifetime: Option<u32>,
    /// How long a device code is good for. Unless given: 600
    #[arg(long, value_name = "SECONDS")]
    pub device_lifetime: Option<u32>,
    /// How often a device may ask. Unless given: 5
    #[arg(long, value_name = "SECONDS")]
    pub device_interval: Option<u32>,
    /// Whether a refresh token is good once, and the answer has the next one. Unless given: true
    #[arg(long, value_name = "BOOL")]
    pub rotation: Option<bool>,
    /// Whether a refresh token that comes a second time ends everything that came of the same consent. Unless given: true
    #[arg(long, value_name = "BOOL")]
    pub reuse_detection: Option<bool>,
    /// How long a refresh token may come again after it was used. Unless given: 0
    #[arg(long, value_name = "SECONDS")]
    pub reuse_grace: Option<u32>,
    /// Whether a code has to be bound to a verifier. Unless given: required
    #[arg(long, value_name = "WHEN")]
    pub pkce: Option<Pkce>,
    /// How many API requests a client may make in a minute, by the provider's clock. Unless given: any number
    #[arg(long, value_name = "REQUESTS")]
    pub rate_limit: Option<u32>,
}

/// All settings.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    pub(super) quirk: BTreeSet<Quirk>,
    /// What the person says; none asks a person.
    #[serde(skip)]
    pub(super) decision: Option<bool>,
    /// A secret is none of what a control plane shows.
    #[serde(skip)]
    pub(super) client: Vec<(String, Option<Secret>)>,
    #[serde(skip)]
    pub(super) client_key: Vec<(String, String)>,
    #[serde(skip)]
    pub(super) client_certificate: Vec<(String, Certified)>,
    #[serde(skip)]
    pub(super) client_authority: Vec<(String, Certified)>,
    pub(super) redirect_uri: Vec<String>,
    pub(super) scope: Vec<String>,
    pub(super) withhold: Vec<String>,
    pub(super) account: String,
    pub(super) access_lifetime: u32,
    pub(super) refresh_lifetime: u32,
    pub(super) code_lifetime: u32,
    pub(super) device_lifetime: u32,
    pub(super) device_interval: u32,
    pub(super) rotation: bool,
    pub(super) reuse_detection: bool,
    pub(super) reuse_grace: u32,
    pub(super) pkce: Pkce,
    pub(super) rate_limit: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quirk: BTreeSet::new(),
            decision: None,
            client: vec![("demo".into(), Some(Secret::new("demo-secret")))],
            client_key: Vec::new(),
            client_certificate: Vec::new(),
            client_authority: Vec::new(),
            redirect_uri: Vec::new(),
            scope: Vec::new(),
            withhold: Vec::new(),
            account: "jo".into(),
            access_lifetime: 3_600,
            refresh_lifetime: 14 * 24 * 3_600,
            // RFC 6749, 4.1.2 recommends ten minutes at the most; most providers give one.
            code_lifetime: 60,
            device_lifetime: 600,
            // RFC 8628, 3.2: what clients take where nothing is said.
            device_interval: 5,
            rotation: true,
            reuse_detection: true,
            reuse_grace: 0,
            pkce: Pkce::Required,
            rate_limit: None,
        }
    }
}

impl Settings {
    /// The defaults, with a change.
    ///
    /// # Errors
    /// As [`Settings::apply`].
    pub fn with(change: Change) -> Result<Self> {
        Self::default().apply(change)
    }

    /// These, with a change.
    ///
    /// # Errors
    /// `usage` for what cannot be: a client without a name, a key without a client, quirks that contradict each other, approving
    /// and denying at once.
    pub fn apply(mut self, change: Change) -> Result<Self> {
        if change.like.is_some() || change.quirk.is_some() {
            let like = change.like.map(Preset::quirks).unwrap_or_default();
            self.quirk = like.iter().copied().chain(change.quirk.unwrap_or_default()).collect();
            Quirk::agree(&self.quirk)?;
        }
        self.decision = match (change.approve, change.deny) {
            (Some(true), Some(true)) => {
                return Err(Kind::Usage.error("A request is either approved or denied, not both."));
            }
            (Some(true), _) => Some(true),
            (_, Some(true)) => Some(false),
            (None, None) => self.decision,
            _ => None,
        };
        if let Some(clients) = change.client {
            self.client = clients.iter().map(|text| client(text)).collect::<Result<_>>()?;
        }
        if let Some(keys) = change.client_key {
            self.client_key = keys.iter().map(|text| key(text)).collect::<Result<_>>()?;
        }
        if let Some(certificates) = change.client_certificate {
            let certified = |text: &String| certified("certificate", text, |_, pem| Certified::itself(pem));
            self.client_certificate = certificates.iter().map(certified).collect::<Result<_>>()?;
        }
        if let Some(authorities) = change.client_authority {
            let certified = |text: &String| certified("authority", text, |id, pem| Certified::by(pem, id));
            self.client_authority = authorities.iter().map(certified).collect::<Result<_>>()?;
        }
        self.refuse_ownerless()?;
        set(&mut self.redirect_uri, change.redirect_uri);
        set(&mut self.scope, change.scope);
        set(&mut self.withhold, change.withhold);
        set(&mut self.account, change.account);
        set(&mut self.access_lifetime, change.access_lifetime);
        set(&mut self.refresh_lifetime, change.refresh_lifetime);
        set(&mut self.code_lifetime, change.code_lifetime);
        set(&mut self.device_lifetime, change.device_lifetime);
        set(&mut self.device_interval, change.device_interval);
        set(&mut self.rotation, change.rotation);
        set(&mut self.reuse_detection, change.reuse_detection);
        set(&mut self.reuse_grace, change.reuse_grace);
        set(&mut self.pkce, change.pkce);
        self.rate_limit = change.rate_limit.or(self.rate_limit);
        Ok(self)
    }

    /// Refuses keys and certificates of clients that there are not.
    fn refuse_ownerless(&self) -> Result<()> {
        let keys = self.client_key.iter().map(|(id, _)| ("key", id));
        let certificates = self.certified().map(|(id, _)| ("certificate", id));
        match keys.chain(certificates).find(|(_, id)| !self.client.iter().any(|(known, _)| known == *id)) {
            None => Ok(()),
            Some((what, id)) => Err(Kind::Usage.error(format!("There is a {what} for `{id}`, and no such client."))),
        }
    }

    /// Refuses what only goes with TLS, where there is none.
    ///
    /// # Errors
    /// `usage` that names what needs it.
    pub(super) fn agree_with_tls(&self, tls: bool) -> Result<()> {
        let quirk = self.quirk.iter().find(|quirk| quirk.needs_tls()).map(|quirk| format!("`{}`", quirk.name()));
        let what = quirk.or_else(|| self.certified().next().map(|(id, _)| format!("The certificate of `{id}`")));
        match what.filter(|_| !tls) {
            None => Ok(()),
            Some(what) => Err(Kind::Usage
                .error(format!("{what} needs TLS, which this provider does not speak."))
                .hint("Start it with `--tls FILE`.")),
        }
    }

    /// The clients that show certificates, each with what it is known by.
    pub(super) fn certified(&self) -> impl Iterator<Item = &(String, Certified)> {
        self.client_certificate.iter().chain(&self.client_authority)
    }

    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.quirk.contains(&quirk)
    }

    /// Whether a refresh token is good once.
    pub(super) fn rotates(&self) -> bool {
        self.rotation && !self.has(Quirk::RefreshKept)
    }

    /// What stands between scopes.
    pub(super) fn separator(&self) -> char {
        match () {
            () if self.has(Quirk::ScopeComma) => ',',
            () if self.has(Quirk::ScopePlus) => '+',
            () => ' ',
        }
    }

    /// The scopes of a text, each once.
    pub(super) fn split(&self, text: &str) -> Vec<String> {
        let mut scopes: Vec<String> = Vec::new();
        for scope in text.split(self.separator()).map(str::trim).filter(|scope| !scope.is_empty()) {
            if !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    }

    /// What the parameter is called that names the client.
    pub(super) fn client_id(&self) -> &'static str {
        if self.has(Quirk::ClientKey) { "client_key" } else { "client_id" }
    }

    /// What the parameter is called that names where the person is sent back to.
    pub(super) fn redirect_name(&self) -> &'static str {
        if self.has(Quirk::RedirectUrl) { "redirect_url" } else { "redirect_uri" }
    }

    /// As a text again.
    pub(super) fn join(&self, scopes: &[String]) -> String {
        scopes.join(&self.separator().to_string())
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

fn client(text: &str) -> Result<(String, Option<Secret>)> {
    let (id, secret) = text.split_once(':').unwrap_or((text, ""));
    if id.is_empty() {
        return Err(Kind::Usage.error("A client is `ID:SECRET`, or `ID` for a public one; this one has no id."));
    }
    Ok((id.to_owned(), Some(secret).filter(|secret| !secret.is_empty()).map(Secret::new)))
}

fn key(text: &str) -> Result<(String, String)> {
    let (id, pem) = text.split_once('=').unwrap_or_default();
    if id.is_empty() || !pem.contains("BEGIN PUBLIC KEY") {
        return Err(Kind::Usage.error("A client's key is `ID=PEM`, where the PEM is a public key."));
    }
    Ok((id.to_owned(), pem.to_owned()))
}

fn certified(
    what: &str,
    text: &str,
    read: impl FnOnce(&str, &str) -> std::result::Result<Certified, &'static str>,
) -> Result<(String, Certified)> {
    let (id, pem) = text.split_once('=').unwrap_or_default();
    let unusable = |why| Kind::Usage.error(format!("A client's {what} is `ID=PEM`; this one cannot be used: {why}."));
    if id.is_empty() {
        return Err(unusable("it has no id"));
    }
    read(id, pem).map(|certified| (id.to_owned(), certified)).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: serde_json::Value) -> Result<Settings> {
        Settings::with(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let settings = change(serde_json::json!({ "access-lifetime": 5, "approve": true })).unwrap();
        assert_eq!((settings.access_lifetime, settings.decision, settings.code_lifetime), (5, Some(true), 60));
        let settings = settings.apply(Change { rotation: Some(false), ..Change::default() }).unwrap();
        assert_eq!((settings.access_lifetime, settings.decision, settings.rotation), (5, Some(true), false));
        let settings = settings.apply(Change { approve: Some(false), ..Change::default() }).unwrap();
        assert_eq!(settings.decision, None);
    }

    #[test]
    fn a_preset_and_quirks_add_up_and_quirks_alone_replace() {
        let settings = change(serde_json::json!({ "like": "slack", "quirk": ["expires-string"] })).unwrap();
        assert!(settings.has(Quirk::OkFalse) && settings.has(Quirk::ExpiresString));
        let settings = settings.apply(Change { quirk: Some(vec![Quirk::NoPkce]), ..Change::default() }).unwrap();
        assert_eq!(settings.quirk, BTreeSet::from([Quirk::NoPkce]));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_sentence() {
        for (json, words) in [
            (serde_json::json!({ "approve": true, "deny": true }), "not both"),
            (serde_json::json!({ "client": [":x"] }), "has no id"),
            (serde_json::json!({ "client-key": ["x"] }), "`ID=PEM`"),
            (serde_json::json!({ "client-key": ["x=-----BEGIN PUBLIC KEY-----"] }), "no such client"),
            (serde_json::json!({ "client-certificate": ["x"] }), "has no id"),
            (serde_json::json!({ "client-certificate": ["demo=x"] }), "no PEM certificate"),
            (serde_json::json!({ "client-authority": ["d mo=x"] }), "no DNS name"),
            (serde_json::json!({ "quirk": ["client-certificate", "client-post"] }), "how clients authenticate"),
            (serde_json::json!({ "quirk": ["token-json", "token-get"] }), "how a token request is written"),
        ] {
            assert!(change(json).unwrap_err().message().contains(words), "{words}");
        }
        let unknown = serde_json::from_value::<Change>(serde_json::json!({ "acces-lifetime": 5 }));
        assert!(unknown.unwrap_err().to_string().contains("unknown field `acces-lifetime`"));
    }

    #[test]
    fn scopes_are_split_and_joined_by_the_providers_own_separator() {
        let settings = change(serde_json::json!({ "quirk": ["scope-comma"] })).unwrap();
        assert_eq!(settings.split("a, b,,a"), ["a", "b"]);
        assert_eq!(settings.join(&["a".into(), "b".into()]), "a,b");
        assert_eq!(Settings::default().split("a,b c"), ["a,b", "c"]);
    }
}
