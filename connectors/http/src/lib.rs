//! Any REST service, without writing a connector for it. What it may reach is the origin of the base URL, which the account's
//! owner sees and consents to.

use std::collections::BTreeMap;

use attache_sdk::{Grant, Oauth2, prelude::*};
use serde_json::Value;

struct Http;

impl Connector for Http {
    fn describe() -> Manifest {
        let option = |id: &str, title: &str| {
            AuthOption::new(id, title)
                .parameter(
                    Parameter::url("base-url", "Base URL")
                        .description("What every path is put behind, like https://api.example.com/v2."),
                )
                .audience("{base-url}")
        };
        Manifest::new("http", env!("CARGO_PKG_VERSION"), "HTTP", "Any REST service: requests below a base URL.")
            .auth(option("none", "No credential"))
            .auth(
                option("basic", "User name and password")
                    .parameter(Parameter::text("username", "User name"))
                    .parameter(Parameter::secret("password", "Password"))
                    .basic("{username}", "{password}"),
            )
            .auth(
                option("api-key-header", "API key in a header")
                    .parameter(Parameter::text("header", "Name of the header").pattern("[A-Za-z0-9_-]+"))
                    .parameter(Parameter::secret("key", "API key"))
                    .header("{header}", "{key}"),
            )
            .auth(
                option("api-key-query", "API key in the query")
                    .parameter(Parameter::text("parameter", "Name of the query parameter"))
                    .parameter(Parameter::secret("key", "API key"))
                    .query("{parameter}", "{key}"),
            )
            .auth(
                option("oauth2", "OAuth 2.0")
                    .parameter(
                        Parameter::url("issuer", "Issuer")
                            .description("What the provider calls itself; the URLs below are discovered there.")
                            .optional(),
                    )
                    .parameter(endpoint("authorization-url", "Authorization URL", "Where people sign in."))
                    .parameter(endpoint("token-url", "Token URL", "Where tokens come from."))
                    .parameter(endpoint(
                        "device-authorization-url",
                        "Device authorization URL",
                        "Where codes for another device come from.",
                    ))
                    .parameter(endpoint("revocation-url", "Revocation URL", "Where tokens are ended."))
                    .parameter(
                        Parameter::text("scopes", "Scopes")
                            .description("What to ask for, with spaces between, like `read offline_access`.")
                            .optional(),
                    )
                    .oauth2(
                        Oauth2::discovered("{issuer}")
                            .authorization_url("{authorization-url}")
                            .token_url("{token-url}")
                            .device_authorization_url("{device-authorization-url}")
                            .revocation_url("{revocation-url}")
                            .grants(&[Grant::AuthorizationCode, Grant::DeviceCode, Grant::ClientCredentials])
                            .scope("{scopes}", "Typed by whoever connects"),
                    ),
            )
    }

    fn operations() -> Vec<Operation> {
        vec![
            Operation::read("get", "Get", "Sends a GET request, which by its definition changes nothing.", get),
            Operation::destructive(
                "request",
                "Request",
                "Sends a request with any method. Every answer is a result, whatever its status.",
                request,
            ),
        ]
    }

    fn check() -> Result<String, Failure> {
        let base = base();
        let answer = http::get(base.as_str()).send()?;
        // The base URL need not be a resource; only a refusal tells something about the credential.
        match answer.status {
            401 | 403 => Err(Failure::Unauthorized(answer.text())),
            _ => Ok(connection::parameter("username").unwrap_or_else(connection::audience)),
        }
    }
}

/// One of the provider's URLs, which its metadata need not tell then.
fn endpoint(name: &str, title: &str, what: &str) -> Parameter {
    Parameter::url(name, title).description(&format!("{what} Only where the issuer does not tell.")).optional()
}

/// A request that reads.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Get {
    /// What is put behind the base URL; begins with `/`.
    path: String,
    /// Query parameters.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// Headers. The host's own, like Authorization, are refused.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// A request with any method.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The method, like `POST`.
    method: String,
    /// What is put behind the base URL; begins with `/`.
    path: String,
    /// Query parameters.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// Headers. The host's own, like Authorization, are refused.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A JSON body.
    json: Option<Value>,
    /// A body that is text. At most one of the two.
    text: Option<String>,
}

/// What the service answered.
#[derive(Serialize, JsonSchema)]
struct Answer {
    /// The status code.
    status: u16,
    /// By lower-case name; values of one name are joined by commas.
    headers: BTreeMap<String, String>,
    /// The body, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    /// The body, where it is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

fn get(input: Get) -> Result<Answer, Failure> {
    let Get { path, query, headers } = input;
    request(Request { method: "GET".into(), path, query, headers, json: None, text: None })
}

fn request(input: Request) -> Result<Answer, Failure> {
    let mut request = http::request(input.method, format!("{}{}", base(), proper(&input.path)?));
    for (name, value) in &input.query {
        request = request.query(name, value);
    }
    for (name, value) in &input.headers {
        request = request.header(name, value);
    }
    let answer = match (input.json, input.text) {
        (Some(_), Some(_)) => return Err(Failure::InvalidInput("give `json` or `text`, not both".into())),
        (Some(json), None) => request.json(&json),
        (None, Some(text)) => request.bytes(text),
        (None, None) => request,
    }
    .send()?;
    let mut headers = BTreeMap::new();
    for (name, value) in &answer.headers {
        let all: &mut String = headers.entry(name.to_ascii_lowercase()).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(value);
    }
    let is_json = headers.get("content-type").is_some_and(|kind| kind.contains("json"));
    let json = if is_json { answer.json().ok() } else { None };
    let text = (json.is_none() && !answer.body.is_empty()).then(|| answer.text());
    Ok(Answer { status: answer.status, headers, json, text })
}

/// A path that stays below the base URL.
fn proper(path: &str) -> Result<&str, Failure> {
    let refuse = |why: &str| Err(Failure::InvalidInput(format!("the path {why}")));
    if !path.starts_with('/') {
        return refuse("begins with `/`");
    }
    if path.contains(['?', '#']) {
        return refuse("has no query and no fragment; parameters go into `query`");
    }
    if path.contains('\\') || path.chars().any(char::is_control) {
        return refuse("holds a backslash or a control character");
    }
    if path.split('/').any(Url::is_dots) {
        return refuse("may not climb with `.` or `..`");
    }
    Ok(path)
}

fn base() -> String {
    connection::parameter("base-url").unwrap_or_default().trim_end_matches('/').to_owned()
}

attache_sdk::export!(Http);
