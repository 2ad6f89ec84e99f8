//! Setting and removing apps: what an operator says of a registration is checked before it is kept.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use crate::{
    audit::Event,
    consent::{
        self, AgreedGateway, App, Book, SealedBox,
        app::{CERTIFICATE, CLIENT_SECRET, PRIVATE_KEY, SecretAuth, fixed_origins, is_client_id, needs_app},
        now,
        oauth2::algorithm_of,
    },
    error::{Kind, Result},
    gateway::{AppTerms, Gateway},
    host::Host,
    manifest::{Manifest, Parameter},
    origin::Origin,
    secret::Secret,
    sync::lock,
    text,
    transport::Identity,
};

/// What an operator says of an app; what is left out stays as it was.
#[derive(Debug, Default)]
pub struct AppRequest {
    /// The environment's name.
    pub environment: String,
    /// The connector's name.
    pub connector: String,
    /// The app's name; the connector's unless given.
    pub name: Option<String>,
    /// RFC 6749, 2.2.
    pub client_id: Option<String>,
    /// Which key the provider knows it by.
    pub key_id: Option<String>,
    /// How it proves that it has its client secret; as connector and provider say unless given.
    pub client_auth: Option<SecretAuth>,
    /// Where its secrets may go, beside what the connector names.
    pub origins: Vec<String>,
    /// Where the provider sends people back to.
    pub redirect_uri: Option<String>,
    /// Parameters that belong to it and are no secrets.
    pub parameters: BTreeMap<String, String>,
    /// Client secret, key, certificate, and parameters that are secrets.
    pub secrets: BTreeMap<String, Secret>,
    /// The gateway that alone is to have them; then they are in the box, and none of them here.
    pub gateway: Option<String>,
    /// See [`AppRequest::gateway`].
    pub sealed: Option<SealedBox>,
    /// Who says so, for the audit.
    pub caller: String,
}

impl Host {
    /// Sets an app, new or in place of what it was.
    ///
    /// # Errors
    /// `not-found` without the connector; `usage` for what makes no sense; `invalid-input` for what does not fit.
    pub fn set_app(&self, mut request: AppRequest) -> Result<App> {
        let (environment, caller) = (request.environment.clone(), request.caller.clone());
        let (gateway, sealed) = (request.gateway.clone(), request.sealed.take());
        let _approving = lock(&self.approving);
        let book = self.book(&environment)?;
        let mut app = self.app_as_asked(&book, request)?;
        match (gateway, sealed) {
            (None, None) => {}
            (Some(gateway), Some(sealed)) => {
                let (gateway, terms) = self.terms_of_app(&book, &app, &gateway)?;
                if terms.text()? != sealed.terms {
                    return Err(Kind::InvalidInput
                        .error("The app's secrets are sealed for another app than this one would be.")
                        .hint("Seal them for the terms that the host gives now."));
                }
                app.gateway = Some(AgreedGateway { name: gateway.name, key: gateway.key.fingerprint() });
                app.sealed = Some(sealed);
            }
            _ => {
                return Err(Kind::InvalidInput
                    .error("An app of a gateway has its secrets sealed, and no other has.")
                    .hint("`attache app set … --gateway NAME` seals them where they are."));
            }
        }
        let origins: Vec<String> = app.origins.iter().map(ToString::to_string).collect();
        self.audit.write(&Event::app_set(&environment, &app.connector, &app.name, &origins, &caller))?;
        book.put_app(&app)?;
        Ok(app)
    }

    /// What the secrets of an app are sealed to, and for what.
    ///
    /// # Errors
    /// As for [`Host::set_app`]; `not-found` without the gateway.
    pub fn propose_app(&self, request: AppRequest) -> Result<(Gateway, AppTerms)> {
        let book = self.book(&request.environment)?;
        let gateway = request.gateway.clone().ok_or_else(|| {
            Kind::Usage.error("Nothing is sealed for an app that goes through no gateway.").hint("Name the gateway.")
        })?;
        let app = self.app_as_asked(&book, request)?;
        self.terms_of_app(&book, &app, &gateway)
    }

    fn terms_of_app(&self, book: &Book<'_>, app: &App, gateway: &str) -> Result<(Gateway, AppTerms)> {
        let gateway = self.gateway(book.environment(), gateway)?;
        let approval = book.approval(&app.connector)?;
        let terms = AppTerms::of(app, book.environment(), &gateway.name, &approval.declared);
        Ok((gateway, terms))
    }

    /// The app as it would be kept, but for what is sealed.
    fn app_as_asked(&self, book: &Book<'_>, request: AppRequest) -> Result<App> {
        let approval = book.approval(&request.connector)?;
        let manifest = self.manifest(&approval)?;
        needs_app(&manifest)?;
        let name = request.name.unwrap_or_else(|| approval.connector.clone());
        consent::proper_name(&name)?;
        let before = book.apps(&approval.connector)?.into_iter().find(|app| app.name == name);
        if let Some(gateway) = before.as_ref().and_then(|before| before.gateway.as_ref())
            && request.gateway.is_none()
            && request.secrets.is_empty()
        {
            return Err(Kind::Usage
                .error(format!(
                    "What the app `{name}` has is sealed to the gateway `{}`, with everything that it is for.",
                    gateway.name
                ))
                .hint(format!("Change it with `--gateway {}` and its secrets, which nobody here has.", gateway.name)));
        }
        let mut app = match (before, request.client_id) {
            (Some(before), None) => before,
            (Some(before), Some(client_id)) => {
                // What the provider said of one that registered itself is said of no other.
                let client_auth = before.client_auth.filter(|_| before.registered_at.is_none());
                let client_id = checked_id(client_id)?;
                App { client_id, client_auth, registered_at: None, secret_expires: None, ..before }
            }
            (None, None) if manifest.options.iter().any(|option| option.scheme.oauth2().is_some()) => {
                return Err(Kind::Usage
                    .error(format!("The app `{name}` is new, so it needs the client id that the provider gave."))
                    .hint("Give it with `--client-id ID`."));
            }
            // Nobody but an authorization server knows it by a client id.
            (None, client_id) => App {
                connector: approval.connector.clone(),
                name,
                client_id: client_id.map(checked_id).transpose()?.unwrap_or_default(),
                key_id: None,
                client_auth: None,
                origins: BTreeSet::new(),
                redirect_uri: None,
                parameters: BTreeMap::new(),
                secrets: BTreeMap::new(),
                gateway: None,
                sealed: None,
                registered_at: None,
                secret_expires: None,
                created: now(),
            },
        };
        app.origins.extend(fixed_origins(&manifest));
        for origin in &request.origins {
            app.origins.insert(Origin::parse(origin)?);
        }
        if app.origins.is_empty() {
            return Err(Kind::Usage
                .error(format!("Where the provider of `{}` is depends on what is typed, so the app must say where its secrets may go.", app.connector))
                .hint("Give the provider's origin with `--origin https://login.example.com`, more than once if need be."));
        }
        if let Some(uri) = &request.redirect_uri {
            app.redirect_uri = Some(checked_redirect(uri)?);
        }
        app.gateway = None;
        app.sealed = None;
        if request.gateway.is_some() {
            if !request.secrets.is_empty() {
                return Err(Kind::InvalidInput
                    .error("Secrets came in clear for an app whose secrets only a gateway is to have.")
                    .hint("`attache app set … --gateway NAME` seals them where they are; the host is sent no more than the box."));
            }
            // Those that this host has are known to more than the gateway.
            app.secrets.clear();
        }
        take_secrets(&mut app, &manifest, request.secrets)?;
        if request.client_auth.is_some() {
            if request.gateway.is_none() && !app.secrets.contains_key(CLIENT_SECRET) {
                return Err(Kind::Usage
                    .error(format!("The app `{}` has no client secret to prove.", app.name))
                    .hint("Give it with `--client-secret env:NAME`, `file:PATH` or `-`."));
            }
            app.client_auth = request.client_auth;
        }
        for (name, value) in request.parameters {
            let parameter = parameter_of_app(&manifest, &name)?;
            if parameter.is_secret() {
                return Err(Kind::InvalidInput
                    .error(format!("`{name}` is a secret."))
                    .hint(format!("Give it with `--secret {name}=env:NAME`, `file:PATH` or `-`.")));
            }
            parameter.accept(&value)?;
            app.parameters.insert(name, value);
        }
        if request.key_id.is_some() {
            app.key_id = request.key_id;
        }
        Ok(app)
    }

    /// Every app of an environment, by connector and name.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn apps(&self, environment: &str) -> Result<Vec<App>> {
        let book = self.book(environment)?;
        let connectors = book.approvals()?.into_iter().map(|approval| approval.connector);
        connectors.map(|connector| book.apps(&connector)).collect::<Result<Vec<_>>>().map(|apps| apps.concat())
    }

    /// Removes an app with its secrets.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn remove_app(&self, environment: &str, connector: &str, name: &str, caller: &str) -> Result<()> {
        let _approving = lock(&self.approving);
        let book = self.book(environment)?;
        let app = book.app(connector, Some(name))?;
        self.audit.write(&Event::app_removed(environment, connector, name, caller))?;
        book.remove_app(&app)
    }
}

fn checked_id(client_id: String) -> Result<String> {
    if !is_client_id(&client_id) {
        return Err(Kind::InvalidInput.error("A client id has 1 to 1,000 characters, and none that controls anything."));
    }
    Ok(client_id)
}

/// https, or plain http to this machine (RFC 8252, 7.3); without a fragment (RFC 6749, 3.1.2).
fn checked_redirect(uri: &str) -> Result<Url> {
    let refused =
        |why: &str| Kind::InvalidInput.error(format!("`{}` cannot be a redirect URI: {why}.", text::foreign(uri, 200)));
    let url = Url::parse(uri).map_err(|error| refused(&error.to_string()))?;
    let origin = Origin::of(&url).map_err(|error| refused(error.message()))?;
    if url.scheme() == "http" && !origin.is_loopback() {
        return Err(refused("a code would travel in the clear"));
    }
    if url.fragment().is_some() || url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it is an address and a path, and nothing more"));
    }
    if url.path() == "/" {
        return Err(refused("it has no path, like `/callback`"));
    }
    Ok(url)
}

const PROOFS: [&str; 4] = [CLIENT_SECRET, PRIVATE_KEY, CERTIFICATE[0], CERTIFICATE[1]];

/// A client secret, a key or a certificate, each in place of whichever there was; and parameters that are secrets.
fn take_secrets(app: &mut App, manifest: &Manifest, secrets: BTreeMap<String, Secret>) -> Result<()> {
    check_secrets(manifest, &secrets)?;
    if PROOFS.iter().any(|name| secrets.contains_key(*name)) {
        PROOFS.iter().for_each(|name| drop(app.secrets.remove(*name)));
        app.key_id = None;
        app.secret_expires = None;
        app.client_auth = app.client_auth.filter(|_| secrets.contains_key(CLIENT_SECRET));
    }
    app.secrets.extend(secrets);
    Ok(())
}

/// Whether an app of this connector can have these secrets.
///
/// # Errors
/// `invalid-input` where one is no key, or empty; `usage` where one is not known.
pub(crate) fn check_secrets(manifest: &Manifest, secrets: &BTreeMap<String, Secret>) -> Result<()> {
    if let Some(key) = secrets.get(PRIVATE_KEY)
        && algorithm_of(key).is_none()
    {
        return Err(Kind::InvalidInput
            .error("The private key is none that signs RS256, ES256, ES384, ES512 or EdDSA.")
            .hint("It is PKCS #8 in PEM: `openssl pkcs8 -topk8 -nocrypt -in KEY` makes one of another form."));
    }
    if let (Some(certificate), Some(key)) = (secrets.get(CERTIFICATE[0]), secrets.get(CERTIFICATE[1])) {
        Identity::from_pem(certificate.expose(), key.expose())
            .map_err(|why| Kind::InvalidInput.error(format!("The client certificate cannot be used: {why}.")))?;
    }
    for (name, secret) in secrets {
        if !PROOFS.contains(&name.as_str()) {
            let parameter = parameter_of_app(manifest, name)?;
            let value = std::str::from_utf8(secret.expose())
                .map_err(|_| Kind::InvalidInput.error(format!("The value for `{name}` is not UTF-8 text.")))?;
            if !parameter.is_secret() {
                return Err(Kind::InvalidInput
                    .error(format!("`{name}` is not a secret: the connector can read it."))
                    .hint(format!("Give it with `--set {name}=VALUE`.")));
            }
            parameter.accept(value)?;
        }
        if secret.is_empty() {
            return Err(Kind::InvalidInput.error(format!("The secret `{name}` is empty.")));
        }
    }
    Ok(())
}

fn parameter_of_app<'a>(manifest: &'a Manifest, name: &str) -> Result<&'a Parameter> {
    let of_app = || manifest.options.iter().flat_map(|option| &option.parameters).filter(|parameter| parameter.of_app);
    of_app().find(|parameter| parameter.name == name).ok_or_else(|| {
        let known: Vec<&str> = of_app().map(|parameter| parameter.name.as_str()).collect();
        Kind::Usage
            .error(format!(
                "An app of the connector `{}` has no parameter `{}`.",
                manifest.name,
                text::foreign(name, 64)
            ))
            .hint(match known.as_slice() {
                [] => "It has none beside its client id and its proof.".to_owned(),
                known => format!("It has {}.", known.join(", ")),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_back_over_tls_or_to_this_machine() {
        for good in [
            "https://attache.example.com/callback",
            "https://attache.example.com:8443/connect-here/callback",
            "http://127.0.0.1:7070/callback",
            "http://127.0.0.1/callback",
            "http://[::1]:7070/callback",
            "http://localhost:7070/callback",
        ] {
            assert_eq!(checked_redirect(good).unwrap().as_str(), good);
        }
        for (bad, words) in [
            ("callback", "relative URL"),
            ("http://attache.example.com/callback", "in the clear"),
            ("http://192.168.1.1/callback", "in the clear"),
            ("http://127.0.0.1.evil.example/callback", "in the clear"),
            ("com.example.app:/callback", ""),
            ("urn:ietf:wg:oauth:2.0:oob", ""),
            ("https://attache.example.com/callback#x", "nothing more"),
            ("https://attache.example.com/callback#", "nothing more"),
            ("https://attache.example.com/callback?x=1", "nothing more"),
            ("https://jo@attache.example.com/callback", ""),
            ("https://:pass@attache.example.com/callback", ""),
            ("https://attache.example.com", "has no path"),
            ("https://attache.example.com/", "has no path"),
        ] {
            let refused = checked_redirect(bad).unwrap_err();
            assert_eq!(refused.kind(), Kind::InvalidInput, "{bad}");
            assert!(refused.message().contains(words), "{bad}: {refused}");
        }
    }
}
