//! Does what its caller says: sends any request, and tells what it could see of the connection.

use guests::{
    auth::{Attachment, AzureSharedKey, Jwt, Kind, Oauth1, ParameterSetting, Sigv4},
    connection, connector, header, log,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter, send,
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
                    "certificate",
                    vec![base(), open(), other(), parameter("certificate", Kind::Secret, vec![]), key()],
                    vec![Attachment::ClientCertificate(("{certificate}".into(), "{key}".into()))],
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
                    "sigv4",
                    vec![base(), open(), other(), key()],
                    vec![Attachment::AwsSigv4(Sigv4 {
                        access_key_id: "AKIDEXAMPLE".into(),
                        secret_access_key: "{key}".into(),
                        session_token: None,
                        service: "execute-api".into(),
                        region: "eu-central-1".into(),
                    })],
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
                option(
                    "path",
                    vec![base(), open(), other(), key()],
                    vec![Attachment::Path("/bot{key}".into())],
                    audience,
                ),
                option(
                    "body",
                    vec![base(), open(), other(), key()],
                    vec![Attachment::Body(("/auth/key".into(), "{key}".into()))],
                    audience,
                ),
                option(
                    "oauth1",
                    vec![base(), open(), other(), key()],
                    vec![Attachment::Oauth1(Oauth1 {
                        consumer_key: "consumer".into(),
                        consumer_secret: "{key}".into(),
                        token: None,
                        token_secret: None,
                        method: "HMAC-SHA256".into(),
                        realm: None,
                        params: vec![],
                    })],
                    audience,
                ),
                {
                    let mut it = option(
                        "jwt",
                        vec![base(), open(), other(), key()],
                        vec![header("X-Name", "{now(unix)}"), header("Authorization", "Bearer {token}")],
                        audience,
                    );
                    it.jwts.push(Jwt {
                        name: "token".into(),
                        algorithm: "HS256".into(),
                        key: "{key}".into(),
                        header: "{}".into(),
                        claims: r#"{"aud": "{base}", "path": "{request.path}"}"#.into(),
                        lifetime_seconds: 300,
                    });
                    it
                },
            ],
            &[("connection", Effect::Read), ("fail", Effect::Read)],
        );
        it.open_hosts = vec!["{open}".into()];
        it.operations.push(send::operation());
        it
    }
}

impl Operations for Echo {
    fn invoke(operation: String, input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap();
        log::write(log::Level::Info, &format!("called {operation} with {input}"));
        match operation.as_str() {
            "send" => Ok(send::send(&input).to_string()),
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
                // A connector that gives up where its request does.
                "request" => Failure::Other(send::send(&input).to_string()),
                "rate-limited" => Failure::RateLimited(Some(7)),
                "upstream" => Failure::Upstream((418, "I am \u{202e}a \u{1b}[31mteapot".into())),
                _ => Failure::Other("the words".into()),
            }),
            _ => unreachable!(),
        }
    }

    fn check() -> Result<String, Failure> {
        send::check()
    }
}

guests::export_guest!(Echo with_types_in guests);
