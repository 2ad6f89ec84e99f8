//! A request, read: which endpoint it is for, and its parameters.

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    http::{
        HeaderMap, Method, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    answer::Refusal,
    certified::{Shown, thumbprint},
    log::{Entry, beginning, fingerprint},
    quirk::Quirk,
    settings::Settings,
};

/// What is no secret, and stands in the log in clear. Everything else is a fingerprint there.
const IN_CLEAR: [&str; 24] = [
    "access_type",
    "audience",
    "client_assertion_type",
    "client_id",
    "client_key",
    "code_challenge_method",
    "cursor",
    "decision",
    "duration",
    "limit",
    "prompt",
    "redirect_uri",
    "redirect_url",
    "requested_token_type",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "subject_token_type",
    "actor_token_type",
    "token_access_type",
    "token_type_hint",
    "grant_type",
    "client_name",
];

/// What the provider has, by the names that `/simulate/next` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Endpoint {
    Metadata,
    Authorize,
    Token,
    Refresh,
    DeviceAuthorization,
    Device,
    Revoke,
    Register,
    Api,
    Other,
}

impl Endpoint {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/authorize" | "/authorize/decide" => Self::Authorize,
            "/token" => Self::Token,
            "/refresh" => Self::Refresh,
            "/device_authorization" => Self::DeviceAuthorization,
            "/device" => Self::Device,
            "/revoke" => Self::Revoke,
            "/register" => Self::Register,
            _ if path.starts_with("/.well-known/") => Self::Metadata,
            _ if path.starts_with("/api/") => Self::Api,
            _ => Self::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Authorize => "authorize",
            Self::Token => "token",
            Self::Refresh => "refresh",
            Self::DeviceAuthorization => "device-authorization",
            Self::Device => "device",
            Self::Revoke => "revoke",
            Self::Register => "register",
            Self::Api => "api",
            Self::Other => "other",
        }
    }
}

/// How a body is written, as its `Content-Type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    None,
    Form,
    Json,
    Xml,
    Unknown,
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) endpoint: Endpoint,
    pub(super) headers: HeaderMap,
    pub(super) query: Params,
    pub(super) format: Format,
    pub(super) body: Bytes,
    /// Of the body.
    pub(super) fields: Params,
    /// In the handshake of the connection that it came over.
    pub(super) shown: Shown,
}

impl Asked {
    pub(super) fn read(method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Self {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let format = match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            _ if body.is_empty() => Format::None,
            "application/x-www-form-urlencoded" => Format::Form,
            "application/json" => Format::Json,
            "application/xml" | "text/xml" => Format::Xml,
            _ => Format::Unknown,
        };
        let fields = match format {
            Format::Form => Params::form(&body),
            Format::Json => Params::json(&body),
            Format::Xml => Params::xml(&body),
            Format::None | Format::Unknown => Params::default(),
        };
        Self {
            method,
            path: uri.path().to_owned(),
            endpoint: Endpoint::of(uri.path()),
            headers,
            query: Params::form(uri.query().unwrap_or_default().as_bytes()),
            format,
            body,
            fields,
            shown: Shown::default(),
        }
    }

    /// Over a connection on which its client showed this.
    pub(super) fn over(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }

    /// The parameters of a token request, which have to be where the provider wants them.
    pub(super) fn token_params(&self, settings: &Settings) -> Result<&Params, Refusal> {
        let refuse = |how: &str| Err(Refusal::invalid_request(format!("This provider takes token requests {how}.")));
        // Facebook takes exchanges by GET, and documents only that.
        let exchanges = settings.has(Quirk::ExchangeAccessToken)
            && self.method == Method::GET
            && self.grant() != Some("authorization_code");
        let (get, query) = (settings.has(Quirk::TokenGet) || exchanges, settings.has(Quirk::TokenQuery));
        if get != (self.method == Method::GET) {
            return refuse(if get { "by GET" } else { "by POST" }).map_err(|refusal| refusal.status(405));
        }
        let (wanted, how) = match () {
            () if get || query => (Format::None, "in the query"),
            () if settings.has(Quirk::TokenJson) => (Format::Json, "as JSON"),
            () if settings.has(Quirk::TokenXml) => (Format::Xml, "as XML"),
            () => (Format::Form, "as a form"),
        };
        if self.format != wanted {
            return refuse(how);
        }
        if wanted == Format::None {
            return Ok(&self.query);
        }
        // RFC 6749, 2.3.1: never in the URL.
        if !self.query.0.is_empty() {
            return refuse("without a query");
        }
        Ok(&self.fields)
    }

    /// User name and password of a Basic header (RFC 7617), form-encoded as RFC 6749, 2.3.1 has it.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let value = self.credentials("Basic")?;
        let text = String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((decoded(user), decoded(password)))
    }

    /// A bearer token of the header (RFC 6750, 2.1).
    pub(super) fn bearer(&self) -> Option<&str> {
        self.credentials("Bearer")
    }

    fn credentials(&self, scheme: &str) -> Option<&str> {
        let (found, value) = self.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        found.eq_ignore_ascii_case(scheme).then_some(value.trim())
    }

    /// Which grant it asks for, wherever it says so.
    pub(super) fn grant(&self) -> Option<&str> {
        self.fields.first("grant_type").or_else(|| self.query.first("grant_type"))
    }

    /// What the log says of it.
    pub(super) fn entry(&self, at: f64) -> Entry {
        let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut presented = BTreeMap::new();
        for (name, value) in self.query.0.iter().chain(&self.fields.0) {
            if IN_CLEAR.contains(&name.as_str()) {
                asked.entry(name.clone()).or_default().push(value.clone());
            } else {
                presented.insert(name.clone(), fingerprint(value));
            }
        }
        if let Some((user, password)) = self.basic() {
            asked.entry("client_id".into()).or_default().push(user);
            presented.insert("client_secret".into(), fingerprint(&password));
        }
        if let Some(token) = self.bearer() {
            presented.insert("access_token".into(), fingerprint(token));
        }
        if let Some(thumbprint) = thumbprint(&self.shown) {
            presented.insert("client_certificate".into(), beginning(&thumbprint));
        }
        Entry {
            at,
            method: self.method.to_string(),
            path: self.path.clone(),
            endpoint: self.endpoint.name(),
            grant: self.grant().map(str::to_owned),
            asked,
            presented,
            ..Entry::default()
        }
    }
}

/// Names and values, in order.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn form(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The members of an object that are text, numbers or booleans; a list stands for a parameter that comes several times.
    fn json(text: &[u8]) -> Self {
        use serde_json::Value;
        let Ok(Value::Object(members)) = serde_json::from_slice(text) else { return Self::default() };
        let each = members.into_iter().flat_map(|(name, value)| match value {
            Value::Array(values) => values.into_iter().map(|value| (name.clone(), value)).collect(),
            value => vec![(name, value)],
        });
        Self(
            each.filter_map(|(name, value)| match value {
                Value::String(text) => Some((name, text)),
                Value::Number(_) | Value::Bool(_) => Some((name, value.to_string())),
                _ => None,
            })
            .collect(),
        )
    }

    /// The elements below the root, each a parameter.
    fn xml(text: &[u8]) -> Self {
        let document = std::str::from_utf8(text).ok().and_then(|text| roxmltree::Document::parse(text).ok());
        let Some(document) = document else { return Self::default() };
        let elements = document.root_element().children().filter(roxmltree::Node::is_element);
        Self(elements.map(|it| (it.tag_name().name().to_owned(), it.text().unwrap_or_default().to_owned())).collect())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of a parameter that may come several times (RFC 8707, 2).
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, value)| other == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A parameter that comes once at the most; an empty one counts as left out (RFC 6749, 3.1).
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        if self.0.iter().filter(|(other, _)| other == name).count() > 1 {
            return Err(Refusal::invalid_request(format!("`{name}` comes more than once.")));
        }
        Ok(self.first(name))
    }

    /// What a person said on a page of the provider's own.
    pub(super) fn decision(&self) -> Result<bool, Refusal> {
        match self.need("decision")? {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(Refusal::invalid_request("`decision` is `yes` or `no`.")),
        }
    }

    /// A parameter that has to be there.
    pub(super) fn need(&self, name: &str) -> Result<&str, Refusal> {
        self.one(name)?.ok_or_else(|| Refusal::invalid_request(format!("`{name}` is missing.")))
    }
}

fn decoded(text: &str) -> String {
    let one = format!("={text}");
    form_urlencoded::parse(one.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asked(content_type: &'static str, authorization: &str, body: &'static str) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        Asked::read(Method::POST, &Uri::from_static("/token"), headers, body.into())
    }

    #[test]
    fn a_basic_header_is_form_encoded_within() {
        let header = format!("Basic {}", BASE64_STANDARD.encode("a%3Ab:p+q%25%C3%BC"));
        assert_eq!(asked("", &header, "").basic(), Some(("a:b".into(), "p q%ü".into())));
        assert_eq!(asked("", "Basic !!", "").basic(), None);
    }

    #[test]
    fn parameters_are_read_as_the_content_type_says() {
        let form = asked("application/x-www-form-urlencoded; charset=utf-8", "x", "code=a%2Bb&empty=");
        let json = asked("application/json", "x", r#"{"code": "a+b", "n": 1, "resource": ["x", "y"], "o": {}}"#);
        let xml = asked("text/xml", "x", "<request><code>a+b</code></request>");
        for asked in [&form, &json, &xml] {
            assert_eq!(asked.fields.one("code").unwrap(), Some("a+b"));
        }
        assert_eq!(form.fields.one("empty").unwrap(), None);
        assert_eq!(json.fields.all("resource").collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn a_parameter_that_comes_twice_is_refused() {
        let params = Params::form(b"scope=a&scope=b");
        assert!(params.one("scope").is_err() && params.need("state").is_err());
    }

    #[test]
    fn the_log_has_no_secret_in_clear() {
        let header = format!("Basic {}", BASE64_STANDARD.encode("demo:hush-hush"));
        let asked = asked("application/json", &header, r#"{"refresh_token":"canary","scope":"a","novel":"canary"}"#);
        let entry = serde_json::to_string(&asked.entry(0.0)).unwrap();
        assert!(!entry.contains("canary") && !entry.contains("hush-hush"), "{entry}");
        assert!(entry.contains(&fingerprint("canary")) && entry.contains(r#""scope":["a"]"#), "{entry}");
    }
}
