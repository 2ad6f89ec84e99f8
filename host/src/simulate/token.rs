//! The token endpoint (RFC 6749, 3.2): one function for each grant.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::ACCEPT;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    State,
    answer::{self, Refusal, Reply},
    asked::{Asked, Endpoint, Params},
    grants::{Granted, Issued, Terms},
    quirk::Quirk,
    same,
    settings::{Pkce, Settings},
};

/// Answers a request to it, or to the refresh endpoint where that is another.
pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let as_json = asked.headers.get(ACCEPT).is_some_and(|value| value.as_bytes().windows(4).any(|it| it == b"json"));
    let mut client = None;
    let reply = match work(state, asked, &mut client) {
        Ok(issued) => answer::token(&state.settings, &state.base, &issued, as_json),
        Err(refusal) => answer::token_refusal(&state.settings, &refusal, as_json),
    };
    Reply { client, ..reply }
}

fn work(state: &mut State, asked: &Asked, who: &mut Option<String>) -> Result<Issued, Refusal> {
    let params = asked.token_params(&state.settings)?;
    let grant = params.need("grant_type")?;
    let client = state.clients.authenticate(&state.settings, asked, params)?;
    who.replace(client.clone());
    let refreshes = grant == "refresh_token";
    if refreshes != (asked.endpoint == Endpoint::Refresh) && (!refreshes || state.settings.has(Quirk::RefreshElsewhere))
    {
        return Err(Refusal::invalid_request(
            "Refresh tokens are for `/refresh` here, and everything else is for `/token`.",
        ));
    }
    match grant {
        "authorization_code" => code(state, &client, params),
        "refresh_token" => refresh(state, &client, params),
        "client_credentials" => client_credentials(state, &client, params),
        _ => Err(Refusal::new("unsupported_grant_type", "This provider does not know that grant.")),
    }
}

fn code(state: &mut State, client: &str, params: &Params) -> Result<Issued, Refusal> {
    let code = params.need("code")?;
    let redirect_uri = params.one(state.settings.redirect_name())?;
    let verifier = params.one("code_verifier")?;
    let terms = Terms { settings: &state.settings, clock: &state.clock };
    state.grants.redeem(&terms, client, code, &resources(params)?, |code| {
        // RFC 6749, 4.1.3: it has to come again where it was named, and be the same.
        if code.redirect_uri.is_some() && code.redirect_uri.as_deref() != redirect_uri {
            return Err(Refusal::invalid_grant("The redirect URI is not the one that the code was asked for with."));
        }
        verify(&state.settings, code.challenge.as_deref(), verifier)
    })
}

/// RFC 7636, 4.6, and RFC 9700, 2.1.1 for a verifier that nothing was bound to.
fn verify(settings: &Settings, challenge: Option<&str>, verifier: Option<&str>) -> Result<(), Refusal> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (None, Some(_)) if settings.has(Quirk::NoPkce) => {
            Err(Refusal::invalid_request("`code_verifier` is unknown here."))
        }
        (None, Some(_)) => Err(Refusal::invalid_grant("The code is bound to no verifier.")),
        (Some(_), None) => Err(Refusal::invalid_grant("The code is bound to a verifier, which is missing.")),
        (Some(challenge), Some(verifier)) => {
            let hashed = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
            // RFC 7636, 4.1: 43 to 128 characters.
            if !(43..=128).contains(&verifier.len()) || !same(hashed.as_bytes(), challenge.as_bytes()) {
                return Err(Refusal::invalid_grant("The verifier is not the one that the code is bound to."));
            }
            Ok(())
        }
    }
}

fn refresh(state: &mut State, client: &str, params: &Params) -> Result<Issued, Refusal> {
    let token = params.need("refresh_token")?;
    let scope = params.one("scope")?;
    if scope.is_none() && state.settings.has(Quirk::RefreshScopeDemanded) {
        return Err(Refusal::invalid_request("A refresh names its scopes here."));
    }
    if scope.is_some() && state.settings.has(Quirk::RefreshScopeRefused) {
        return Err(Refusal::new("invalid_scope", "A refresh names no scopes here."));
    }
    let terms = Terms { settings: &state.settings, clock: &state.clock };
    state.grants.renew(&terms, client, token, scope, &resources(params)?)
}

fn client_credentials(state: &mut State, client: &str, params: &Params) -> Result<Issued, Refusal> {
    if state.clients.get(client).is_none_or(|it| it.secret.is_none()) {
        return Err(Refusal::new("unauthorized_client", "A public client has no credentials."));
    }
    let scope = grantable(&state.settings, &state.base, params.one("scope")?)?;
    // RFC 6749, 4.4.3: no refresh token.
    let granted =
        Granted { client: client.into(), account: client.into(), scope, resource: resources(params)?, offline: false };
    let terms = Terms { settings: &state.settings, clock: &state.clock };
    Ok(state.grants.issue(&terms, granted))
}

/// The scopes that are granted of those that are asked for.
pub(super) fn grantable(settings: &Settings, base: &str, asked: Option<&str>) -> Result<Vec<String>, Refusal> {
    let mut scopes = settings.split(asked.unwrap_or_default());
    for scope in &scopes {
        if !settings.scope.is_empty() && !settings.scope.contains(scope) {
            return Err(Refusal::new("invalid_scope", "There is no such scope."));
        }
        let well_known = matches!(scope.as_str(), "offline_access" | "openid");
        if settings.has(Quirk::ScopeOfOrigin) && !well_known && !scope.starts_with(&format!("{base}/")) {
            return Err(Refusal::new("invalid_scope", format!("Scopes begin with {base}/ here.")));
        }
    }
    scopes.retain(|scope| !settings.withhold.contains(scope));
    Ok(scopes)
}

/// RFC 8707, 2: absolute, without a fragment.
pub(super) fn resources(params: &Params) -> Result<Vec<String>, Refusal> {
    params
        .all("resource")
        .map(|resource| match url::Url::parse(resource) {
            Ok(url) if url.fragment().is_none() => Ok(resource.to_owned()),
            _ => Err(Refusal::new("invalid_target", "A resource is an absolute URI without a fragment.")),
        })
        .collect()
}

/// Whether a code has to have a challenge.
pub(super) fn needs_challenge(settings: &Settings) -> bool {
    settings.pkce == Pkce::Required && !settings.has(Quirk::NoPkce)
}
