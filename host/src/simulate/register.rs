//! The registration endpoint (RFC 7591).

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{
    State,
    answer::{Refusal, Reply},
    asked::{Asked, Format},
    client::{Client, Method as ClientAuth, is_loopback},
    random,
};
use crate::secret::Secret;

/// What a client says of itself (RFC 7591, 2). What is not known is ignored, as its section 2 has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    client_name: Option<String>,
    scope: Option<String>,
}

/// Answers a request to it.
pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    match work(state, asked) {
        Ok(reply) => reply,
        Err(refusal) => Reply::refusal(&refusal),
    }
}

fn work(state: &mut State, asked: &Asked) -> Result<Reply, Refusal> {
    let invalid = |description: &str| Refusal::new("invalid_client_metadata", description);
    if asked.method != Method::POST || asked.format != Format::Json {
        return Err(invalid("A client registers by JSON, by POST."));
    }
    let said: Said =
        serde_json::from_slice(&asked.body).map_err(|_| invalid("The JSON is not a client's metadata."))?;
    let grants = said.grant_types.unwrap_or_else(|| vec!["authorization_code".into()]);
    if said.redirect_uris.is_empty() && grants.iter().any(|grant| grant == "authorization_code") {
        return Err(Refusal::new("invalid_redirect_uri", "There is no redirect URI."));
    }
    if let Some(bad) = said.redirect_uris.iter().find(|uri| !may_be_registered(uri)) {
        return Err(Refusal::new("invalid_redirect_uri", format!("{bad} is neither https nor on loopback.")));
    }
    let way = said.token_endpoint_auth_method.as_deref().unwrap_or("client_secret_basic");
    let method = ClientAuth::named(way).ok_or_else(|| invalid("That way to authenticate is unknown here."))?;
    let id = random("client");
    let secret = (method != ClientAuth::None).then(|| random("secret"));
    let mut answer = json!({
        "client_id": id,
        "client_id_issued_at": state.clock.now().as_secs(),
        "redirect_uris": said.redirect_uris,
        "token_endpoint_auth_method": way,
        "grant_types": grants,
        "response_types": ["code"],
    });
    for (name, value) in [("client_name", said.client_name), ("scope", said.scope)] {
        if let Some(value) = value {
            answer[name] = value.into();
        }
    }
    if let Some(secret) = &secret {
        answer["client_secret"] = secret.as_str().into();
        // RFC 7591, 3.2.1: it does not expire.
        answer["client_secret_expires_at"] = 0.into();
    }
    let mut reply = Reply::json(StatusCode::CREATED, &answer).client(&id);
    if let Some(secret) = &secret {
        reply = reply.gives("client_secret", secret);
    }
    let client = Client {
        secret: secret.map(Secret::new),
        key: None,
        certified: Vec::new(),
        redirect_uris: said.redirect_uris,
        registered: Some(method),
    };
    state.clients.register(id, client);
    Ok(reply)
}

fn may_be_registered(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|url| {
        url.fragment().is_none() && (url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url))
    })
}
