//! Connections that go through a gateway: what is to be sealed for one, and what a stored one works with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    consent::{AgreedGateway, Book, Connection, Credential, SealedBox},
    egress::{Reachable, Through},
    error::{Error, Kind, Result},
    gateway::{Gateway, Relayed, SealingKey, Terms, Wanted, signs_in},
    host::Host,
    manifest::{AuthOption, Values, audience::OriginPattern, declared},
    secret::Secret,
    transport::PrivateAllowed,
};

/// What is to be sealed, where it is typed, before a connection is made.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// The gateway's name.
    pub gateway: String,
    /// What it is sealed to; whose key it is, the owner finds out by its fingerprint.
    pub key: SealingKey,
    /// What it is bound to, byte by byte: the text of [`Terms`].
    pub terms: String,
}

impl Sealing {
    pub(super) fn of(
        gateway: &Gateway,
        connection: &Connection,
        declared: &declared::Connector,
        audience: &[OriginPattern],
    ) -> Result<Self> {
        let terms = terms(&gateway.environment, gateway, connection, declared, audience)?.text()?;
        Ok(Self { gateway: gateway.name.clone(), key: gateway.key.clone(), terms })
    }

    /// What is kept of what somebody sealed.
    pub(super) fn credential(&self, encapsulated: String, sealed: String) -> Credential {
        let sealed = SealedBox { terms: self.terms.clone(), encapsulated, sealed };
        Credential { secrets: BTreeMap::new(), sealed: Some(sealed) }
    }
}

/// As the connection's owner agrees to it.
pub(super) fn agreed(gateway: &Gateway) -> AgreedGateway {
    AgreedGateway { name: gateway.name.clone(), key: gateway.key.fingerprint() }
}

/// What was typed and is no secret.
pub(super) fn typed(
    option: &AuthOption,
    parameters: BTreeMap<String, String>,
    secrets: &BTreeMap<String, Secret>,
    private: &PrivateAllowed,
) -> Result<Values> {
    if let Some(name) = secrets.keys().next() {
        return Err(Kind::InvalidInput
            .error(format!(
                "`{name}` came in clear, and the secrets of a gateway's connection are sealed where they are typed."
            ))
            .hint("`attache connect … --gateway NAME` does that; the host is sent no more than the box."));
    }
    if !private.is_empty() {
        return Err(Kind::Usage
            .error("What a gateway may reach is said at the gateway.")
            .hint("Leave out `--allow-private`, and start the gateway with `--allow HOST:PORT`."));
    }
    Values::without_secrets(option, parameters)
}

fn terms(
    environment: &str,
    gateway: &Gateway,
    connection: &Connection,
    declared: &declared::Connector,
    audience: &[OriginPattern],
) -> Result<Terms> {
    let option = declared.auth.iter().find(|option| option.id == connection.option);
    let option = option.ok_or_else(|| Kind::Internal.error("An auth option was lost."))?;
    Ok(Wanted {
        environment,
        gateway: &gateway.name,
        connection: connection.id,
        generation: connection.generation,
        connector: &connection.connector,
        option,
        parameters: &connection.parameters,
        audience,
    }
    .into())
}

impl Host {
    /// The gateway of a name, for a connection that is made by this auth option.
    pub(super) fn gateway_for(&self, environment: &str, name: &str, option: &AuthOption) -> Result<Gateway> {
        let gateway = self.gateway(environment, name)?;
        if !option.scheme.is_direct() {
            return Err(signs_in(&option.id));
        }
        if option.parameters.iter().any(|parameter| parameter.of_app) {
            return Err(Kind::Usage
                .error(format!(
                    "The auth option `{}` uses what the operator's app has, which no gateway knows.",
                    option.id
                ))
                .hint("Connect without a gateway."));
        }
        let secret: BTreeSet<&str> =
            option.parameters.iter().filter(|it| it.is_secret()).map(|it| it.name.as_str()).collect();
        let parts = option.audience.iter().flat_map(|origin| origin.names());
        if let Some(part) =
            parts.into_iter().find(|name| name.split_once('.').is_some_and(|(it, _)| secret.contains(it)))
        {
            return Err(Kind::Usage
                .error(format!(
                    "Where the credential goes depends on `{part}`, a part of a secret, which the host does not see."
                ))
                .hint("Choose an auth option that asks for the host by itself, or connect without a gateway."));
        }
        Ok(gateway)
    }

    /// Who attaches and sends for a connection, if not this host.
    ///
    /// # Errors
    /// `reconnect-needed` where its gateway is gone, or the box is for something else than the connection is.
    pub(crate) fn through(
        &self,
        book: &Book<'_>,
        connection: &Connection,
        declared: &declared::Connector,
        reachable: &Reachable,
        sealed: Option<SealedBox>,
    ) -> Result<Option<Arc<dyn Through>>> {
        let Some(agreed) = &connection.gateway else { return Ok(None) };
        let again = |why: String| needs_sealing(connection, why);
        let gateway = self.find_gateway(book.environment(), &agreed.name)?;
        let gateway = gateway.ok_or_else(|| again(format!("The gateway `{}` was removed.", agreed.name)))?;
        if gateway.key.fingerprint() != agreed.key {
            return Err(again(format!(
                "The gateway `{}` is another than the one that was agreed to: it has another key.",
                agreed.name
            )));
        }
        let sealed = sealed.ok_or_else(|| again("Its credential is gone.".into()))?;
        // The gateway goes by what was sealed, so that a connector that says otherwise now would be called with surprises.
        let now = terms(book.environment(), &gateway, connection, declared, &reachable.audience)?;
        if now.text()? != sealed.terms {
            return Err(again(
                "Its credential was sealed for what its connector said of this auth option then, which has changed."
                    .into(),
            ));
        }
        Ok(Some(Arc::new(Relayed::new(self.relay.clone(), gateway, connection.pool(), sealed))))
    }
}

fn needs_sealing(connection: &Connection, why: String) -> Error {
    let (name, gateway) = (&connection.name, connection.gateway.as_ref().map_or("NAME", |gateway| &gateway.name));
    Kind::ReconnectNeeded.error(format!("The connection `{name}` cannot be used: {why}")).hint(format!(
        "`attache connection reconnect {name} --gateway {gateway}` seals it anew, to this gateway or another."
    ))
}
