//! From a connection to what its requests may do.

use std::collections::BTreeMap;

use super::{Approval, Connection, Consent, Credential};
use crate::{
    egress::{Access, Known, Reachable},
    error::{Error, Kind, Result},
    manifest::{
        AuthOption, Manifest, Values,
        audience::{OriginPattern, OriginTemplate},
    },
    secret::Secret,
    transport::{self, PrivateAllowed},
};

/// Resolves where a connection with these values may go.
///
/// # Errors
/// `invalid-input` where a value does not make an origin.
pub fn resolve(
    manifest: &Manifest,
    option: &AuthOption,
    values: &Values,
    private: &PrivateAllowed,
) -> Result<Reachable> {
    Ok(Reachable {
        audience: patterns(&option.audience, values)?,
        open: patterns(&manifest.open_hosts, values)?,
        private: private.clone(),
    })
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

/// What a stored connection may do: it has its secrets, and its owner's consent covers everything that the approved
/// connector would do with them.
///
/// # Errors
/// `reconnect-needed` or `consent-needed`, with the command that mends it.
pub fn access(
    manifest: &Manifest,
    approval: &Approval,
    connection: &Connection,
    credential: Option<Credential>,
    consent: &Consent,
    limits: transport::Limits,
) -> Result<Access> {
    let name = &connection.name;
    let needs_consent = |why: String| needs_consent(name, why);
    let option = manifest.option(&connection.option).ok_or_else(|| {
        needs_consent(format!(
            "The connector `{}` no longer has the auth option `{}`.",
            connection.connector, connection.option
        ))
    })?;
    let secrets: BTreeMap<String, Secret> = credential.map(|credential| credential.secrets).unwrap_or_default();
    let values = Values::new(option, connection.parameters.clone(), secrets).map_err(|error| {
        Kind::ReconnectNeeded
            .error(format!(
                "The connection `{name}` does not fit version {} of its connector: {}",
                approval.version,
                error.message()
            ))
            .hint(reconnect(name))
    })?;
    let reachable = resolve(manifest, option, &values, &connection.private)?;
    covered("the origin", reachable.audience.iter(), &consent.origins).map_err(needs_consent)?;
    covered("the open host", reachable.open.iter(), &consent.open_hosts).map_err(needs_consent)?;
    covered("the placement", option.attach.iter().map(|it| it.place()), &consent.placements).map_err(needs_consent)?;
    Ok(Access {
        pool: connection.pool(),
        reachable,
        attachments: option.attach.clone(),
        values,
        limits,
        known: Known::default(),
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
        // An entry without a value is left out.
        let resolved = template.resolve(&scope).map_err(|error| {
            Kind::InvalidInput.error(format!("`{template}` does not make an origin with these values: {error}."))
        })?;
        all.extend(resolved);
    }
    Ok(all)
}
