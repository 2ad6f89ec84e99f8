//! What the provider says of itself: RFC 8414, OpenID Connect Discovery 1.0 and RFC 9728.

use axum::http::StatusCode;
use serde_json::{Value, json};

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
    let mut document = json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "device_authorization_endpoint": format!("{base}/device_authorization"),
        "revocation_endpoint": format!("{base}/revoke"),
        "registration_endpoint": format!("{base}/register"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": GRANTS,
        "token_endpoint_auth_methods_supported": Method::offered(settings),
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "authorization_response_iss_parameter_supported": true,
    });
    if settings.has(Quirk::CertificateBound) {
        document["tls_client_certificate_bound_access_tokens"] = true.into();
    }
    if let Some(at) = state.elsewhere.as_ref().filter(|_| settings.has(Quirk::MtlsElsewhere)) {
        document["mtls_endpoint_aliases"] = json!({
            "token_endpoint": format!("{at}/token"),
            "device_authorization_endpoint": format!("{at}/device_authorization"),
            "revocation_endpoint": format!("{at}/revoke"),
        });
    }
    if !settings.has(Quirk::NoPkce) {
        document["code_challenge_methods_supported"] = json!(["S256"]);
    }
    if !settings.scope.is_empty() {
        document["scopes_supported"] = json!(settings.scope);
    }
    if openid {
        document["userinfo_endpoint"] = format!("{base}/api/me").into();
        document["subject_types_supported"] = json!(["public"]);
    }
    document
}
