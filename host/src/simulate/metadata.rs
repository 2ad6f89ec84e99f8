//! What the provider says of itself: RFC 8414, OpenID Connect Discovery 1.0 and RFC 9728.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{State, answer::Reply, asked::Asked, assertion::ALGORITHMS, client::Method, quirk::Quirk, token::GRANTS};

/// Answers a request for a document of it.
pub(super) fn answer(state: &State, asked: &Asked) -> Reply {
    match asked.path.as_str() {
        "/.well-known/oauth-authorization-server" => Reply::json(StatusCode::OK, &server(state, false)),
        "/.well-known/openid-configuration" => Reply::json(StatusCode::OK, &server(state, true)),
        "/.well-known/oauth-protected-resource" | "/.well-known/oauth-protected-resource/api" => {
            let api = format!("{}/api", state.base);
            let resource = if asked.path.ends_with("/api") { api } else { state.base.clone() };
            let document = json!({ "resource": resource, "authorization_servers": [state.base], "bearer_methods_supported": ["header"] });
            Reply::json(StatusCode::OK, &document)
        }
        _ => Reply { outcome: "not_found".into(), ..Reply::new(StatusCode::NOT_FOUND) },
    }
}

fn server(state: &State, openid: bool) -> Value {
    let (base, settings) = (&state.base, &state.settings);
    let mut document = Map::from_iter(
        [("authorization_endpoint", "authorize"), ("token_endpoint", "token"), ("revocation_endpoint", "revoke")]
            .map(|(name, path)| (name.to_owned(), format!("{base}/{path}").into())),
    );
    document.insert("issuer".into(), base.as_str().into());
    document.insert("response_types_supported".into(), json!(["code"]));
    document.insert("response_modes_supported".into(), json!(["query"]));
    document.insert("grant_types_supported".into(), json!(GRANTS));
    document.insert("token_endpoint_auth_methods_supported".into(), json!(Method::offered(settings)));
    document.insert("token_endpoint_auth_signing_alg_values_supported".into(), json!(ALGORITHMS));
    document.insert("authorization_response_iss_parameter_supported".into(), true.into());
    if !settings.has(Quirk::NoPkce) {
        document.insert("code_challenge_methods_supported".into(), json!(["S256"]));
    }
    if !settings.scope.is_empty() {
        document.insert("scopes_supported".into(), json!(settings.scope));
    }
    if openid {
        document.insert("userinfo_endpoint".into(), format!("{base}/api/me").into());
        document.insert("subject_types_supported".into(), json!(["public"]));
    }
    document.into()
}
