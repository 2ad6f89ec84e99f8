//! The authorization endpoint (RFC 6749, 3.1): a page that asks a person, or at once what they would say.

use std::collections::HashMap;

use askama::Template;
use axum::http::{Method, StatusCode};
use url::Url;

use super::{
    State,
    answer::{Refusal, Reply},
    asked::{Asked, Params},
    grants::{Granted, Terms},
    quirk::Quirk,
    random,
    settings::Settings,
    token::{grantable, needs_challenge, resources},
};

/// A request that a person is being asked about, by the value that its page has.
pub(super) type Asking = HashMap<String, Wanted>;

/// What an authorization request wants, checked.
#[derive(Debug)]
pub(super) struct Wanted {
    client: String,
    /// As it was given; none where the client's only one is meant.
    redirect_uri: Option<String>,
    /// Where the person is sent back to.
    back: Url,
    state: Option<String>,
    challenge: Option<String>,
    scope: Vec<String>,
    resource: Vec<String>,
    offline: bool,
}

#[derive(Template)]
#[template(path = "simulated-authorize.html")]
struct Page<'a> {
    client: &'a str,
    account: &'a str,
    scope: &'a [String],
    back: &'a str,
    request: &'a str,
}

/// Answers a request to it.
pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let asks = asked.path == "/authorize";
    match (asks, &asked.method) {
        (true, &Method::GET) => begin(state, &asked.query),
        (true, &Method::POST) => begin(state, &asked.fields),
        (false, &Method::POST) => decide(state, &asked.fields),
        _ => Reply::refusal(&Refusal::invalid_request("Not by that method.").status(405)),
    }
}

fn begin(state: &mut State, params: &Params) -> Reply {
    let (client, redirect_uri, back) = match way_back(state, params) {
        Ok(found) => found,
        // RFC 6749, 4.1.2.1: nobody is sent to where it is not sure that they should go.
        Err(refusal) => return Reply::refusal(&refusal),
    };
    let client_state = params.one("state").ok().flatten().map(str::to_owned);
    let wanted = match wanted(state, params, &client, redirect_uri, back.clone()) {
        Ok(wanted) => wanted,
        Err(refusal) => return refuse(state, back, client_state.as_deref(), &refusal).client(&client),
    };
    match state.settings.decision {
        Some(yes) => finish(state, wanted, yes),
        None => ask(state, wanted),
    }
    .client(&client)
}

/// The client, the redirect URI as given, and where to send the person back to.
fn way_back(state: &State, params: &Params) -> Result<(String, Option<String>, Url), Refusal> {
    let id = params.need(state.settings.client_id())?;
    let client = state.clients.get(id).ok_or_else(|| Refusal::invalid_request("There is no such client."))?;
    let name = state.settings.redirect_name();
    let given = params.one(name)?;
    let uri = match (given, client.redirect_uris.as_slice()) {
        (Some(given), _) => given,
        (None, [only]) => only,
        (None, _) => return Err(Refusal::invalid_request(format!("`{name}` is missing."))),
    };
    let back = Url::parse(uri).ok().filter(|_| client.may_return_to(uri));
    let back = back.ok_or_else(|| Refusal::invalid_request(format!("`{name}` is not one of the client's.")))?;
    Ok((id.to_owned(), given.map(str::to_owned), back))
}

fn wanted(
    state: &State,
    params: &Params,
    client: &str,
    redirect_uri: Option<String>,
    back: Url,
) -> Result<Wanted, Refusal> {
    let settings = &state.settings;
    if params.need("response_type")? != "code" {
        return Err(Refusal::new("unsupported_response_type", "Only `code` is known."));
    }
    let challenge = challenge(settings, params)?;
    let asked_scope = params.one("scope")?;
    let offline = offline(settings, params, asked_scope)?;
    Ok(Wanted {
        client: client.to_owned(),
        redirect_uri,
        back,
        state: params.one("state")?.map(str::to_owned),
        challenge,
        scope: grantable(settings, &state.base, asked_scope)?,
        resource: resources(params)?,
        offline,
    })
}

fn challenge(settings: &Settings, params: &Params) -> Result<Option<String>, Refusal> {
    if settings.has(Quirk::NoPkce) {
        return Ok(None);
    }
    let challenge = params.one("code_challenge")?;
    match challenge {
        None if needs_challenge(settings) => Err(Refusal::invalid_request("`code_challenge` is missing.")),
        // RFC 7636, 4.3: what is not said is `plain`, which protects from little.
        Some(_) if params.one("code_challenge_method")? != Some("S256") => {
            Err(Refusal::invalid_request("`code_challenge_method` has to be S256."))
        }
        Some(challenge) if challenge.len() != 43 => {
            Err(Refusal::invalid_request("`code_challenge` is no SHA-256 in base64url."))
        }
        found => Ok(found.map(str::to_owned)),
    }
}

/// Whether a refresh token comes of it.
pub(super) fn offline(settings: &Settings, params: &Params, scope: Option<&str>) -> Result<bool, Refusal> {
    let is = |name: &str, value: &str| params.one(name).map(|found| found == Some(value));
    let asks = |wanted: &str| settings.split(scope.unwrap_or_default()).iter().any(|scope| scope == wanted);
    Ok(match () {
        () if settings.has(Quirk::NeverExpires) || settings.has(Quirk::ExchangeAccessToken) => false,
        () if settings.has(Quirk::AccessTypeOffline) => is("access_type", "offline")? && is("prompt", "consent")?,
        () if settings.has(Quirk::TokenAccessType) => is("token_access_type", "offline")?,
        () if settings.has(Quirk::DurationPermanent) => is("duration", "permanent")?,
        () if settings.has(Quirk::OfflineAccess) => asks("offline_access"),
        () if settings.has(Quirk::OfflineDotAccess) => asks("offline.access"),
        () => true,
    })
}

fn ask(state: &mut State, wanted: Wanted) -> Reply {
    let request = random("request");
    let page = Page {
        client: &wanted.client,
        account: &state.settings.account,
        scope: &wanted.scope,
        back: wanted.back.as_str(),
        request: &request,
    };
    let reply = Reply::html(StatusCode::OK, &page);
    state.asking.insert(request, wanted);
    reply
}

fn decide(state: &mut State, params: &Params) -> Reply {
    let decided = params.need("request").and_then(|request| {
        let yes = params.decision()?;
        let wanted = state.asking.remove(request);
        wanted.map(|wanted| (wanted, yes)).ok_or_else(|| Refusal::invalid_request("Nobody was asked that."))
    });
    match decided {
        Ok((wanted, yes)) => {
            let client = wanted.client.clone();
            finish(state, wanted, yes).client(&client)
        }
        Err(refusal) => Reply::refusal(&refusal),
    }
}

fn finish(state: &mut State, wanted: Wanted, yes: bool) -> Reply {
    if !yes {
        let refusal = Refusal::new("access_denied", "The person said no.");
        return refuse(state, wanted.back, wanted.state.as_deref(), &refusal);
    }
    let granted = Granted {
        client: wanted.client,
        account: state.settings.account.clone(),
        scope: wanted.scope,
        resource: wanted.resource,
        offline: wanted.offline,
    };
    let terms = Terms { settings: &state.settings, clock: &state.clock };
    let code = state.grants.code(&terms, granted, wanted.redirect_uri, wanted.challenge);
    let name = if state.settings.has(Quirk::SpapiOauthCode) { "spapi_oauth_code" } else { "code" };
    let mut back = wanted.back;
    back.query_pairs_mut().append_pair(name, &code);
    if state.settings.has(Quirk::RealmId) {
        back.query_pairs_mut().append_pair("realmId", "9130350000000001");
    }
    if state.settings.has(Quirk::AccountsServer) {
        back.query_pairs_mut().append_pair("accounts-server", &state.base);
    }
    send_back(state, back, wanted.state.as_deref()).gives("code", &code)
}

fn refuse(state: &State, mut back: Url, client_state: Option<&str>, refusal: &Refusal) -> Reply {
    back.query_pairs_mut().append_pair("error", refusal.code).append_pair("error_description", &refusal.description);
    let mut reply = send_back(state, back, client_state);
    refusal.code.clone_into(&mut reply.outcome);
    reply
}

/// With what every authorization response has: the client's own state, and who sends it (RFC 9207).
fn send_back(state: &State, mut back: Url, client_state: Option<&str>) -> Reply {
    if let Some(client_state) = client_state {
        back.query_pairs_mut().append_pair("state", client_state);
    }
    back.query_pairs_mut().append_pair("iss", &state.base);
    Reply::redirect(back.as_str())
}
