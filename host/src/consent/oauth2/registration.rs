//! Registering an app by itself (RFC 7591), where the connector names an endpoint for it and the operator has none.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::{
    audit::Subject,
    consent::{
        App,
        app::CLIENT_SECRET,
        now,
        step::{Failure, Way},
    },
    error::{Kind, Result},
    manifest::oauth2::Grant,
    origin::Origin,
    secret::Secret,
    text,
    transport::Outgoing,
};

/// RFC 7591, 3.2.1.
#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<String>,
    client_secret_expires_at: Option<i64>,
}

/// Registers an app for a connector. People come back to `public`, where a host has such a URL, else to a port of loopback.
pub(crate) async fn register(
    connector: &str,
    endpoint: Url,
    grants: &[Grant],
    origins: BTreeSet<Origin>,
    public: Option<&Url>,
    (way, subject): (&Way, &Subject),
) -> Result<App> {
    let origin = endpoint.origin().ascii_serialization();
    let names: Vec<&str> = grants.iter().map(|grant| grant.registered()).chain(["refresh_token"]).collect();
    let has_code = grants.contains(&Grant::AuthorizationCode);
    let redirect_uri = public.map_or("http://127.0.0.1/callback", Url::as_str);
    let asked = json!({
        "client_name": format!("Attaché ({connector})"),
        // OpenID Connect Registration 1.0, 2.
        "application_type": if public.is_some() { "web" } else { "native" },
        "redirect_uris": if has_code { vec![redirect_uri] } else { Vec::new() },
        "grant_types": names,
        "response_types": if has_code { vec!["code"] } else { Vec::new() },
        "token_endpoint_auth_method": "client_secret_post",
    });
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let outgoing = Outgoing::new(Method::POST, endpoint.clone(), headers, Bytes::from(asked.to_string()));
    let answer = way.exchange(outgoing, subject, 0).await.map_err(Failure::into_error)?;
    let refused = |why: &str| {
        Kind::ServiceFailed.error(format!("{origin} did not register an app: {why}.")).hint(format!(
            "Register one there, then `attache app set {connector} --client-id ID --client-secret SOURCE`."
        ))
    };
    if !answer.status.is_success() {
        return Err(refused(&format!("it answered with status {}", answer.status.as_u16())));
    }
    let registered: Registered =
        serde_json::from_slice(&answer.body).map_err(|_| refused("its answer is no registration (RFC 7591, 3.2.1)"))?;
    if registered.client_id.is_empty()
        || registered.client_id.len() > 1_000
        || registered.client_id.chars().any(char::is_control)
    {
        return Err(refused("the client id that it gave cannot be used"));
    }
    if registered.client_secret_expires_at.is_some_and(|at| at != 0) {
        tracing::warn!(connector, "the provider gave the app a secret that runs out; register anew then");
    }
    let secret = registered.client_secret.map(|secret| (CLIENT_SECRET.to_owned(), Secret::new(secret)));
    Ok(App {
        connector: connector.to_owned(),
        name: text::foreign(connector, 64),
        client_id: registered.client_id,
        key_id: None,
        client_auth: None,
        origins,
        redirect_uri: public.cloned(),
        parameters: BTreeMap::new(),
        secrets: secret.into_iter().collect(),
        gateway: None,
        sealed: None,
        registered_at: Some(endpoint),
        created: now(),
    })
}

impl Grant {
    /// As RFC 7591, 2 writes it.
    fn registered(self) -> &'static str {
        match self {
            Grant::AuthorizationCode => "authorization_code",
            Grant::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Grant::ClientCredentials => "client_credentials",
        }
    }
}
