//! What an attachment or a token may be, and what is refused.

use super::*;
use crate::{
    error::Kind,
    manifest::{AuthOption, Manifest, ValueKind, testing},
};

fn option(attach: Vec<declared::Attachment>, jwts: Vec<declared::Jwt>) -> Result<AuthOption> {
    let parameters = [
        ("id", ValueKind::Text),
        ("port", ValueKind::Integer),
        ("secret", ValueKind::Secret),
        ("token", ValueKind::Secret),
    ];
    let connector = testing::connector(declared::AuthOption {
        id: "key".into(),
        title: "Key".into(),
        parameters: parameters.map(|(name, kind)| testing::parameter(name, kind, &[])).to_vec(),
        scheme: declared::Scheme::Direct,
        jwts,
        attach,
        audience: vec!["https://a.example".into()],
    });
    Manifest::check(&connector).map(|mut manifest| manifest.options.remove(0))
}

fn attach(attachment: declared::Attachment) -> Result<Attachment> {
    option(vec![attachment], Vec::new()).map(|mut option| option.attach.remove(0))
}

fn sigv4() -> declared::Sigv4 {
    declared::Sigv4 {
        access_key_id: "{id}".into(),
        secret_access_key: "{secret}".into(),
        session_token: None,
        service: "s3".into(),
        region: "{id}".into(),
    }
}

fn oauth1() -> declared::Oauth1 {
    declared::Oauth1 {
        consumer_key: "{id}".into(),
        consumer_secret: "{secret}".into(),
        token: Some("{token}".into()),
        token_secret: None,
        method: "HMAC-SHA1".into(),
        realm: None,
        params: Vec::new(),
    }
}

fn jwt() -> declared::Jwt {
    declared::Jwt {
        name: "assertion".into(),
        algorithm: "RS256".into(),
        key: "{secret}".into(),
        header: "{}".into(),
        claims: r#"{"uri": "{request.method} {request.path}", "iss": "{id}"}"#.into(),
        lifetime_seconds: 60,
    }
}

fn refused(result: Result<impl std::fmt::Debug>, kind: Kind, expected: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(expected), "{error}");
}

#[test]
fn an_approval_shows_where_a_credential_goes_and_what_signs_it() {
    for (declared, expected) in [
        (
            declared::Attachment::AwsSigv4(declared::Sigv4 { session_token: Some("{token}".into()), ..sigv4() }),
            "headers Authorization and X-Amz-Security-Token (AWS Signature Version 4): {id}, with {token}, signed with {secret} for s3 in {id}",
        ),
        (
            declared::Attachment::Oauth1(declared::Oauth1 {
                realm: Some("{id}".into()),
                params: vec![("oauth_verifier".into(), "{token}".into())],
                token_secret: Some("{secret}".into()),
                ..oauth1()
            }),
            "header Authorization (OAuth 1.0 HMAC-SHA1): {id}, token {token}, realm {id}, oauth_verifier {token}, signed with {secret} and {secret}",
        ),
        (
            declared::Attachment::Oauth1(declared::Oauth1 { method: "PLAINTEXT".into(), ..oauth1() }),
            "header Authorization (OAuth 1.0 PLAINTEXT, which sends the secrets themselves): {id}, token {token}, signed with {secret}",
        ),
        (declared::Attachment::Body("/auth/key".into(), "{secret}".into()), "body /auth/key: {secret}"),
        (declared::Attachment::Path("/bot{secret}".into()), "path /bot{secret}"),
    ] {
        assert_eq!(attach(declared).unwrap().describe(), expected);
    }
    let option =
        option(vec![declared::Attachment::Header("Authorization".into(), "Bearer {assertion}".into())], vec![jwt()]);
    assert_eq!(
        option.unwrap().jwts[0].describe(),
        r#"jwt assertion: RS256 with {secret}, header {}, claims {"uri": "{request.method} {request.path}", "iss": "{id}"}"#
    );
}

#[test]
fn keys_and_passwords_are_made_of_secrets_only() {
    let only_secrets = "a password or key may use only secrets";
    for declared in [
        declared::Attachment::AwsSigv4(declared::Sigv4 { secret_access_key: "{id}".into(), ..sigv4() }),
        declared::Attachment::Oauth1(declared::Oauth1 { consumer_secret: "{id}".into(), ..oauth1() }),
        declared::Attachment::Oauth1(declared::Oauth1 { token_secret: Some("{secret}{id}".into()), ..oauth1() }),
    ] {
        refused(attach(declared), Kind::Denied, only_secrets);
    }
    refused(option(Vec::new(), vec![declared::Jwt { key: "{id}".into(), ..jwt() }]), Kind::Denied, only_secrets);
    let shown = "a secret (`token`) cannot stand in a name that is shown";
    for declared in [
        declared::Attachment::AwsSigv4(declared::Sigv4 { region: "{token}".into(), ..sigv4() }),
        declared::Attachment::AwsSigv4(declared::Sigv4 { service: "{token}".into(), ..sigv4() }),
        declared::Attachment::Oauth1(declared::Oauth1 { realm: Some("{token}".into()), ..oauth1() }),
    ] {
        refused(attach(declared), Kind::Denied, shown);
    }
}

#[test]
fn what_cannot_be_attached_is_refused_by_name() {
    for (declared, expected) in [
        (
            declared::Attachment::Oauth1(declared::Oauth1 { method: "HMAC-MD5".into(), ..oauth1() }),
            "there is no method `HMAC-MD5` (HMAC-SHA1, HMAC-SHA256, RSA-SHA1, PLAINTEXT)",
        ),
        (
            declared::Attachment::Oauth1(declared::Oauth1 {
                params: vec![("oauth_nonce".into(), "1".into())],
                ..oauth1()
            }),
            "the parameter `oauth_nonce` is there already",
        ),
        (
            declared::Attachment::Oauth1(declared::Oauth1 {
                params: vec![("x".into(), "1".into()), ("x".into(), "2".into())],
                ..oauth1()
            }),
            "the parameter `x` is there already",
        ),
        (
            declared::Attachment::Oauth1(declared::Oauth1 { params: vec![("a\"b".into(), "1".into())], ..oauth1() }),
            "is no name of a parameter",
        ),
        (declared::Attachment::Body("key".into(), "{secret}".into()), "a JSON Pointer begins with `/`"),
        (declared::Attachment::Body(String::new(), "{secret}".into()), "the whole body cannot be a credential"),
        (declared::Attachment::Path("bot{secret}".into()), "does not begin with a slash"),
        (declared::Attachment::Path("{secret}/bot".into()), "does not begin with a slash"),
        (declared::Attachment::Path("/bot{secret}/".into()), "does not begin with a slash and end without one"),
        (declared::Attachment::Path("/bot || x{secret}".into()), "does not begin with a slash"),
        (declared::Attachment::Path("/bot{secret}?x".into()), "a character that does not stand in a path"),
        (declared::Attachment::Path("/bot\\{secret}".into()), "a character that does not stand in a path"),
        (declared::Attachment::Path("/bot{nobody}".into()), "uses `nobody`, which is no parameter of it"),
    ] {
        refused(attach(declared), Kind::InvalidConnector, expected);
    }
}

#[test]
fn a_token_is_a_secret_name_of_its_option() {
    let with = |attachment, jwts| option(vec![attachment], jwts);
    let header = |name: &str, value: &str| declared::Attachment::Header(name.into(), value.into());
    assert!(with(header("Authorization", "Bearer {assertion}"), vec![jwt()]).is_ok());
    assert!(with(header("X-Signed", "{hex(sign(hmac-sha256, assertion, request.body))}"), vec![jwt()]).is_ok());
    refused(with(header("{assertion}", "x"), vec![jwt()]), Kind::Denied, "a secret (`assertion`)");
    refused(with(header("X", "{assertion}"), Vec::new()), Kind::InvalidConnector, "uses `assertion`");
    for (jwt, expected) in [
        (declared::Jwt { name: "id".into(), ..jwt() }, "there is a parameter of that name"),
        (declared::Jwt { name: "a.b".into(), ..jwt() }, "its name is a letter"),
        (declared::Jwt { claims: r#"{"a": "{nobody}"}"#.into(), ..jwt() }, "uses `nobody`"),
        (declared::Jwt { header: r#"{"a": "{assertion}"}"#.into(), ..jwt() }, "uses `assertion`"),
        (declared::Jwt { claims: r#"{"a": "{hex(sign(hmac-sha1, id, port))}"}"#.into(), ..jwt() }, "signs with `id`"),
    ] {
        let error = option(Vec::new(), vec![jwt]).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
    refused(option(Vec::new(), vec![jwt(), jwt()]), Kind::InvalidConnector, "The jwt `assertion` is declared twice");
}

#[test]
fn a_body_member_of_one_name_takes_its_kind() {
    let kind = |value: &str| match attach(declared::Attachment::Body("/v".into(), value.into())).unwrap() {
        Attachment::Body { kind, .. } => kind,
        _ => unreachable!(),
    };
    assert_eq!(kind("{port}"), JsonKind::Integer);
    assert_eq!(kind("{secret}"), JsonKind::String);
    assert_eq!(kind(":{port}"), JsonKind::String);
}
