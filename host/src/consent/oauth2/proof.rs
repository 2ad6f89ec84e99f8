//! How the app proves who it is to the provider: with its secret (RFC 6749, 2.3.1), with an assertion that it signs with a
//! key or with that secret (RFC 7523, 2.2; OpenID Connect Core, 9), or in the TLS handshake (RFC 8705, 2).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jiff::Timestamp;
use serde_json::json;
use url::{Url, form_urlencoded};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    Client,
    request::{Parameters, text},
};
use crate::{
    consent::{
        App,
        app::{CERTIFICATE, CLIENT_SECRET, PRIVATE_KEY, SecretAuth},
    },
    error::{Error, Kind, Result},
    manifest::{
        Values,
        jwt::{Algorithm, compact},
        oauth2::ClientAuth,
        template::Scope,
    },
    secret::Secret,
    transport::Identity,
};

/// As an assertion is used at once; clocks differ by less.
const ASSERTION_SECONDS: i64 = 60;
/// RFC 7521, 4.2.
pub(super) const ASSERTION: &str = "client_assertion";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// What a private key may sign with, the first that fits.
const ALGORITHMS: [&str; 5] = ["RS256", "ES256", "ES384", "ES512", "EdDSA"];

/// Adds the client's name and its proof.
pub(super) fn put_on(
    client: &Client,
    url: &Url,
    values: &Values,
    parameters: &mut Parameters,
    headers: &mut HeaderMap,
) -> Result<Option<Identity>> {
    let own = |name: &str| values.value(name).map(|value| Secret::new(value.bytes()));
    let Some(id) = own("client_id") else {
        return Err(Kind::ApprovalNeeded
            .error("There is no client id to ask the provider with.")
            .hint("`attache app set CONNECTOR --client-id ID` gives one."));
    };
    let of_app = |name: &str| client.app.as_ref().and_then(|app| app.secrets.get(name));
    // Who is meant is the provider itself, where it is known by name, else this very endpoint.
    let audience = client.discovered.issuer.as_deref().unwrap_or(url.as_str());
    if let Some(key) = of_app(PRIVATE_KEY) {
        let key_id = client.app.as_ref().and_then(|app| app.key_id.as_deref());
        let assertion = assertion(key, key_id, text(&id)?, audience)?;
        put_assertion(parameters, id, assertion);
        return Ok(None);
    }
    if let (Some(certificate), Some(key)) = (of_app(CERTIFICATE[0]), of_app(CERTIFICATE[1])) {
        parameters.push(("client_id".into(), id));
        return Identity::from_pem(certificate.expose(), key.expose()).map(Some).map_err(|why| {
            Kind::ApprovalNeeded
                .error(format!("The app's client certificate cannot be used: {why}."))
                .hint("`attache app set` replaces it.")
        });
    }
    if let Some(app) = client.app.as_ref().filter(|app| app.secret_is_over(Duration::ZERO)) {
        return Err(ran_out(app));
    }
    match own(CLIENT_SECRET).and_then(|secret| Some((client.way_of_secret()?, secret))) {
        Some((SecretAuth::ClientSecretBasic, secret)) => {
            headers.insert(AUTHORIZATION, basic(&id, &secret)?);
        }
        Some((SecretAuth::ClientSecretPost, secret)) => {
            parameters.push(("client_id".into(), id));
            parameters.push((CLIENT_SECRET.into(), secret));
        }
        Some((SecretAuth::ClientSecretJwt, secret)) => {
            let assertion = sign("HS256", &secret, None, text(&id)?, audience)
                .ok_or_else(|| Kind::ApprovalNeeded.error("The app's client secret signs nothing: it is empty."))?;
            put_assertion(parameters, id, assertion);
        }
        None => parameters.push(("client_id".into(), id)),
    }
    Ok(None)
}

/// Of an app that the host registered. The provider would say no more than that the client is unknown.
fn ran_out(app: &App) -> Error {
    let (name, at) = (&app.name, app.secret_expires().unwrap_or_default());
    Kind::ReconnectNeeded
        .error(format!("The client secret that the provider gave the app `{name}` ran out at {at}."))
        .hint(format!(
            "`attache connection reconnect NAME` registers another app and signs in again; `attache app set {} --name {name} --client-secret SOURCE` gives this one a new secret, if the provider does.",
            app.connector
        ))
}

fn put_assertion(parameters: &mut Parameters, id: Secret, assertion: Secret) {
    parameters.push(("client_id".into(), id));
    parameters.push(("client_assertion_type".into(), Secret::new(ASSERTION_TYPE)));
    parameters.push((ASSERTION.into(), assertion));
}

impl Client {
    /// As the operator says of the app, or the provider did when it was registered; else as declared; else what the provider's
    /// metadata says that it takes; else in the content. None where the secret is not to be proved.
    fn way_of_secret(&self) -> Option<SecretAuth> {
        let takes = |name: &str| self.discovered.token_auth_methods.iter().any(|method| method == name);
        match (self.app.as_ref().and_then(|app| app.client_auth), self.settings.client_auth) {
            (Some(way), _) => Some(way),
            (None, Some(ClientAuth::Post)) => Some(SecretAuth::ClientSecretPost),
            (None, Some(ClientAuth::Basic)) => Some(SecretAuth::ClientSecretBasic),
            (None, Some(ClientAuth::None)) => None,
            (None, None) if takes("client_secret_post") => Some(SecretAuth::ClientSecretPost),
            (None, None) if takes("client_secret_basic") => Some(SecretAuth::ClientSecretBasic),
            (None, None) if takes("client_secret_jwt") => Some(SecretAuth::ClientSecretJwt),
            (None, None) => Some(SecretAuth::ClientSecretPost),
        }
    }
}

/// Both are form-encoded first (RFC 6749, 2.3.1), so that a colon, a percent sign or a plus in them arrives as it is.
fn basic(id: &Secret, secret: &Secret) -> Result<HeaderValue> {
    let encoded =
        |value: &Secret| -> Result<String> { Ok(form_urlencoded::byte_serialize(text(value)?.as_bytes()).collect()) };
    let pair = Zeroizing::new(format!("{}:{}", encoded(id)?, encoded(secret)?));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        .map_err(|_| Kind::Internal.error("A Basic credential was no header value."))?;
    value.set_sensitive(true);
    Ok(value)
}

fn assertion(key: &Secret, key_id: Option<&str>, client_id: &str, audience: &str) -> Result<Secret> {
    ALGORITHMS.iter().find_map(|algorithm| sign(algorithm, key, key_id, client_id, audience)).ok_or_else(|| {
        Kind::ApprovalNeeded
            .error("The app's private key is none that signs RS256, ES256, ES384, ES512 or EdDSA.")
            .hint("`attache app set CONNECTOR --private-key file:KEY.pem` replaces it; it is PKCS #8 in PEM.")
    })
}

/// What a private key signs with; none where it is no key.
pub(crate) fn algorithm_of(key: &Secret) -> Option<&'static str> {
    ALGORITHMS.iter().find(|algorithm| sign(algorithm, key, None, "client", "audience").is_some()).copied()
}

fn sign(algorithm: &str, key: &Secret, key_id: Option<&str>, client_id: &str, audience: &str) -> Option<Secret> {
    let now = Timestamp::now().as_second();
    let mut header = json!({ "alg": algorithm, "typ": "JWT" });
    if let Some(key_id) = key_id {
        header["kid"] = key_id.into();
    }
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": audience,
        "iat": now, "exp": now + ASSERTION_SECONDS, "jti": Uuid::new_v4(),
    });
    let (header, claims) = (header.to_string(), claims.to_string());
    let token = compact(Algorithm::of(algorithm)?, key.expose(), header.as_bytes(), claims.as_bytes()).ok()?;
    Some(Secret::new(token.as_bytes()))
}
