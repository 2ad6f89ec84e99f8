//! Signs in through an authorization server: each auth option is OAuth 2.0 of another shape, and the operations send what their
//! caller says.

use guests::{
    auth::{
        Attachment, AuthOption, Body, Call, Capture, ClientAuth, Grant, Jwt, Kind, Oauth2Setting as Its, Origin,
        ParameterSetting, Scheme, Scope, Step, TokenFormat,
    },
    connection, connector, header, log,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter, send,
};
use serde_json::{Value, json};

struct Oauth;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn scope(name: &str, required: bool) -> Scope {
    Scope { name: name.into(), description: Some(format!("What {name} is for")), required }
}

/// With scopes that a provider of OpenID Connect has, asked for so that a refresh token comes of it.
fn settings(more: Vec<Its>) -> Vec<Its> {
    let mut settings = vec![Its::Scopes(vec![
        scope("openid", true),
        scope("offline_access", true),
        scope("api:read", true),
        scope("api:write", false),
        scope("api:admin", false),
    ])];
    if !more.iter().any(|it| matches!(it, Its::AuthorizationParams(_))) {
        settings.push(Its::AuthorizationParams(pairs(&[("prompt", "consent")])));
    }
    settings.extend(more);
    settings
}

fn oauth2(id: &str, settings: Vec<Its>) -> AuthOption {
    let parameters = vec![parameter("base", Kind::Url, vec![]), parameter("issuer", Kind::Url, vec![])];
    let mut it = option(id, parameters, vec![], &["{base}"]);
    it.scheme = Scheme::Oauth2(settings);
    it
}

fn capture(name: &str, at: Origin) -> Capture {
    Capture { name: name.into(), at, kind: Kind::Secret, pattern: None }
}

/// The client is called otherwise.
fn renamed() -> AuthOption {
    let names = || pairs(&[("client_key", "{client_id}"), ("client_id", "")]);
    oauth2(
        "renamed",
        vec![issuer(), Its::AuthorizationParams(names()), Its::TokenParams(names()), Its::RefreshParams(names())],
    )
}

/// So is where the person is sent back to.
fn redirect_renamed() -> AuthOption {
    let names = || pairs(&[("redirect_url", "{redirect_uri}"), ("redirect_uri", "")]);
    oauth2("redirect-renamed", vec![issuer(), Its::AuthorizationParams(names()), Its::TokenParams(names())])
}

/// A URL of this machine that an answer or the callback has.
fn place(name: &str, at: Origin) -> Capture {
    Capture { name: name.into(), at, kind: Kind::Url, pattern: Some("http://127\\.0\\.0\\.1:[0-9]+".into()) }
}

/// The token answer says where the service is.
fn located() -> AuthOption {
    located_by("located", "instance_url")
}

fn located_by(id: &str, member: &str) -> AuthOption {
    let mut it = oauth2(id, vec![issuer(), Its::Capture(vec![place(member, Origin::Answer(format!("/{member}")))])]);
    it.audience = vec![format!("{{{member}}}")];
    it
}

/// The callback says where tokens are asked for.
fn tokens_elsewhere() -> AuthOption {
    let server = place("accounts_server", Origin::Callback("accounts-server".into()));
    oauth2(
        "tokens-elsewhere",
        vec![issuer(), Its::Capture(vec![server]), Its::TokenUrl("{accounts_server}/token".into())],
    )
}

/// The callback says which of the person's companies it is, and each call has to say so too.
fn of_a_company() -> AuthOption {
    let realm = Capture {
        name: "realm".into(),
        at: Origin::Callback("realmId".into()),
        kind: Kind::Text,
        pattern: Some("[0-9]+".into()),
    };
    let mut it = oauth2("of-a-company", vec![issuer(), Its::Capture(vec![realm])]);
    it.attach = vec![header("Authorization", "Bearer {access_token}"), header("X-Company", "{realm}")];
    it
}

/// The client's secret is the user name of a Basic credential, and stands nowhere else.
fn secret_as_user() -> AuthOption {
    let attach = Attachment::Basic(("{client_secret}".into(), String::new()));
    oauth2("secret-as-user", vec![issuer(), Its::ClientAuth(ClientAuth::None), Its::TokenAttach(vec![attach])])
}

/// A form is asked for where the host would ask for JSON.
fn form_wanted() -> AuthOption {
    let accept = header("Accept", "application/x-www-form-urlencoded");
    oauth2("form-wanted", vec![issuer(), Its::TokenAttach(vec![accept])])
}

/// Asked for in the provider's own words, so that a renewal token comes of it.
fn offline(id: &str, params: &[(&str, &str)]) -> AuthOption {
    oauth2(id, vec![issuer(), Its::AuthorizationParams(pairs(params))])
}

/// With these scopes, all of them required.
fn scoped(id: &str, scopes: &[&str], more: Vec<Its>) -> AuthOption {
    let mut settings = vec![issuer(), Its::Scopes(scopes.iter().map(|name| scope(name, true)).collect())];
    settings.extend(more);
    oauth2(id, settings)
}

/// The same, and who it is for is looked up there.
fn located_looks_up() -> AuthOption {
    let mut it = located();
    it.id = "located-looks-up".into();
    if let Scheme::Oauth2(settings) = &mut it.scheme {
        settings.push(Its::AfterToken(vec![look_up("{instance_url}/api/me")]));
    }
    it
}

/// Renewed by steps of its own: with the renewal token, and then it is looked up whose the new one is.
fn in_steps() -> AuthOption {
    let captured = ["access_token", "refresh_token"].map(|name| capture(name, Origin::Answer(format!("/{name}"))));
    let renew = Step::Call(Call {
        method: "POST".into(),
        url: "{issuer}/token".into(),
        attach: vec![],
        body: Body::Form(pairs(&[
            ("grant_type", "refresh_token"),
            ("client_id", "{client_id}"),
            ("client_secret", "{client_secret}"),
            ("refresh_token", "{refresh_token}"),
        ])),
        capture: captured.into(),
    });
    oauth2("in-steps", vec![issuer(), Its::Refresh(vec![renew, look_up("{issuer}/api/me")])])
}

/// One endpoint of the provider's lies at the service, the others at the issuer.
fn at_base(id: &str, settings: Vec<Its>) -> AuthOption {
    let mut all = vec![Its::AuthorizationUrl("{issuer}/authorize".into())];
    if !settings.iter().any(|it| matches!(it, Its::TokenUrl(_))) {
        all.push(Its::TokenUrl("{issuer}/token".into()));
    }
    if !settings.iter().any(|it| matches!(it, Its::RevocationUrl(_))) {
        all.push(Its::RevocationUrl("{issuer}/revoke".into()));
    }
    all.extend(settings);
    oauth2(id, all)
}

/// What the app or the sign-in has is sent to the service, in a step of the connector's own.
fn sent_to_base(body: &[(&str, &str)]) -> Step {
    let url = "{base}/token".into();
    Step::Call(Call { method: "POST".into(), url, attach: vec![], body: Body::Form(pairs(body)), capture: vec![] })
}

fn look_up(url: &str) -> Step {
    Step::Call(Call {
        method: "GET".into(),
        url: url.into(),
        attach: vec![header("Authorization", "Bearer {access_token}")],
        body: Body::Empty,
        capture: vec![],
    })
}

/// The tokens stand in a member of the answer.
fn nested(id: &str, member: &str) -> AuthOption {
    let tokens =
        ["access_token", "refresh_token"].map(|name| capture(name, Origin::Answer(format!("/{member}/{name}"))));
    oauth2(id, vec![issuer(), Its::Capture(tokens.into())])
}

/// No OAuth at all: what is typed is sent, in the same place.
fn keyed() -> AuthOption {
    let mut it = oauth2("key", vec![]);
    it.scheme = Scheme::Direct;
    it.parameters.push(parameter("key", Kind::Secret, vec![]));
    it.attach = vec![header("Authorization", "Bearer {key}")];
    it
}

/// An assertion that the host signs is the grant (RFC 7523).
fn signed() -> AuthOption {
    let mut it = machine(
        "signed",
        &[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", "{assertion}")],
    );
    it.parameters.push(parameter("key", Kind::Secret, vec![]));
    it.jwts = vec![Jwt {
        name: "assertion".into(),
        algorithm: "ES256".into(),
        key: "{key}".into(),
        header: "{}".into(),
        claims: r#"{"iss": "{client_id}", "sub": "jo", "aud": "{issuer}"}"#.into(),
        lifetime_seconds: 60,
    }];
    it
}

/// A token of another party is traded for one (RFC 8693).
fn traded() -> AuthOption {
    let mut it = machine(
        "traded",
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", "{subject}"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ],
    );
    it.parameters.push(parameter("subject", Kind::Secret, vec![]));
    it
}

/// A certificate that was typed is shown in the TLS handshake where tokens are asked for (RFC 8705, 2), and nowhere else.
fn certified() -> AuthOption {
    let shown = Attachment::ClientCertificate(("{certificate}".into(), "{key}".into()));
    let grants = Its::Grants(vec![Grant::AuthorizationCode, Grant::DeviceCode]);
    let mut it = oauth2("certified", vec![issuer(), grants, Its::TokenAttach(vec![shown])]);
    it.parameters.extend(["certificate", "key"].map(|name| parameter(name, Kind::Secret, vec![])));
    it
}

/// Some of it is the app's to give.
fn of_app() -> AuthOption {
    let mut it = oauth2("of-app", vec![issuer()]);
    it.parameters.push(parameter("tenant", Kind::Text, vec![ParameterSetting::OfApp]));
    it.parameters.push(parameter("api-key", Kind::Secret, vec![ParameterSetting::OfApp]));
    it.attach = vec![header("Authorization", "Bearer {access_token}"), header("X-Tenant", "{tenant}/{api-key}")];
    it
}

fn machine(id: &str, params: &[(&str, &str)]) -> AuthOption {
    oauth2(id, vec![issuer(), Its::Grants(vec![Grant::ClientCredentials]), Its::TokenParams(pairs(params))])
}

/// There is no refresh token: the access token itself is exchanged for a longer one, at once and later.
fn exchanged() -> AuthOption {
    let exchange = || {
        Step::Call(Call {
            method: "POST".into(),
            url: "{issuer}/token".into(),
            attach: vec![],
            body: Body::Form(pairs(&[
                ("grant_type", "fb_exchange_token"),
                ("client_id", "{client_id}"),
                ("client_secret", "{client_secret}"),
                ("fb_exchange_token", "{access_token}"),
            ])),
            capture: vec![
                capture("access_token", Origin::Answer("/access_token".into())),
                capture("expires_in", Origin::Answer("/expires_in".into())),
            ],
        })
    };
    oauth2("exchanged", vec![issuer(), Its::AfterToken(vec![exchange()]), Its::Refresh(vec![exchange()])])
}

/// Nothing is discovered, and the host registers itself.
fn urls(id: &str, way: Option<ClientAuth>) -> AuthOption {
    let mut more = vec![
        Its::AuthorizationUrl("{issuer}/auth".into()),
        Its::TokenUrl("{issuer}/token".into()),
        Its::RevocationUrl("{issuer}/token/revocation".into()),
        Its::RegistrationUrl("{issuer}/reg".into()),
    ];
    more.extend(way.map(Its::ClientAuth));
    oauth2(id, settings(more))
}

/// For two resources at once (RFC 8707, 2).
fn resources() -> AuthOption {
    let both = || pairs(&[("resource", "{base}/api"), ("resource", "{base}/other")]);
    oauth2("resources", vec![issuer(), Its::AuthorizationParams(both()), Its::TokenParams(both())])
}

fn issuer() -> Its {
    Its::Issuer("{issuer}".into())
}

impl Manifest for Oauth {
    fn describe() -> Connector {
        let all_grants = || Its::Grants(vec![Grant::AuthorizationCode, Grant::DeviceCode, Grant::ClientCredentials]);
        let typed = {
            let mut it = machine("typed", &[]);
            it.parameters.push(parameter("client_id", Kind::Text, vec![]));
            it.parameters.push(parameter("client_secret", Kind::Secret, vec![ParameterSetting::Optional]));
            it
        };
        let mut it = connector(
            "oauth",
            "1.0.0",
            vec![
                oauth2("discovered", settings(vec![issuer(), all_grants()])),
                oauth2("basic", settings(vec![issuer(), Its::ClientAuth(ClientAuth::Basic)])),
                urls("urls", None),
                urls("urls-basic", Some(ClientAuth::Basic)),
                urls("urls-none", Some(ClientAuth::None)),
                oauth2(
                    "resource",
                    settings(vec![
                        issuer(),
                        Its::AuthorizationParams(pairs(&[("prompt", "consent"), ("resource", "{base}/api")])),
                        Its::TokenParams(pairs(&[("resource", "{base}/api")])),
                        Its::RefreshParams(pairs(&[("resource", "{base}/api")])),
                    ]),
                ),
                resources(),
                machine("machine", &[]),
                typed,
                oauth2("plain", vec![issuer()]),
                oauth2("second", vec![issuer(), Its::Scopes(vec![scope("openid", true), scope("email", true)])]),
                oauth2("json", vec![issuer(), Its::TokenFormat(TokenFormat::Json)]),
                oauth2("query", vec![issuer(), Its::TokenFormat(TokenFormat::Query)]),
                oauth2("without-pkce", vec![issuer(), Its::Pkce(false)]),
                oauth2("refreshed-elsewhere", vec![issuer(), Its::RefreshUrl("{issuer}/refresh".into())]),
                oauth2(
                    "comma",
                    vec![
                        issuer(),
                        Its::Scopes(vec![scope("items", true), scope("admin", true)]),
                        Its::ScopeSeparator(",".into()),
                        Its::RefreshParams(pairs(&[("scope", "{scope}")])),
                    ],
                ),
                scoped("comma-spaced", &["items", "admin"], vec![]),
                scoped("plus", &["items", "admin"], vec![Its::ScopeSeparator("+".into())]),
                scoped("of-origin", &["{base}/items", "{base}/admin"], vec![]),
                scoped("offline-access", &["items", "offline_access"], vec![]),
                scoped("offline-dot-access", &["items", "offline.access"], vec![]),
                offline("access-type", &[("access_type", "offline"), ("prompt", "consent")]),
                offline("token-access-type", &[("token_access_type", "offline")]),
                offline("duration", &[("duration", "permanent")]),
                renamed(),
                redirect_renamed(),
                secret_as_user(),
                form_wanted(),
                oauth2(
                    "code-renamed",
                    vec![
                        issuer(),
                        Its::Capture(vec![capture("spapi_oauth_code", Origin::Callback("spapi_oauth_code".into()))]),
                        Its::TokenParams(pairs(&[("code", "{spapi_oauth_code}")])),
                    ],
                ),
                nested("nested", "authed_user"),
                nested("under-data", "data"),
                oauth2("short-lived", vec![issuer(), Its::LifetimeSeconds(1)]),
                oauth2(
                    "milliseconds",
                    vec![
                        issuer(),
                        Its::Capture(vec![capture("expires_in_ms", Origin::Answer("/expires_in_ms".into()))]),
                    ],
                ),
                oauth2(
                    "looks-up",
                    vec![
                        issuer(),
                        Its::Grants(vec![Grant::AuthorizationCode, Grant::DeviceCode]),
                        Its::AfterToken(vec![look_up("{issuer}/api/me")]),
                    ],
                ),
                in_steps(),
                located(),
                located_looks_up(),
                located_by("located-by-domain", "api_domain"),
                tokens_elsewhere(),
                of_a_company(),
                exchanged(),
                keyed(),
                signed(),
                traded(),
                certified(),
                of_app(),
                at_base("token-at-base", vec![Its::TokenUrl("{base}/token".into())]),
                at_base("refresh-at-base", vec![Its::RefreshUrl("{base}/token".into())]),
                at_base("revocation-at-base", vec![Its::RevocationUrl("{base}/revoke".into())]),
                at_base(
                    "device-at-base",
                    vec![Its::Grants(vec![Grant::DeviceCode]), Its::DeviceAuthorizationUrl("{base}/device".into())],
                ),
                at_base(
                    "after-token-at-base",
                    vec![Its::AfterToken(vec![sent_to_base(&[("client_secret", "{client_secret}")])])],
                ),
                at_base(
                    "steps-at-base",
                    vec![Its::Refresh(vec![sent_to_base(&[("refresh_token", "{refresh_token}")])])],
                ),
            ],
            &[("connection", Effect::Read)],
        );
        it.operations.push(send::operation());
        let mut write = send::operation();
        write.id = "write".into();
        write.scopes = vec!["api:write".into()];
        it.operations.push(write);
        it
    }
}

impl Operations for Oauth {
    fn invoke(operation: String, input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap();
        log::write(log::Level::Info, &format!("called {operation} with {input}"));
        Ok(match operation.as_str() {
            "connection" => {
                let names = ["client_id", "client_secret", "access_token", "refresh_token", "issuer"];
                let seen: Vec<_> = names.iter().map(|name| (*name, connection::parameter(name))).collect();
                json!({ "audience": connection::audience(), "seen": seen, "scopes": connection::scopes() }).to_string()
            }
            _ => send::send(&input).to_string(),
        })
    }

    fn check() -> Result<String, Failure> {
        send::check()
    }
}

guests::export_guest!(Oauth with_types_in guests);
