//! Sends a person to a page of the service in the middle of its sign-in: each auth option is a `login` of another shape, and
//! the operation sends what its caller says.

use guests::{
    auth::{
        Attachment, AuthOption, Body, Call, Capture, Kind, Login, Oauth1, Origin, ParameterSetting, Scheme, Step, Visit,
    },
    connection, connector, header,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter, send,
};
use serde_json::{Value, json};

struct Visits;

fn capture(name: &str, at: Origin, kind: Kind) -> Capture {
    Capture { name: name.into(), at, kind, pattern: None }
}

fn answered(name: &str, pointer: &str, kind: Kind) -> Capture {
    capture(name, Origin::Answer(pointer.into()), kind)
}

fn brought(name: &str, parameter: &str, kind: Kind) -> Capture {
    capture(name, Origin::Callback(parameter.into()), kind)
}

fn post(path: &str, attach: Vec<Attachment>, fields: &[(&str, &str)], capture: Vec<Capture>) -> Step {
    let body = match fields {
        [] => Body::Empty,
        fields => Body::Form(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()),
    };
    Step::Call(Call { method: "POST".into(), url: format!("{{base}}{path}"), attach, body, capture })
}

fn visit(url: &str, capture: Vec<Capture>) -> Step {
    Step::Visit(Visit { url: format!("{{base}}{url}"), capture })
}

fn login(id: &str, steps: Vec<Step>, refresh: Vec<Step>, attach: Attachment) -> AuthOption {
    let parameters = vec![
        parameter("base", Kind::Url, vec![]),
        parameter("key", Kind::Text, vec![]),
        parameter("key-secret", Kind::Secret, vec![]),
    ];
    let mut it = option(id, parameters, vec![attach], &["{base}"]);
    it.scheme = Scheme::Login(Login { steps, refresh, lifetime_seconds: None });
    it
}

/// RFC 5849: a request token, the person's word, and a token.
fn three_legged(id: &str) -> AuthOption {
    let signed = |token: Option<(&str, &str)>, params: &[(&str, &str)]| {
        Attachment::Oauth1(Oauth1 {
            consumer_key: "{key}".into(),
            consumer_secret: "{key-secret}".into(),
            token: token.map(|(token, _)| token.into()),
            token_secret: token.map(|(_, secret)| secret.into()),
            method: "HMAC-SHA1".into(),
            realm: None,
            params: params.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        })
    };
    let steps = vec![
        post(
            "/request-token",
            vec![signed(None, &[("oauth_callback", "{redirect_uri}")])],
            &[],
            vec![
                answered("request-token", "/oauth_token", Kind::Text),
                answered("request-secret", "/oauth_token_secret", Kind::Secret),
            ],
        ),
        visit("/authorize?oauth_token={request-token}", vec![brought("verifier", "oauth_verifier", Kind::Secret)]),
        post(
            "/token",
            vec![signed(Some(("{request-token}", "{request-secret}")), &[("oauth_verifier", "{verifier}")])],
            &[],
            vec![
                answered("access_token", "/oauth_token", Kind::Secret),
                answered("token-secret", "/oauth_token_secret", Kind::Secret),
            ],
        ),
    ];
    login(id, steps, vec![], signed(Some(("{access_token}", "{token-secret}")), &[]))
}

/// A provider of OAuth 2.0 whose token requests no `oauth2-setting` has words for: each is a step of the connector's own.
fn in_words_of_its_own(id: &str, request: impl Fn(&[(&str, &str)]) -> Step) -> AuthOption {
    let authorize = "/authorize?response_type=code&client_id={key}&redirect_uri={redirect_uri}&state={state}";
    let steps = vec![
        visit(authorize, vec![brought("code", "code", Kind::Secret)]),
        request(&[("grant_type", "authorization_code"), ("code", "{code}"), ("redirect_uri", "{redirect_uri}")]),
    ];
    let refresh = request(&[("grant_type", "refresh_token"), ("refresh_token", "{refresh_token}")]);
    login(id, steps, vec![refresh], header("Authorization", "Bearer {access_token}"))
}

fn issued() -> Vec<Capture> {
    [("access_token", Kind::Secret), ("refresh_token", Kind::Secret), ("expires_in", Kind::Text)]
        .map(|(name, kind)| answered(name, &format!("/{name}"), kind))
        .into()
}

/// The same parameters, and the client's.
fn of_client<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [fields, &[("client_id", "{key}"), ("client_secret", "{key-secret}")]].concat()
}

/// Token requests are GET, with everything in the query.
fn by_get(fields: &[(&str, &str)]) -> Step {
    let attach = of_client(fields).into_iter().map(|(name, value)| Attachment::Query((name.into(), value.into())));
    let (method, url) = ("GET".into(), "{base}/token".into());
    Step::Call(Call { method, url, attach: attach.collect(), body: Body::Empty, capture: issued() })
}

/// Token requests are XML, an element for each parameter.
fn by_xml(fields: &[(&str, &str)]) -> Step {
    let elements: String = of_client(fields).iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
    let body = Body::Xml(format!("<request>{elements}</request>"));
    let (method, url) = ("POST".into(), "{base}/token".into());
    Step::Call(Call { method, url, attach: vec![], body, capture: issued() })
}

impl Manifest for Visits {
    fn describe() -> Connector {
        let page = || {
            visit(
                "/page?for={key}&back={redirect_uri}&tracking={state}",
                vec![brought("ticket", "ticket", Kind::Secret), brought("account", "account", Kind::Text)],
            )
        };
        let token = || {
            vec![answered("access_token", "/token", Kind::Secret), answered("expires_in", "/expires_in", Kind::Text)]
        };
        let redeem = || post("/session", vec![], &[("secret", "{key-secret}"), ("ticket", "{ticket}")], token());
        let bearer = || header("Authorization", "Bearer {access_token}");
        let kept = {
            let mut first = token();
            first.push(answered("refresh_token", "/refresh", Kind::Secret));
            let redeem = post("/session", vec![], &[("secret", "{key-secret}"), ("ticket", "{ticket}")], first);
            let mut again = token();
            again.push(answered("refresh_token", "/refresh", Kind::Secret));
            let refresh = post("/refresh", vec![], &[("refresh", "{refresh_token}")], again);
            login("kept", vec![page(), redeem], vec![refresh], bearer())
        };
        let stateless = login(
            "stateless",
            vec![visit("/page?back={redirect_uri}", vec![brought("ticket", "ticket", Kind::Secret)])],
            vec![],
            header("Authorization", "Bearer {ticket}"),
        );
        // The consumer is the operator's.
        let mut of_app = three_legged("of-app");
        for parameter in of_app.parameters.iter_mut().filter(|it| it.name.starts_with("key")) {
            parameter.settings.push(ParameterSetting::OfApp);
        }
        let mut it = connector(
            "visits",
            "1.0.0",
            vec![
                three_legged("three-legged"),
                of_app,
                login("once", vec![page(), redeem()], vec![], bearer()),
                kept,
                stateless,
                in_words_of_its_own("by-get", by_get),
                in_words_of_its_own("by-xml", by_xml),
            ],
            &[("connection", Effect::Read)],
        );
        it.operations.push(send::operation());
        it
    }
}

impl Operations for Visits {
    fn invoke(operation: String, input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap();
        Ok(match operation.as_str() {
            "connection" => {
                let names = [
                    "key",
                    "key-secret",
                    "request-token",
                    "request-secret",
                    "verifier",
                    "ticket",
                    "account",
                    "access_token",
                    "refresh_token",
                    "token-secret",
                    "redirect_uri",
                    "state",
                ];
                let seen: Vec<_> = names.iter().map(|name| (*name, connection::parameter(name))).collect();
                json!({ "seen": seen }).to_string()
            }
            _ => send::send(&input).to_string(),
        })
    }

    fn check() -> Result<String, Failure> {
        send::check()
    }
}

guests::export_guest!(Visits with_types_in guests);
