//! The token endpoint (RFC 6749, 3.2): one function for each grant.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::ACCEPT;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    State,
    answer::{self, Refusal, Reply},
    asked::{Asked, Endpoint, Params},
    certified::thumbprint,
    client::Client,
    device,
    grants::{Granted, Issued, Terms},
    quirk::Quirk,
    same,
    settings::{Pkce, Settings},
};

/// RFC 8628, 3.4.
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// RFC 7523, 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// RFC 8693, 2.1.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693, 3.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Every grant that the metadata names.
pub(super) const GRANTS: [&str; 6] =
    ["authorization_code", "refresh_token", "client_credentials", DEVICE_CODE, JWT_BEARER, TOKEN_EXCHANGE];
/// Of what an access token is exchanged for in place of being refreshed, in seconds: Facebook's sixty days.
const LONG_LIFETIME: u32 = 60 * 24 * 3_600;

/// Answers a request to it, or to the refresh endpoint where that is another.
pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let as_json = asked.headers.get(ACCEPT).is_some_and(|value| value.as_bytes().windows(4).any(|it| it == b"json"));
    let mut client = None;
    let reply = match work(state, asked, &mut client) {
        Ok(issued) => {
            if let Some(certificate) = thumbprint(&asked.shown).filter(|_| state.settings.has(Quirk::CertificateBound))
            {
                state.grants.bind(&issued.access, certificate);
            }
            answer::token(&state.settings, &state.base, &issued, as_json)
        }
        Err(refusal) => answer::token_refusal(&state.settings, &refusal, as_json),
    };
    Reply { client, ..reply }
}

fn work(state: &mut State, asked: &Asked, who: &mut Option<String>) -> Result<Issued, Refusal> {
    let params = asked.token_params(&state.settings)?;
    let grant = params.need("grant_type")?;
    if grant == JWT_BEARER {
        return jwt_bearer(state, asked, params, who);
    }
    let client = state.clients.authenticate(&state.settings, &state.base, asked, params)?;
    who.replace(client.clone());
    let elsewhere = grant == "refresh_token" && state.settings.has(Quirk::RefreshElsewhere);
    if elsewhere != (asked.endpoint == Endpoint::Refresh) {
        return Err(Refusal::invalid_request("Refresh tokens, and nothing else, are for `/refresh` here."));
    }
    match grant {
        "authorization_code" => code(state, &client, params),
        "refresh_token" => refresh(state, &client, params),
        "client_credentials" => client_credentials(state, &client, params),
        DEVICE_CODE => device::redeem(state, &client, params),
        TOKEN_EXCHANGE => token_exchange(state, &client, params),
        "fb_exchange_token" => exchange_access_token(state, &client, params, "fb_exchange_token"),
        "ig_refresh_token" | "th_refresh_token" => exchange_access_token(state, &client, params, "access_token"),
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
    if state.clients.get(client).is_none_or(Client::is_public) {
        return Err(Refusal::new("unauthorized_client", "A public client has no credentials."));
    }
    let scope = grantable(&state.settings, &state.base, params.one("scope")?)?;
    // RFC 6749, 4.4.3: no refresh token.
    let granted =
        Granted { client: client.into(), account: client.into(), scope, resource: resources(params)?, offline: false };
    let terms = Terms { settings: &state.settings, clock: &state.clock };
    Ok(state.grants.issue(&terms, granted))
}

/// RFC 7523, 2.1: who signed the assertion is the client, and whom it is about is the account. A client may prove itself
/// beside it, and has to be the same then.
fn jwt_bearer(state: &mut State, asked: &Asked, params: &Params, who: &mut Option<String>) -> Result<Issued, Refusal> {
    let assertion = params.need("assertion")?;
    let named = asked.basic().is_some() || params.one(state.settings.client_id())?.is_some();
    if named {
        who.replace(state.clients.authenticate(&state.settings, &state.base, asked, params)?);
    }
    let audiences = [state.base.clone(), format!("{}/token", state.base)];
    let claims = state.clients.asserted(assertion, &audiences).map_err(Refusal::invalid_grant)?;
    if who.get_or_insert_with(|| claims.iss.clone()) != &claims.iss {
        return Err(Refusal::invalid_grant("The assertion is another client's."));
    }
    let scope = params.one("scope")?.or(claims.scope.as_deref());
    let granted = Granted {
        account: if claims.sub.is_empty() { claims.iss.clone() } else { claims.sub },
        client: claims.iss,
        scope: grantable(&state.settings, &state.base, scope)?,
        resource: resources(params)?,
        // RFC 7521, 4.1: an assertion is as good as a refresh token.
        offline: false,
    };
    let terms = Terms { settings: &state.settings, clock: &state.clock };
    Ok(state.grants.issue(&terms, granted))
}

/// RFC 8693, of an access token for one that is for less, or for somebody else.
fn token_exchange(state: &mut State, client: &str, params: &Params) -> Result<Issued, Refusal> {
    let subject = params.need("subject_token")?;
    if params.need("subject_token_type")? != ACCESS_TOKEN {
        return Err(Refusal::invalid_request("Only access tokens are exchanged here."));
    }
    if params.one("requested_token_type")?.is_some_and(|kind| kind != ACCESS_TOKEN) {
        return Err(Refusal::invalid_request("Only access tokens are given here."));
    }
    if params.one("actor_token")?.is_some() {
        return Err(Refusal::invalid_request("Nobody acts for somebody else here."));
    }
    let mut targets = resources(params)?;
    targets.extend(params.all("audience").map(str::to_owned));
    let terms = Terms { settings: &state.settings, clock: &state.clock };
    let issued = state.grants.exchange(&terms, client, subject, None, params.one("scope")?, &targets)?;
    Ok(Issued { kind: Some(ACCESS_TOKEN), ..issued })
}

fn exchange_access_token(state: &mut State, client: &str, params: &Params, name: &str) -> Result<Issued, Refusal> {
    if !state.settings.has(Quirk::ExchangeAccessToken) {
        return Err(Refusal::new("unsupported_grant_type", "This provider does not know that grant."));
    }
    let terms = Terms { settings: &state.settings, clock: &state.clock };
    state.grants.exchange(&terms, client, params.need(name)?, Some(LONG_LIFETIME), None, &[])
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

#[cfg(test)]
mod tests {
    use axum::{
        body::Bytes,
        http::{HeaderMap, HeaderValue, Method, Uri, header::CONTENT_TYPE},
    };
    use serde_json::{Value, json};
    use url::form_urlencoded::Serializer;

    use super::*;
    use crate::{
        manifest::jwt::{Algorithm, compact},
        simulate::{Change, clock::Clock},
    };

    const BASE: &str = "http://127.0.0.1:1";

    fn state() -> State {
        let public = include_str!("../manifest/jwt/testdata/rfc7515-a3.pub.pem");
        let change = Change {
            client: Some(vec!["demo:demo-secret".into(), "keyed".into(), "public".into()]),
            client_key: Some(vec![format!("keyed={public}")]),
            ..Change::default()
        };
        State::new(Settings::with(change).unwrap(), BASE.into(), None)
    }

    fn ask(state: &mut State, fields: &[(&str, &str)]) -> (u16, Value) {
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let asked = Asked::read(Method::POST, &Uri::from_static("/token"), headers, Bytes::from(form));
        let reply = answer(state, &asked);
        (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap())
    }

    fn assertion(issuer: &str, about: &str, id: &str) -> String {
        let key = include_bytes!("../manifest/jwt/testdata/rfc7515-a3.pem");
        let expires = Clock::real().as_secs() + 60;
        let claims = json!({ "iss": issuer, "sub": about, "aud": format!("{BASE}/token"), "exp": expires, "jti": id });
        let claims = claims.to_string();
        compact(Algorithm::Es256, key, br#"{"alg":"ES256"}"#, claims.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn a_client_proves_itself_by_an_assertion_which_is_good_once() {
        let mut state = state();
        let signed = assertion("keyed", "keyed", "1");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", crate::simulate::assertion::CLIENT_ASSERTION),
            ("client_assertion", &signed),
        ];
        assert_eq!(ask(&mut state, &fields).0, 200);
        assert_eq!(ask(&mut state, &fields).1["error"], "invalid_client");
        let about_another = assertion("keyed", "demo", "2");
        let fields = [fields[0], fields[1], ("client_assertion", &about_another)];
        assert_eq!(ask(&mut state, &fields).1["error"], "invalid_client");
        let named = [("grant_type", "client_credentials"), ("client_id", "keyed")];
        assert_eq!(ask(&mut state, &named).1["error"], "invalid_client", "a client with a key is not public");
    }

    #[test]
    fn an_assertion_is_a_grant_for_whom_it_is_about() {
        let mut state = state();
        let signed = assertion("keyed", "anna", "1");
        let fields = [("grant_type", JWT_BEARER), ("assertion", &signed), ("scope", "items")];
        let (status, body) = ask(&mut state, &fields);
        assert_eq!((status, body.get("refresh_token")), (200, None));
        let bearer = state.grants.bearer(&state.clock, body["access_token"].as_str().unwrap()).unwrap();
        assert_eq!((bearer.granted.account.as_str(), bearer.granted.client.as_str()), ("anna", "keyed"));
        assert_eq!(ask(&mut state, &fields).1["error"], "invalid_grant", "it came before");
        let signed = assertion("keyed", "anna", "2");
        let by_another = [fields[0], ("assertion", &signed), ("client_id", "demo"), ("client_secret", "demo-secret")];
        assert_eq!(ask(&mut state, &by_another).1["error"], "invalid_grant");
    }

    #[test]
    fn who_does_not_prove_itself_gets_nothing() {
        let mut state = state();
        let credentials = ("grant_type", "client_credentials");
        for (fields, code) in [
            (vec![credentials], "invalid_client"),
            (vec![credentials, ("client_id", "nobody"), ("client_secret", "x")], "invalid_client"),
            (vec![credentials, ("client_id", "demo"), ("client_secret", "wrong")], "invalid_client"),
            (vec![credentials, ("client_id", "demo")], "invalid_client"),
            (vec![credentials, ("client_id", "public")], "unauthorized_client"),
            (vec![credentials, ("client_id", "public"), ("client_secret", "x")], "invalid_client"),
            (vec![("client_id", "demo"), ("client_secret", "demo-secret")], "invalid_request"),
            (
                vec![("grant_type", "password"), ("client_id", "demo"), ("client_secret", "demo-secret")],
                "unsupported_grant_type",
            ),
        ] {
            assert_eq!(ask(&mut state, &fields).1["error"], code, "{fields:?}");
        }
    }
}
