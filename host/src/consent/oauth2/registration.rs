//! Registering an app by itself (RFC 7591), where the connector names an endpoint for it and the operator has none.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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
        app::{CLIENT_SECRET, SecretAuth, is_client_id},
        now,
        step::{Failure, Way},
    },
    error::{Kind, Result},
    manifest::{
        Oauth2, Values,
        oauth2::{ClientAuth, Grant},
        template::Moment,
    },
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
    token_endpoint_auth_method: Option<String>,
}

/// Where an app is registered.
pub(crate) struct Registry {
    /// RFC 7591, 3.
    pub(crate) endpoint: Url,
    /// The provider's, where what the app has may go.
    pub(crate) origins: BTreeSet<Origin>,
}

impl Registry {
    /// As the settings say with what was typed; none where they name no endpoint.
    ///
    /// # Errors
    /// `invalid-input` where an endpoint cannot be filled in.
    pub(crate) fn of(settings: &Oauth2, typed: &Values) -> Result<Option<Self>> {
        let Some(endpoint) = &settings.registration_url else { return Ok(None) };
        let endpoint = endpoint
            .fill(typed, &Moment::now())
            .map_err(|why| Kind::InvalidInput.error(format!("Where to register cannot be filled in: {why}.")))?;
        Ok(Some(Self { endpoint: endpoint.expose().clone(), origins: super::origins(settings, typed)? }))
    }
}

/// Registers an app for a connector. People come back to `public`, where a host has such a URL, else to a port of loopback.
/// `through` is the gateway that does it, for a sentence.
pub(crate) async fn register(
    connector: &str,
    settings: &Oauth2,
    Registry { endpoint, origins }: Registry,
    public: Option<&Url>,
    through: Option<&str>,
    (way, subject): (&Way, &Subject),
) -> Result<App> {
    let origin = endpoint.origin().ascii_serialization();
    let of_gateway = through.map(|name| format!(" --gateway {name}")).unwrap_or_default();
    let grants = &settings.grants;
    let names: Vec<&str> = grants.iter().map(|grant| grant.registered()).chain(["refresh_token"]).collect();
    let has_code = grants.contains(&Grant::AuthorizationCode);
    let redirect_uri = public.map_or("http://127.0.0.1/callback", Url::as_str);
    // What is left out is sent in the content, as everywhere.
    let auth_method = settings.client_auth.unwrap_or(ClientAuth::Post).registered();
    let asked = json!({
        "client_name": format!("Attaché ({connector})"),
        // OpenID Connect Registration 1.0, 2.
        "application_type": if public.is_some() { "web" } else { "native" },
        "redirect_uris": if has_code { vec![redirect_uri] } else { Vec::new() },
        "grant_types": names,
        "response_types": if has_code { vec!["code"] } else { Vec::new() },
        "token_endpoint_auth_method": auth_method,
    });
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let outgoing = Outgoing::new(Method::POST, endpoint.clone(), headers, Bytes::from(asked.to_string()));
    let answer = way.exchange(outgoing, subject, 0).await.map_err(Failure::into_error)?;
    let refused = |why: &str| {
        Kind::ServiceFailed.error(format!("{origin} did not register an app: {why}.")).hint(format!(
            "Register one there, then `attache app set {connector}{of_gateway} --client-id ID --client-secret SOURCE`."
        ))
    };
    if !answer.status.is_success() {
        return Err(refused(&format!("it answered with status {}", answer.status.as_u16())));
    }
    let registered: Registered =
        serde_json::from_slice(&answer.body).map_err(|_| refused("its answer is no registration (RFC 7591, 3.2.1)"))?;
    if !is_client_id(&registered.client_id) {
        return Err(refused("the client id that it gave cannot be used"));
    }
    let expires = registered.client_secret_expires_at.filter(|at| *at != 0);
    let client_id = registered.client_id.clone();
    let proof = registered.proof(auth_method).map_err(|why| refused(&why))?;
    let app = App {
        connector: connector.to_owned(),
        name: text::foreign(connector, 64),
        client_id,
        key_id: None,
        client_auth: proof.as_ref().map(|(way, _)| *way),
        origins,
        redirect_uri: public.cloned(),
        parameters: BTreeMap::new(),
        secret_expires: expires.filter(|_| proof.is_some()),
        secrets: proof.into_iter().map(|(_, secret)| (CLIENT_SECRET.to_owned(), secret)).collect(),
        gateway: None,
        sealed: None,
        registered_at: Some(endpoint),
        created: now(),
    };
    match app.secret_is_over(Duration::ZERO) {
        true => Err(refused("the client secret that it gave has run out already")),
        false => Ok(app),
    }
}

impl Registered {
    /// The client secret and how it is shown; none of a public client. The provider may register something else than was asked
    /// for, and says so (RFC 7591, 3.2.1); where it does not say, it is as was asked.
    fn proof(self, asked: &str) -> Result<Option<(SecretAuth, Secret)>, String> {
        let said = self.token_endpoint_auth_method.as_deref();
        let method = said.unwrap_or(asked);
        if method == ClientAuth::None.registered() {
            return Ok(None);
        }
        let way = serde_json::from_value::<SecretAuth>(method.into()).map_err(|_| {
            format!("it wants the app to prove itself by `{}`, which it has nothing for", text::foreign(method, 60))
        })?;
        match (self.client_secret.filter(|secret| !secret.is_empty()), said) {
            (Some(secret), _) => Ok(Some((way, Secret::new(secret)))),
            (None, Some(_)) => Err(format!(
                "it wants the app to prove itself by `{}`, and gave it no secret",
                text::foreign(method, 60)
            )),
            (None, None) => Ok(None),
        }
    }
}

impl ClientAuth {
    /// As RFC 7591, 2 writes it.
    fn registered(self) -> &'static str {
        match self {
            ClientAuth::Post => "client_secret_post",
            ClientAuth::Basic => "client_secret_basic",
            ClientAuth::None => "none",
        }
    }
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
