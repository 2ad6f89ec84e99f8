//! Signs in: each auth option is a `login` of another shape, and the operation sends what its caller says.

use guests::{
    auth::{Attachment, AuthOption, Body, Call, Capture, Kind, Login, Origin, ParameterSetting, Scheme, Step},
    connection, connector, header, log,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter, send,
};
use serde_json::{Value, json};

struct SignsIn;

fn capture(name: &str, at: Origin, kind: Kind) -> Capture {
    Capture { name: name.into(), at, kind, pattern: None }
}

fn form(fields: &[(&str, &str)]) -> Body {
    Body::Form(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

fn post(url: &str, body: Body, capture: Vec<Capture>) -> Step {
    Step::Call(Call { method: "POST".into(), url: url.into(), attach: vec![], body, capture })
}

fn token() -> Vec<Capture> {
    vec![
        capture("access_token", Origin::Answer("/token".into()), Kind::Text),
        capture("expires_in", Origin::Answer("/expires_in".into()), Kind::Text),
        capture("region", Origin::Header("x-region".into()), Kind::Label),
    ]
}

fn login(id: &str, steps: Vec<Step>, refresh: Vec<Step>) -> AuthOption {
    let parameters = vec![
        parameter("base", Kind::Url, vec![]),
        parameter("open", Kind::Url, vec![ParameterSetting::Optional]),
        parameter("user", Kind::Text, vec![]),
        parameter("password", Kind::Secret, vec![]),
    ];
    let mut it = option(id, parameters, vec![], &["{base}"]);
    it.scheme = Scheme::Login(Login { steps, refresh, lifetime_seconds: None });
    it
}

impl Manifest for SignsIn {
    fn describe() -> Connector {
        let typed = form(&[("user", "{user}"), ("password", "{password}")]);
        let signs_in = || post("{base}/login", typed.clone(), token());
        let refreshed = {
            let mut refresh_token = token();
            refresh_token.push(capture("refresh_token", Origin::Answer("/refresh".into()), Kind::Secret));
            login(
                "refreshed",
                vec![post("{base}/login", typed.clone(), refresh_token)],
                vec![post("{base}/refresh", form(&[("refresh", "{refresh_token}")]), token())],
            )
        };
        let cookies = {
            let mut it = login(
                "cookies",
                vec![post("{base}/login", typed.clone(), vec![capture("session", Origin::Cookies, Kind::Secret)])],
                vec![],
            );
            it.attach = vec![header("Cookie", "{session}")];
            it
        };
        let xml = {
            let body = Body::Xml("<login><user>{user}</user><password>{password}</password></login>".into());
            let mut it = login(
                "xml",
                vec![post(
                    "{base}/xml",
                    body,
                    vec![capture("ticket", Origin::Answer("/answer/ticket".into()), Kind::Secret)],
                )],
                vec![],
            );
            it.attach = vec![header("X-Ticket", "{ticket}")];
            it
        };
        let located = {
            let mut captures = token();
            captures.push(Capture {
                name: "instance".into(),
                at: Origin::Answer("/instance".into()),
                kind: Kind::Url,
                pattern: Some("http://127\\.0\\.0\\.1:[0-9]+".into()),
            });
            let mut it = login("located", vec![post("{base}/login", typed.clone(), captures)], vec![]);
            it.audience = vec!["{instance}".into()];
            it
        };
        let json = login(
            "json",
            vec![post(
                "{base}/json",
                Body::Json(r#"{"user": "{user}", "nested": {"password": "{password}"}}"#.into()),
                token(),
            )],
            vec![],
        );
        // What is attached completes the address of a sign-in.
        let in_path = {
            let mut it = login("in-path", vec![post("{base}/oauth/login", typed.clone(), token())], vec![]);
            it.attach = vec![Attachment::Path("/oauth".into()), header("Authorization", "Bearer {access_token}")];
            it
        };
        let in_query = {
            let mut it = login("in-query", vec![post("{base}/?do=login", typed.clone(), token())], vec![]);
            let with_query = Attachment::Query(("do".into(), "login".into()));
            it.attach = vec![with_query, header("Authorization", "Bearer {access_token}")];
            it
        };
        let mut it = connector(
            "signs-in",
            "1.0.0",
            vec![login("form", vec![signs_in()], vec![]), refreshed, cookies, xml, located, json, in_path, in_query],
            &[("connection", Effect::Read)],
        );
        it.open_hosts = vec!["{open}".into()];
        it.operations.push(send::operation());
        it
    }
}

impl Operations for SignsIn {
    fn invoke(operation: String, input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap();
        log::write(log::Level::Info, &format!("called {operation} with {input}"));
        Ok(match operation.as_str() {
            "connection" => {
                let names = [
                    "user",
                    "password",
                    "access_token",
                    "refresh_token",
                    "expires_in",
                    "region",
                    "session",
                    "instance",
                ];
                let seen: Vec<_> = names.iter().map(|name| (*name, connection::parameter(name))).collect();
                json!({ "audience": connection::audience(), "seen": seen }).to_string()
            }
            _ => send::send(&input).to_string(),
        })
    }

    fn check() -> Result<String, Failure> {
        send::check()
    }
}

guests::export_guest!(SignsIn with_types_in guests);
