//! What the provider answers: refusals as RFC 6749 writes them, and token answers as the quirks of a provider shape them.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::{grants::Issued, log::fingerprint, quirk::Quirk, settings::Settings};

/// A no: the error code of a standard, and a sentence.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) description: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, description: description.into() }
    }

    /// RFC 6749, 5.2.
    pub(super) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    /// RFC 6749, 5.2: what was presented is not known, no longer good, or somebody else's.
    pub(super) fn invalid_grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        self
    }
}

/// An answer, with what the log says of it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Vec<u8>,
    pub(super) outcome: String,
    pub(super) client: Option<String>,
    pub(super) given: BTreeMap<String, String>,
}

impl Reply {
    pub(super) fn new(status: StatusCode) -> Self {
        let headers = vec![(CACHE_CONTROL, "no-store".into())];
        Self { status, headers, body: Vec::new(), outcome: "ok".into(), client: None, given: BTreeMap::new() }
    }

    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        let mut reply = Self::new(status).header(CONTENT_TYPE, "application/json");
        reply.body = value.to_string().into_bytes();
        reply
    }

    pub(super) fn html(status: StatusCode, page: &impl Template) -> Self {
        // A page of text and numbers has nothing that could fail.
        let html = page.render().unwrap_or_default();
        let mut reply = Self::new(status)
            .header(CONTENT_TYPE, "text/html; charset=utf-8")
            .header(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'");
        reply.body = html.into_bytes();
        reply
    }

    pub(super) fn redirect(to: &str) -> Self {
        Self::new(StatusCode::SEE_OTHER).header(LOCATION, to)
    }

    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let mut reply =
            Self::json(refusal.status, &json!({ "error": refusal.code, "error_description": refusal.description }));
        refusal.code.clone_into(&mut reply.outcome);
        // RFC 6749, 5.2.
        if refusal.status == StatusCode::UNAUTHORIZED && refusal.code == "invalid_client" {
            reply = reply.header(WWW_AUTHENTICATE, "Basic realm=\"simulated\"");
        }
        reply
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn client(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    pub(super) fn gives(mut self, what: &str, value: &str) -> Self {
        self.given.insert(what.to_owned(), fingerprint(value));
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        // The body's own default is replaced, or taken away where there is no other.
        response.headers_mut().remove(CONTENT_TYPE);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

/// An answer of the token endpoint (RFC 6749, 5.1), as this provider writes it. `as_json`: whether the request accepts JSON by name.
pub(super) fn token(settings: &Settings, base: &str, issued: &Issued, as_json: bool) -> Reply {
    let mut members = Map::new();
    members.insert("access_token".into(), issued.access.clone().into());
    members.insert("token_type".into(), "Bearer".into());
    members.extend(expiry(settings, issued).map(|(name, value)| (name.to_owned(), value)));
    if let Some(refresh) = &issued.refresh {
        members.insert("refresh_token".into(), refresh.clone().into());
    }
    members.insert("scope".into(), settings.join(&issued.scope).into());
    if let Some(kind) = issued.kind {
        members.insert("issued_token_type".into(), kind.into());
    }
    if settings.has(Quirk::InstanceUrl) {
        members.insert("instance_url".into(), base.into());
    }
    if settings.has(Quirk::ApiDomain) {
        members.insert("api_domain".into(), base.into());
    }
    let mut body = match () {
        () if settings.has(Quirk::AuthedUser) => json!({ "authed_user": members }),
        () if settings.has(Quirk::UnderData) => json!({ "data": members }),
        () => members.into(),
    };
    if settings.has(Quirk::OkFalse) {
        body["ok"] = true.into();
    }
    let mut reply = encoded(settings, StatusCode::OK, &body, as_json).gives("access_token", &issued.access);
    if let Some(refresh) = &issued.refresh {
        reply = reply.gives("refresh_token", refresh);
    }
    reply
}

/// A refusal of the token endpoint (RFC 6749, 5.2), as this provider writes it.
pub(super) fn token_refusal(settings: &Settings, refusal: &Refusal, as_json: bool) -> Reply {
    let mut body = json!({ "error": refusal.code, "error_description": refusal.description });
    let reply = match () {
        () if settings.has(Quirk::OkFalse) => {
            body["ok"] = false.into();
            encoded(settings, StatusCode::OK, &body, as_json)
        }
        () if settings.has(Quirk::ErrorIn200) => encoded(settings, StatusCode::OK, &body, as_json),
        () => Reply::refusal(refusal),
    };
    Reply { outcome: refusal.code.into(), ..reply }
}

fn expiry(settings: &Settings, issued: &Issued) -> Option<(&'static str, Value)> {
    let seconds = issued.lifetime?;
    let (name, value) = match () {
        () if settings.has(Quirk::ExpiresMissing) => return None,
        () if settings.has(Quirk::ExpiresString) => ("expires_in", seconds.to_string().into()),
        () if settings.has(Quirk::ExpiresNegative) => ("expires_in", (-i64::from(seconds)).into()),
        // JSON's numbers have no end; what serde_json keeps is the nearest that has a fraction.
        () if settings.has(Quirk::ExpiresHuge) => ("expires_in", json!(1e30)),
        () if settings.has(Quirk::ExpiresMilliseconds) => ("expires_in_ms", (u64::from(seconds) * 1_000).into()),
        () => ("expires_in", seconds.into()),
    };
    Some((name, value))
}

fn encoded(settings: &Settings, status: StatusCode, body: &Value, as_json: bool) -> Reply {
    let members = body.as_object().filter(|_| settings.has(Quirk::FormAnswer) && !as_json);
    let Some(members) = members else { return Reply::json(status, body) };
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in members {
        form.append_pair(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    let mut reply = Reply::new(status).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    reply.body = form.finish().into_bytes();
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Change;

    fn shaped(quirks: &[Quirk]) -> Value {
        let settings = Settings::with(Change { quirk: Some(quirks.to_vec()), ..Change::default() }).unwrap();
        let issued = Issued {
            access: "a".into(),
            refresh: Some("r".into()),
            lifetime: Some(60),
            scope: vec!["x".into(), "y".into()],
            kind: None,
        };
        let reply = token(&settings, "http://127.0.0.1:1", &issued, true);
        serde_json::from_slice(&reply.body).unwrap()
    }

    #[test]
    fn an_answer_is_standard_unless_a_quirk_says_otherwise() {
        let standard = json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r", "scope": "x y" });
        assert_eq!(shaped(&[]), standard);
        assert_eq!(shaped(&[Quirk::UnderData]), json!({ "data": standard }));
        assert_eq!(shaped(&[Quirk::AuthedUser, Quirk::OkFalse]), json!({ "authed_user": standard, "ok": true }));
        assert_eq!(shaped(&[Quirk::ScopeComma])["scope"], "x,y");
        assert_eq!(shaped(&[Quirk::InstanceUrl])["instance_url"], "http://127.0.0.1:1");
    }

    #[test]
    fn expiry_comes_in_every_odd_way() {
        assert_eq!(shaped(&[Quirk::ExpiresString])["expires_in"], "60");
        assert_eq!(shaped(&[Quirk::ExpiresNegative])["expires_in"], -60);
        assert_eq!(shaped(&[Quirk::ExpiresMissing]).get("expires_in"), None);
        let milliseconds = shaped(&[Quirk::ExpiresMilliseconds]);
        assert_eq!((milliseconds.get("expires_in"), &milliseconds["expires_in_ms"]), (None, &json!(60_000)));
        assert!(shaped(&[Quirk::ExpiresHuge])["expires_in"].as_f64() > Some(1e29));
    }

    #[test]
    fn errors_hide_in_200_where_a_provider_does_so() {
        let refusal = Refusal::invalid_grant("no");
        let settings = |quirk| Settings::with(Change { quirk: Some(vec![quirk]), ..Change::default() }).unwrap();
        let slack = token_refusal(&settings(Quirk::OkFalse), &refusal, true);
        assert_eq!(slack.status, StatusCode::OK);
        assert!(String::from_utf8(slack.body).unwrap().contains(r#""ok":false"#));
        assert_eq!(token_refusal(&settings(Quirk::ErrorIn200), &refusal, true).status, StatusCode::OK);
        let form = token_refusal(
            &Settings::with(Change { like: Some(crate::simulate::Preset::Github), ..Change::default() }).unwrap(),
            &refusal,
            false,
        );
        assert_eq!(form.body, b"error=invalid_grant&error_description=no");
        assert_eq!(token_refusal(&Settings::default(), &refusal, true).status, StatusCode::BAD_REQUEST);
    }
}
