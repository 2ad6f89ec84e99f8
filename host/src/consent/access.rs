//! From a connection to what its requests may do.

use std::{collections::BTreeMap, sync::Arc};

use url::Url;

use super::{App, Connection, Consent, Credential, Discovered};
use crate::{
    egress::{Access, Credentials, Known, Reachable},
    error::{Error, Kind, Result},
    manifest::{
        AuthOption, Manifest, Values,
        audience::{OriginPattern, OriginTemplate},
        template::Moment,
    },
    origin::Origin,
    secret::Secret,
    transport::{self, PrivateAllowed},
};

/// Resolves where a connection with these values may go, and where its sign-in does.
///
/// # Errors
/// `invalid-input` where a value does not make an origin.
pub fn resolve(
    manifest: &Manifest,
    option: &AuthOption,
    values: &Values,
    discovered: &Discovered,
    private: &PrivateAllowed,
) -> Result<Reachable> {
    Ok(Reachable {
        audience: audience(option, values)?,
        open: patterns(&manifest.open_hosts, values)?,
        sign_in: sign_in_urls(option, values, Some(discovered)),
        private: private.clone(),
        elsewhere: false,
    })
}

/// Every URL that a connection of these values signs in at, which no connector calls.
pub(crate) fn sign_in_urls(option: &AuthOption, values: &Values, discovered: Option<&Discovered>) -> Vec<Url> {
    let moment = Moment::now();
    let declared = option.scheme.urls();
    // One that needs what was not captured yet leads nowhere yet.
    let declared = declared.iter().filter_map(|(_, url)| url.fill(values, &moment).ok());
    let discovered = discovered.into_iter().flat_map(|it| it.endpoints()).map(|(_, url)| url.clone());
    declared.map(|url| url.expose().clone()).chain(discovered).collect()
}

/// Where the credential of an auth option may go with these values.
///
/// # Errors
/// `invalid-input` where a value does not make an origin.
pub fn audience(option: &AuthOption, values: &Values) -> Result<Vec<OriginPattern>> {
    patterns(&option.audience, values)
}

/// Every origin that a sign-in sends what was typed to, as far as these values tell.
///
/// # Errors
/// `invalid-input` where a value does not make an origin.
pub fn sign_in_origins(option: &AuthOption, values: &Values, discovered: &Discovered) -> Result<Vec<Origin>> {
    let mut origins = Vec::new();
    let mut add = |resolved: Vec<Origin>| {
        for origin in resolved {
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
    };
    for (_, url) in option.scheme.urls() {
        add(url
            .origins(&values.in_a_host())
            .map_err(|error| Kind::InvalidInput.error(format!("`{url}` leads nowhere with these values: {error}.")))?);
    }
    for (_, url) in discovered.endpoints() {
        add(vec![Origin::of(url)?]);
    }
    Ok(origins)
}

/// The consent to a connection, if it still stands.
///
/// # Errors
/// `consent-needed`, with the command that asks for it.
pub fn standing(connection: &Connection, consent: Option<Consent>) -> Result<Consent> {
    let name = &connection.name;
    match consent {
        None => Err(needs_consent(name, format!("Nobody has consented to the connection `{name}`."))),
        Some(Consent { revoked: Some(when), .. }) => {
            Err(needs_consent(name, format!("The consent to the connection `{name}` was revoked at {when}.")))
        }
        Some(consent) if !consent.is_live() => {
            Err(needs_consent(name, format!("The consent to the connection `{name}` has run out.")))
        }
        Some(consent) => Ok(consent),
    }
}

/// What was typed when a connection was made, as the approved connector asks for it now.
///
/// # Errors
/// `consent-needed` where the connector has no such auth option any longer, `reconnect-needed` where a value is missing or
/// does not fit.
pub fn typed<'a>(
    manifest: &'a Manifest,
    connection: &Connection,
    credential: Option<Credential>,
) -> Result<(&'a AuthOption, Values)> {
    let name = &connection.name;
    let option = manifest.option(&connection.option).ok_or_else(|| {
        needs_consent(
            name,
            format!("The connector `{}` no longer has the auth option `{}`.", connection.connector, connection.option),
        )
    })?;
    let secrets: BTreeMap<String, Secret> = credential.map(|credential| credential.secrets).unwrap_or_default();
    let parameters = connection.parameters.clone();
    let values = match connection.gateway {
        Some(_) => Values::without_secrets(option, parameters),
        None => Values::new(option, parameters, secrets),
    };
    let values = values.map_err(|error| {
        Kind::ReconnectNeeded
            .error(format!(
                "The connection `{name}` does not fit version {} of its connector: {}",
                manifest.version,
                error.message()
            ))
            .hint(reconnect(name))
    })?;
    Ok((option, values))
}

/// Where a stored connection may go: its owner's consent covers everything that the approved connector would do with these
/// values, those that were captured among them.
///
/// # Errors
/// `consent-needed`, with the command that asks for it.
pub fn agreed(
    manifest: &Manifest,
    option: &AuthOption,
    connection: &Connection,
    values: &Values,
    consent: &Consent,
) -> Result<Reachable> {
    let needs_consent = |why: String| needs_consent(&connection.name, why);
    let mut reachable = resolve(manifest, option, values, &connection.discovered, &connection.private)?;
    reachable.elsewhere = connection.gateway.is_some();
    covered("the origin", reachable.audience.iter(), &consent.origins).map_err(needs_consent)?;
    covered("the open host", reachable.open.iter(), &consent.open_hosts).map_err(needs_consent)?;
    covered("the placement", option.attach.iter().map(|it| it.place()), &consent.placements).map_err(needs_consent)?;
    covered(
        "the origin to sign in at",
        sign_in_origins(option, values, &connection.discovered)?.iter(),
        &consent.sign_in,
    )
    .map_err(needs_consent)?;
    Ok(reachable)
}

/// What a stored connection may do, as far as [`agreed`].
///
/// # Errors
/// `consent-needed`, with the command that asks for it.
#[allow(clippy::too_many_arguments, reason = "each is another record of one connection")]
pub fn access(
    manifest: &Manifest,
    option: &AuthOption,
    connection: &Connection,
    values: &Values,
    consent: &Consent,
    credentials: Arc<dyn Credentials>,
    app: Option<&App>,
    limits: transport::Limits,
) -> Result<Access> {
    Ok(Access {
        pool: connection.pool(),
        reachable: agreed(manifest, option, connection, values, consent)?,
        attachments: option.attach.clone(),
        jwts: option.jwts.clone(),
        credentials,
        readable: values.public().clone(),
        app_origins: app.filter(|_| option.carries_app_secrets()).map(|app| app.origins.clone()),
        limits,
        known: Known::default(),
        through: None,
        stands: None,
    })
}

fn needs_consent(name: &str, why: String) -> Error {
    Kind::ConsentNeeded.error(why).hint(reconnect(name))
}

fn reconnect(name: &str) -> String {
    format!("`attache connection reconnect {name}` asks its owner again.")
}

fn covered<T: ToString>(what: &str, wanted: impl Iterator<Item = T>, agreed: &[String]) -> Result<(), String> {
    match wanted.map(|it| it.to_string()).find(|it| !agreed.contains(it)) {
        None => Ok(()),
        Some(new) => Err(format!("The connector now uses {what} {new}, which the account's owner has not agreed to.")),
    }
}

fn patterns(templates: &[OriginTemplate], values: &Values) -> Result<Vec<OriginPattern>> {
    let scope = values.in_a_host();
    let mut all = Vec::new();
    for template in templates {
        // An entry without a value is left out; one with several stands for an origin each.
        let resolved = template.resolve(&scope).map_err(|error| {
            Kind::InvalidInput.error(format!("`{template}` does not make an origin with these values: {error}."))
        })?;
        all.extend(resolved);
    }
    Ok(all)
}
