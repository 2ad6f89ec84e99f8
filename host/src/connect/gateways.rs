//! Connections that go through a gateway: what is to be sealed for one, and what a stored one works with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    consent::{self, AgreedGateway, App, Book, Connection, Consent, Elsewhere, SealedBox},
    error::{Error, Kind, Result},
    gateway::{Gateway, Relayed, SealingKey, Terms, Wanted, seal},
    host::Host,
    manifest::{AuthOption, Values, declared},
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
    pub(super) fn of(gateway: &Gateway, terms: &Terms) -> Result<Self> {
        Ok(Self { gateway: gateway.name.clone(), key: gateway.key.clone(), terms: terms.text()? })
    }

    /// What is kept of what somebody sealed.
    pub(super) fn sealed(&self, encapsulated: String, sealed: String) -> SealedBox {
        SealedBox { terms: self.terms.clone(), encapsulated, sealed }
    }

    /// The box of a connection for which nothing secret is typed: anybody may seal that.
    pub(super) fn of_nothing(&self) -> Result<SealedBox> {
        seal(&self.terms, BTreeMap::new(), &self.key)
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
    refuse_private(private)?;
    Values::without_secrets(option, parameters)
}

/// Refuses private addresses that are allowed here.
pub(super) fn refuse_private(private: &PrivateAllowed) -> Result<()> {
    if private.is_empty() {
        return Ok(());
    }
    Err(Kind::Usage
        .error("What a gateway may reach is said at the gateway.")
        .hint("Leave out `--allow-private`, and start the gateway with `--allow HOST:PORT`."))
}

/// What a connection's box is bound to: all of it follows from what is kept of the connection and what its connector says.
pub(super) fn terms(
    environment: &str,
    gateway: &Gateway,
    connection: &Connection,
    declared: &declared::Connector,
    app: Option<&App>,
) -> Result<Terms> {
    let declared = declared.auth.iter().find(|option| option.id == connection.option);
    let declared = declared.ok_or_else(|| Kind::Internal.error("An auth option was lost."))?;
    let option = AuthOption::check(declared)?;
    let mut values = Values::without_secrets(&option, connection.parameters.clone())?;
    let audience = consent::audience(&option, &values)?;
    if let Some(app) = app {
        app.give(&option, &mut values)?;
    }
    Ok(Wanted {
        environment,
        gateway: &gateway.name,
        connection: connection.id,
        generation: connection.generation,
        connector: &connection.connector,
        option: declared,
        parameters: &connection.parameters,
        audience: &audience,
        app,
        discovered: &connection.discovered,
        sign_in: &consent::sign_in_origins(&option, &values, &connection.discovered)?,
    }
    .into())
}

impl Host {
    /// The gateway of a name, for a connection that is made by this auth option.
    pub(super) fn gateway_for(&self, environment: &str, name: &str, option: &AuthOption) -> Result<Gateway> {
        let gateway = self.gateway(environment, name)?;
        let captured = option.scheme.captured();
        let secret: BTreeSet<&str> =
            option.parameters.iter().chain(&captured).filter(|it| it.is_secret()).map(|it| it.name.as_str()).collect();
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

    /// Who attaches, sends and signs in for a connection, if not this host.
    ///
    /// # Errors
    /// `reconnect-needed` where its gateway is gone, or the box is for something else than the connection is; `approval-needed`
    /// where its app was sealed to another gateway, or to none.
    pub(crate) fn relayed(
        &self,
        book: &Book<'_>,
        connection: &Connection,
        declared: &declared::Connector,
        app: Option<&App>,
        sealed: Option<SealedBox>,
    ) -> Result<Option<Relayed>> {
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
        let now = terms(book.environment(), &gateway, connection, declared, app)?;
        if now.text()? != sealed.terms {
            return Err(again(
                "Its credential was sealed for what its connector said of this auth option then, which has changed."
                    .into(),
            ));
        }
        let of_app = of_app(app, &gateway)?;
        Ok(Some(Relayed::new(self.relay.clone(), gateway, sealed, of_app)))
    }

    /// Who signs in for it.
    pub(crate) fn signing_in(&self, relayed: Relayed, consent: &Consent) -> Arc<dyn Elsewhere> {
        let limits = self.settings.transport_limits();
        Arc::new(relayed.signing_in(self.audit.clone(), limits, consent.scopes.clone()))
    }

    /// Who finds out about the provider of a connection that nothing was sealed for yet.
    pub(super) fn finding_out(
        &self,
        gateway: &Gateway,
        terms: &Terms,
        app: Option<&App>,
    ) -> Result<Arc<dyn Elsewhere>> {
        let unsealed = SealedBox { terms: terms.text()?, encapsulated: String::new(), sealed: String::new() };
        let of_app = of_app(app, gateway)?;
        let relayed = Relayed::new(self.relay.clone(), gateway.clone(), unsealed, of_app);
        Ok(Arc::new(relayed.signing_in(self.audit.clone(), self.settings.transport_limits(), Vec::new())))
    }
}

/// The box of an app, which must be this gateway's.
fn of_app(app: Option<&App>, gateway: &Gateway) -> Result<Option<SealedBox>> {
    let Some(app) = app else { return Ok(None) };
    let is_its = app.gateway.as_ref().is_some_and(|it| it.name == gateway.name && it.key == gateway.key.fingerprint());
    if is_its && app.sealed.is_some() {
        return Ok(app.sealed.clone());
    }
    Err(Kind::ApprovalNeeded
        .error(format!("The app `{}` is not sealed to the gateway `{}`.", app.name, gateway.name))
        .hint(format!(
            "`attache app set {} --name NAME --gateway {} --client-id ID --client-secret SOURCE` registers one that is.",
            app.connector, gateway.name
        )))
}

fn needs_sealing(connection: &Connection, why: String) -> Error {
    let (name, gateway) = (&connection.name, connection.gateway.as_ref().map_or("NAME", |gateway| &gateway.name));
    Kind::ReconnectNeeded.error(format!("The connection `{name}` cannot be used: {why}")).hint(format!(
        "`attache connection reconnect {name} --gateway {gateway}` seals it anew, to this gateway or another."
    ))
}
