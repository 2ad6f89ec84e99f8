//! From a connection to what its requests may do.

use std::collections::BTreeMap;

use super::{Approval, Connection, Consent, Credential};
use crate::{
    egress::{Access, Reachable},
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

/// What a stored connection may do now: it has its secrets, and its owner's consent covers everything that the approved
/// connector would do with them.
///
/// # Errors
/// `reconnect-needed` or `consent-needed`, with the command that mends it.
pub fn access(
    manifest: &Manifest,
    approval: &Approval,
    connection: &Connection,
    credential: Option<Credential>,
    consent: Option<Consent>,
    limits: transport::Limits,
) -> Result<Access> {
    let name = &connection.name;
    let reconnect = format!("`attache connection reconnect {name}` asks its owner again.");
    let needs_consent = |why: String| -> Error { Kind::ConsentNeeded.error(why).hint(reconnect.clone()) };
    let consent = consent.ok_or_else(|| needs_consent(format!("Nobody has consented to the connection `{name}`.")))?;
    if let Some(when) = &consent.revoked {
        return Err(needs_consent(format!("The consent to the connection `{name}` was revoked at {when}.")));
    }
    if !consent.is_live() {
        return Err(needs_consent(format!("The consent to the connection `{name}` has run out.")));
    }
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
            .hint(reconnect.clone())
    })?;
    let reachable = resolve(manifest, option, &values, &connection.private)?;
    covered("the origin", reachable.audience.iter(), &consent.origins).map_err(needs_consent)?;
    covered("the open host", reachable.open.iter(), &consent.open_hosts).map_err(needs_consent)?;
    covered("the placement", option.attach.iter().map(|it| it.place()), &consent.placements).map_err(needs_consent)?;
    let (attachments, jwts) = (option.attach.clone(), option.jwts.clone());
    Ok(Access { pool: connection.pool(), reachable, attachments, jwts, values, limits })
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
