//! Does what its caller says: sends any request, and tells what it could see of the connection.

use guests::{
    auth::{Attachment, AzureSharedKey, Kind, ParameterSetting},
    connection, connector, header, http, log,
    manifest::{Connector, Effect, Guest as Manifest},
    operation,
    operations::{Failure, Guest as Operations},
    option, parameter,
};
use serde_json::{Value, json};

struct Echo;

impl Manifest for Echo {
    fn describe() -> Connector {
        let base = || parameter("base", Kind::Url, vec![]);
        let open = || parameter("open", Kind::Url, vec![ParameterSetting::Optional]);
        let key = || parameter("key", Kind::Secret, vec![]);
        let other = || parameter("other", Kind::Url, vec![ParameterSetting::Optional]);
        let audience = &["{base}", "{other}"];
        let mut it = connector(
            "echo",
            "1.0.0",
            vec![
                option("none", vec![base(), open(), other()], vec![], audience),
                option("header", vec![base(), open(), other(), key()], vec![header("X-Api-Key", "{key}")], audience),
                option(
                    "query",
                    vec![base(), open(), other(), key()],
                    vec![Attachment::Query(("key".into(), "{key}".into()))],
                    audience,
                ),
                option(
                    "bearer",
                    vec![base(), open(), other(), key()],
                    vec![header("Authorization", "Bearer {key}")],
                    audience,
                ),
                option(
                    "basic",
                    vec![base(), open(), other(), parameter("user", Kind::Text, vec![]), key()],
                    vec![Attachment::Basic(("{user}".into(), "{key}".into()))],
                    audience,
                ),
                option(
                    "azure",
                    vec![base(), open(), other(), key()],
                    vec![Attachment::AzureSharedKey(AzureSharedKey { account: "account".into(), key: "{key}".into() })],
                    audience,
                ),
                option(
                    "signed",
                    vec![
                        base(),
                        open(),
                        other(),
                        key(),
                        parameter("tenant", Kind::Text, vec![ParameterSetting::Default("t1".into())]),
                    ],
                    vec![
                        header("X-Tenant", "{tenant}"),
                        header("X-Date", "{now(unix)}"),
                        header(
                            "X-Signature",
                            "{hex(sign(hmac-sha256, key, request.method, \"\\n\", request.path, \"\\n\", now(unix)))}",
                        ),
                    ],
                    audience,
                ),
            ],
            &[("connection", Effect::Read), ("fail", Effect::Read)],
        );
        it.open_hosts = vec!["{open}".into()];
        it.operations.push(operation(
            "send",
            Effect::Write,
            r#"{"type": "object", "required": ["url"], "additionalProperties": false, "properties": {
                "url": {"type": "string", "description": "Where to."},
                "method": {"type": "string", "default": "GET"},
                "headers": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
                "body": {"type": "string"},
                "attach": {"type": "boolean", "default": true},
                "times": {"type": "integer", "default": 1}}}"#,
            r#"{"type": "object"}"#,
        ));
        it
    }
}

impl Operations for Echo {
    fn invoke(operation: String, input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap();
        log::write(log::Level::Info, &format!("called {operation} with {input}"));
        match operation.as_str() {
            "send" => send(&input),
            "connection" => Ok(json!({
                "audience": connection::audience(),
                "option": connection::auth_option(),
                "scopes": connection::scopes(),
                "base": connection::parameter("base"),
                "key": connection::parameter("key"),
                "user": connection::parameter("user"),
            })
            .to_string()),
            "fail" => Err(match input["with"].as_str().unwrap_or_default() {
                "invalid-input" => Failure::InvalidInput("the words".into()),
                "not-found" => Failure::NotFound("the words".into()),
                "unauthorized" => Failure::Unauthorized("the words".into()),
                "rate-limited" => Failure::RateLimited(Some(7)),
                "upstream" => Failure::Upstream((418, "I am \u{202e}a \u{1b}[31mteapot".into())),
                _ => Failure::Other("the words".into()),
            }),
            _ => unreachable!(),
        }
    }

    fn check() -> Result<String, Failure> {
        let Some(base) = connection::audience().into_iter().next() else { return Ok("nobody".into()) };
        let answer = http::send(&http::Request {
            method: "GET".into(),
            url: format!("{base}/check"),
            headers: vec![],
            body: None,
            credential: http::Credential::Attach,
        });
        match answer {
            Ok(answer) if answer.status == 401 => Err(Failure::Unauthorized("no".into())),
            Ok(answer) if answer.status == 200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            Ok(_) => Ok("tester".into()),
            Err(error) => Err(Failure::Other(format!("{error:?}"))),
        }
    }
}

fn send(input: &Value) -> Result<String, Failure> {
    let mut seen = Value::Null;
    for _ in 0..input["times"].as_u64().unwrap_or(1) {
        seen = once(input);
    }
    Ok(seen.to_string())
}

fn once(input: &Value) -> Value {
    let headers = input["headers"].as_array().into_iter().flatten();
    let request = http::Request {
        method: input["method"].as_str().unwrap_or("GET").into(),
        url: input["url"].as_str().unwrap().into(),
        headers: headers.map(|pair| (pair[0].as_str().unwrap().into(), pair[1].as_str().unwrap().into())).collect(),
        body: input["body"].as_str().map(|body| body.as_bytes().to_vec()),
        credential: if input["attach"] == false { http::Credential::Omit } else { http::Credential::Attach },
    };
    match http::send(&request) {
        Ok(answer) => json!({
            "status": answer.status,
            "headers": answer.headers,
            "body": String::from_utf8_lossy(&answer.body),
        }),
        Err(error) => {
            let (kind, sentence) = match error {
                http::Error::Denied(it) => ("denied", it),
                http::Error::NeedsReconnect(it) => ("needs-reconnect", it),
                http::Error::Timeout(it) => ("timeout", it),
                http::Error::TooLarge(it) => ("too-large", it),
                http::Error::Unreachable(it) => ("unreachable", it),
                http::Error::InvalidRequest(it) => ("invalid-request", it),
            };
            json!({ "error": kind, "sentence": sentence })
        }
    }
}

guests::export_guest!(Echo with_types_in guests);
