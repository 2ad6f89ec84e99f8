//! An app: the operator's own registration with a provider, and the only origins that its secrets may go to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{AgreedGateway, SealedBox};
use crate::{
    error::{Error, Kind, Result},
    manifest::{
        AuthOption, Manifest, Parameter, ValueKind, Values,
        oauth2::{OF_APP, Oauth2},
        template::Moment,
    },
    origin::Origin,
    secret::Secret,
    text,
};

/// What a secret of an app is called beside the parameters that belong to it.
pub const CLIENT_SECRET: &str = OF_APP[1];
/// A key in PEM: the app proves itself with an assertion (RFC 7523, 2.2).
pub const PRIVATE_KEY: &str = "private_key";
/// A certificate in PEM and its key: the app proves itself in the TLS handshake (RFC 8705, 2).
pub const CERTIFICATE: [&str; 2] = ["client_certificate", "client_certificate_key"];

/// How an app proves that it has its client secret, as the provider's registration calls it (RFC 7591, 2; OpenID Connect
/// Core, 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum SecretAuth {
    /// In the content of each request
    ClientSecretPost,
    /// By HTTP Basic
    ClientSecretBasic,
    /// By an assertion that is signed with it (HS256), so that it never leaves
    ClientSecretJwt,
}

/// The operator's registration with a provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct App {
    /// The connector that it is for.
    pub connector: String,
    /// Unique among the connector's apps.
    pub name: String,
    /// RFC 6749, 2.2.
    pub client_id: String,
    /// Which key of those that the provider knows, where the app proves itself with one.
    pub key_id: Option<String>,
    /// How it proves that it has its client secret, where the operator says so, or the provider did when it was registered.
    #[serde(default)]
    pub client_auth: Option<SecretAuth>,
    /// Where its secrets, assertions, codes and refresh tokens may go, and nowhere else.
    pub origins: BTreeSet<Origin>,
    /// Where the provider sends people back to; a free port of loopback unless given.
    pub redirect_uri: Option<Url>,
    /// Parameters that belong to the app and are no secrets.
    pub parameters: BTreeMap<String, String>,
    /// Its secrets, and those among the parameters.
    #[serde(with = "crate::secret::in_sealed_record")]
    pub secrets: BTreeMap<String, Secret>,
    /// The gateway that alone has its secrets, if one does.
    #[serde(default)]
    pub gateway: Option<AgreedGateway>,
    /// They themselves then.
    #[serde(default)]
    pub sealed: Option<SealedBox>,
    /// Where the host registered it by itself (RFC 7591); none where the operator did.
    #[serde(default)]
    pub registered_at: Option<Url>,
    /// When its client secret runs out, in seconds since 1970, where the provider said so then (RFC 7591, 3.2.1).
    #[serde(default)]
    pub secret_expires: Option<i64>,
    /// RFC 3339.
    pub created: String,
}

impl App {
    /// Whether it is a registration with the provider that registers there and has these origins. To any other it is unknown.
    pub(crate) fn is_of(&self, registration: &Url, provider: &BTreeSet<Origin>) -> bool {
        match &self.registered_at {
            Some(registered_at) => registered_at == registration,
            None => !self.origins.is_disjoint(provider),
        }
    }

    /// Whether its client secret is over in a while, or is already.
    pub(crate) fn secret_is_over(&self, within: Duration) -> bool {
        let then = Timestamp::now().as_second().saturating_add_unsigned(within.as_secs());
        self.secret_expires.is_some_and(|expires| expires <= then)
    }

    /// When its client secret runs out, for people.
    pub(crate) fn secret_expires(&self) -> Option<String> {
        self.secret_expires.map(|at| Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string()))
    }

    /// Whether it proves itself in the TLS handshake.
    pub(crate) fn shows_certificate(&self) -> bool {
        self.secrets.contains_key(CERTIFICATE[0])
    }

    /// Refuses a URL that none of this app's secrets may go to.
    ///
    /// # Errors
    /// `denied`, with the command that would allow it.
    pub fn permits(&self, url: &Url) -> Result<()> {
        let origin = Origin::of(url)?;
        if self.origins.contains(&origin) {
            return Ok(());
        }
        let known: Vec<String> = self.origins.iter().map(ToString::to_string).collect();
        Err(Kind::Denied
            .error(format!(
                "The secrets of the app `{}` may not go to {}; they may go to {}.",
                self.name,
                text::foreign(&origin.to_string(), 300),
                known.join(", ")
            ))
            .hint(format!(
                "If that is where the provider is, `attache app set {} --name {} --origin {origin}` allows it.",
                self.connector, self.name
            )))
    }

    /// Refuses an auth option that would send something of the app's elsewhere, as far as these values tell: before a person is
    /// sent to the provider for nothing.
    ///
    /// # Errors
    /// As for [`App::permits`].
    pub(crate) fn permits_all(&self, option: &AuthOption, values: &Values) -> Result<()> {
        let calls = option.scheme.calls().into_iter().map(|call| &call.url);
        let of_tokens = option.scheme.oauth2().into_iter().flat_map(Oauth2::token_endpoints);
        let moment = Moment::now();
        calls
            .chain(of_tokens)
            .filter_map(|url| url.fill(values, &moment).ok())
            .try_for_each(|url| self.permits(url.expose()))
    }

    /// Adds what it knows to a connection's values, as far as the auth option asks for it.
    ///
    /// # Errors
    /// `invalid-input` where one does not fit; `reconnect-needed` never.
    pub fn give(&self, option: &AuthOption, values: &mut Values) -> Result<()> {
        for parameter in option.parameters.iter().filter(|parameter| parameter.of_app) {
            let of_app = || self.of_this("app set");
            match (self.parameters.get(&parameter.name), self.secrets.get(&parameter.name)) {
                (Some(value), _) if !parameter.is_secret() => {
                    values.put(parameter, Secret::new(value.as_str())).map_err(|error| error.hint(of_app()))?;
                }
                (_, Some(value)) if parameter.is_secret() => {
                    values.put(parameter, value.clone()).map_err(|error| error.hint(of_app()))?;
                }
                _ if parameter.optional || parameter.default.is_some() => {}
                // Whoever has them puts them on.
                _ if parameter.is_secret() && self.sealed.is_some() => {}
                _ => {
                    return Err(Kind::ApprovalNeeded
                        .error(format!(
                            "The app `{}` has no `{}`, which the connector needs.",
                            self.name, parameter.name
                        ))
                        .hint(of_app()));
                }
            }
        }
        if option.scheme.oauth2().is_some() {
            let typed = |name: &str| option.parameter(name).is_some();
            if !typed(OF_APP[0]) {
                values.put(&Parameter::known(OF_APP[0], ValueKind::Text), Secret::new(self.client_id.as_str()))?;
            }
            if let Some(secret) = self.secrets.get(CLIENT_SECRET).filter(|_| !typed(CLIENT_SECRET)) {
                values.put(&Parameter::known(CLIENT_SECRET, ValueKind::Secret), secret.clone())?;
            }
        }
        Ok(())
    }

    fn of_this(&self, verb: &str) -> String {
        format!("`attache {verb} {} --name {}` gives it.", self.connector, self.name)
    }
}

/// The origins that a connector's own text gives an app: those of its endpoints whose host is written out.
pub fn fixed_origins(manifest: &Manifest) -> BTreeSet<Origin> {
    let of_oauth2 = manifest.options.iter().filter_map(|option| option.scheme.oauth2());
    let endpoints = of_oauth2.flat_map(|oauth2| oauth2.endpoints()).map(|(_, url)| url);
    let with_app = manifest.options.iter().filter(|option| option.scheme.oauth2().is_none() && option.needs_app());
    let of_logins = with_app.flat_map(|option| option.scheme.calls()).map(|call| &call.url);
    let nothing = Values::default();
    endpoints.chain(of_logins).filter_map(|url| url.origins(&nothing.in_a_host()).ok()).flatten().collect()
}

/// Whether a provider may know an app by this.
pub(crate) fn is_client_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 1_000 && !text.chars().any(char::is_control)
}

/// Whether a connector has something that an app is for.
///
/// # Errors
/// `usage` where it has not.
pub fn needs_app(manifest: &Manifest) -> Result<(), Error> {
    if manifest
        .options
        .iter()
        .any(|option| option.scheme.oauth2().is_some() || option.parameters.iter().any(|it| it.of_app))
    {
        return Ok(());
    }
    Err(Kind::Usage
        .error(format!(
            "The connector `{}` needs no app: none of its auth options uses OAuth 2.0 or asks one for anything.",
            manifest.name
        ))
        .hint(format!("`attache connect {}` connects it.", manifest.name)))
}
