//! The API that the tokens are for (RFC 6750).

use std::collections::HashMap;

use axum::http::{
    HeaderName, Method, StatusCode,
    header::{LINK, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value, json};

use super::{
    State,
    answer::Reply,
    asked::{Asked, Params},
    certified::thumbprint,
    quirk::Quirk,
};

/// How many items there are.
const ITEMS: usize = 25;
/// How many come at once, unless asked for fewer.
const PAGE: usize = 10;
/// What a rate limit is for, in seconds.
const MINUTE: u64 = 60;
/// What `/api/admin` needs.
const ADMIN: &str = "admin";

/// Answers a request to it.
pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let Some(token) = asked.bearer() else {
        // RFC 6750, 3.1: no error code where nothing was presented.
        return refused(StatusCode::UNAUTHORIZED, "Bearer realm=\"simulated\"", "no_token");
    };
    let Some(bearer) = state.grants.bearer(&state.clock, token) else {
        let challenge = "Bearer realm=\"simulated\", error=\"invalid_token\", error_description=\"The token is not known, or no longer good\"";
        return refused(StatusCode::UNAUTHORIZED, challenge, "invalid_token");
    };
    if bearer.bound.is_some() && bearer.bound != thumbprint(&asked.shown) {
        let challenge = "Bearer realm=\"simulated\", error=\"invalid_token\", error_description=\"The token is bound to a certificate, which did not come with it\"";
        return refused(StatusCode::UNAUTHORIZED, challenge, "invalid_token");
    }
    let client = bearer.granted.client.clone();
    let me = json!({
        "sub": bearer.granted.account, "account": bearer.granted.account, "client": client, "scope": bearer.scope, "aud": bearer.resource,
    });
    let is_admin = bearer.scope.iter().any(|scope| scope == ADMIN);
    let now = state.clock.now().as_secs();
    if let Some(limit) = state.settings.rate_limit
        && let Some(reset) = state.rates.over(&client, limit, now)
    {
        return limited(state, reset, now).client(&client);
    }
    let reply = match asked.path.as_str() {
        "/api/me" => Reply::json(StatusCode::OK, &me),
        "/api/items" => items(&state.base, &asked.query),
        "/api/echo" => Reply::json(StatusCode::OK, &echo(asked)),
        "/api/admin" if is_admin => Reply::json(StatusCode::OK, &me),
        "/api/admin" => {
            let challenge = format!("Bearer realm=\"simulated\", error=\"insufficient_scope\", scope=\"{ADMIN}\"");
            refused(StatusCode::FORBIDDEN, &challenge, "insufficient_scope")
        }
        _ => Reply {
            outcome: "not_found".into(),
            ..Reply::json(StatusCode::NOT_FOUND, &json!({ "error": "not_found" }))
        },
    };
    reply.client(&client)
}

fn refused(status: StatusCode, challenge: &str, outcome: &str) -> Reply {
    let reply = Reply::json(status, &json!({ "error": outcome })).header(WWW_AUTHENTICATE, challenge);
    Reply { outcome: outcome.into(), ..reply }
}

fn limited(state: &State, reset: u64, now: u64) -> Reply {
    let status = match () {
        () if state.settings.has(Quirk::RateLimit403) => StatusCode::FORBIDDEN,
        () if state.settings.has(Quirk::RateLimit400) => StatusCode::BAD_REQUEST,
        () => StatusCode::TOO_MANY_REQUESTS,
    };
    let (name, value) = match state.settings.has(Quirk::RateLimitReset) {
        true => (HeaderName::from_static("x-ratelimit-reset"), reset),
        false => (RETRY_AFTER, reset - now),
    };
    let reply = Reply::json(status, &json!({ "error": "rate_limited" }))
        .header(HeaderName::from_static("x-ratelimit-remaining"), "0")
        .header(name, value.to_string());
    Reply { outcome: "rate_limited".into(), ..reply }
}

/// Pages by a cursor in the body, and by `Link` (RFC 8288) for those who read that.
fn items(base: &str, query: &Params) -> Reply {
    let number = |name: &str, otherwise: usize| match query.one(name) {
        Ok(None) => Some(otherwise),
        Ok(Some(text)) => text.parse().ok(),
        Err(_) => None,
    };
    let (Some(from), Some(limit @ 1..)) = (number("cursor", 0), number("limit", PAGE)) else {
        let reply = Reply::json(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request" }));
        return Reply { outcome: "invalid_request".into(), ..reply };
    };
    let to = from.saturating_add(limit.min(PAGE)).min(ITEMS);
    let items: Vec<Value> = (from..to).map(|id| json!({ "id": id, "name": format!("item {id}") })).collect();
    let next = (to < ITEMS).then(|| format!("{base}/api/items?cursor={to}&limit={limit}"));
    let reply = Reply::json(StatusCode::OK, &json!({ "items": items, "next": next }));
    match next {
        Some(next) => reply.header(LINK, format!("<{next}>; rel=\"next\"")),
        None => reply,
    }
}

/// The request as it arrived, its credential too: a service that reflects what it is sent is what scrubbing is for.
fn echo(asked: &Asked) -> Value {
    let mut headers = Map::new();
    for (name, value) in &asked.headers {
        headers.insert(name.to_string(), String::from_utf8_lossy(value.as_bytes()).into());
    }
    let body = (asked.method != Method::GET).then(|| String::from_utf8_lossy(&asked.body));
    json!({ "method": asked.method.as_str(), "path": asked.path, "headers": headers, "body": body })
}

/// When each client's minute began, and how many requests it made since.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, (u64, u32)>);

impl Rates {
    /// Counts one more. Where that is too many: when there may be more, in seconds since 1970.
    fn over(&mut self, client: &str, limit: u32, now: u64) -> Option<u64> {
        let (began, made) = self.0.entry(client.to_owned()).or_insert((now, 0));
        if now >= *began + MINUTE {
            (*began, *made) = (now, 0);
        }
        *made += 1;
        (*made > limit).then_some(*began + MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_asked_too_often_waits_until_its_minute_is_over() {
        let mut rates = Rates::default();
        assert_eq!((rates.over("a", 2, 61), rates.over("a", 2, 62), rates.over("b", 2, 62)), (None, None, None));
        assert_eq!(rates.over("a", 2, 120), Some(121));
        assert_eq!(rates.over("a", 2, 121), None);
    }
}
