//! Tokens: the standards' own, and what the host adds to those that are declared.

use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde_json::{Value as Json, json};

use super::{algorithm::compact, *};
use crate::manifest::template::testing::given;

fn declared(algorithm: &str, header: &str, claims: &str) -> declared::Jwt {
    declared::Jwt {
        name: "assertion".into(),
        algorithm: algorithm.into(),
        key: "{key}".into(),
        header: header.into(),
        claims: claims.into(),
        lifetime_seconds: 300,
    }
}

fn check(declared: &declared::Jwt) -> Result<Jwt> {
    let kind_of = |name: &str| match name {
        "port" => Some(ValueKind::Integer),
        "admin" => Some(ValueKind::Boolean),
        _ => Some(ValueKind::Text),
    };
    Jwt::check(declared, Template::parse(&declared.key).unwrap(), &kind_of)
}

fn moment() -> Moment {
    Moment::at("2026-11-24T02:03:04.567Z".parse().unwrap())
}

fn make(declared: &declared::Jwt, values: &[(&str, &[u8])]) -> Result<Option<Value>, FillError> {
    check(declared).unwrap().make(&given(values), &moment())
}

fn decoded(part: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// Header and claims of a token.
fn parts(token: &Value) -> (Json, Json) {
    let text = token.text().unwrap();
    let mut parts = text.split('.').map(|part| serde_json::from_slice(&decoded(part)));
    (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap())
}

fn verifies(token: &str, public_pem: &str, algorithm: &'static dyn VerificationAlgorithm) -> bool {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(public_pem.as_bytes()).unwrap();
    let (message, signature) = token.trim().rsplit_once('.').unwrap();
    UnparsedPublicKey::new(algorithm, key.as_ref()).verify(message.as_bytes(), &decoded(signature)).is_ok()
}

/// Signs again what was signed in a token.
fn signed_again(token: &str, algorithm: Algorithm, key: &[u8]) -> String {
    let parts: Vec<Vec<u8>> = token.trim().split('.').map(decoded).collect();
    compact(algorithm, key, &parts[0], &parts[1]).unwrap().to_string()
}

#[test]
fn signatures_that_are_always_the_same_are_those_of_the_standards() {
    // RFC 7515 appendix A.1.
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = include_str!("testdata/rfc7515-a1.jwt").trim();
    assert_eq!(signed_again(token, Algorithm::Hs256, &decoded(key)), token);
    // Appendix A.2, the key written as PEM.
    let token = include_str!("testdata/rfc7515-a2.jwt").trim();
    assert_eq!(signed_again(token, Algorithm::Rs256, include_bytes!("testdata/rfc7515-a2.pem")), token);
    // RFC 8037 appendix A.4, with the seed of A.1.
    let seed = decoded("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let token = compact(Algorithm::EdDsa, &seed, br#"{"alg":"EdDSA"}"#, b"Example of Ed25519 signing").unwrap();
    assert_eq!(
        token.as_str(),
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn signatures_with_a_random_part_verify_as_the_standards_own_do() {
    // RFC 7515 appendices A.3 and A.4.
    for (token, algorithm, key, public, verification) in [
        (
            include_str!("testdata/rfc7515-a3.jwt"),
            Algorithm::Es256,
            include_str!("testdata/rfc7515-a3.pem"),
            include_str!("testdata/rfc7515-a3.pub.pem"),
            &ECDSA_P256_SHA256_FIXED,
        ),
        (
            include_str!("testdata/rfc7515-a4.jwt"),
            Algorithm::Es512,
            include_str!("testdata/rfc7515-a4.pem"),
            include_str!("testdata/rfc7515-a4.pub.pem"),
            &ECDSA_P521_SHA512_FIXED,
        ),
    ] {
        assert!(verifies(token, public, verification), "the standard's");
        let again = signed_again(token, algorithm, key.as_bytes());
        assert!(verifies(&again, public, verification) && again != token.trim(), "ours");
    }
}

#[test]
fn every_algorithm_signs_what_its_public_half_verifies() {
    let (rsa, rsa_public) = (include_str!("testdata/rfc7515-a2.pem"), include_str!("testdata/rfc7515-a2.pub.pem"));
    let verifications: [(&str, &'static dyn VerificationAlgorithm); 6] = [
        ("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
        ("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
        ("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
        ("PS256", &signature::RSA_PSS_2048_8192_SHA256),
        ("PS384", &signature::RSA_PSS_2048_8192_SHA384),
        ("PS512", &signature::RSA_PSS_2048_8192_SHA512),
    ];
    for (name, verification) in verifications {
        let token = compact(Algorithm::of(name).unwrap(), rsa.as_bytes(), b"{}", b"{}").unwrap();
        assert!(verifies(&token, rsa_public, verification), "{name}");
    }
    // Other ways to write a key: PKCS#1, SEC 1, and line breaks of a form or a Windows editor.
    let key = include_str!("../template/testdata/rsa-pkcs1.pem").replace('\n', "\r\n");
    assert!(compact(Algorithm::Rs256, key.as_bytes(), b"{}", b"{}").is_ok());
    for (algorithm, sec1, verification) in [
        (Algorithm::Es256, include_bytes!("../template/testdata/p256-sec1.pem").as_slice(), &ECDSA_P256_SHA256_FIXED),
        (Algorithm::Es384, include_bytes!("../template/testdata/p384-sec1.pem"), &ECDSA_P384_SHA384_FIXED),
    ] {
        let token = compact(algorithm, sec1, b"{}", b"{}").unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let public = crate::manifest::template::public_half(sec1).unwrap();
        UnparsedPublicKey::new(verification, public).verify(message.as_bytes(), &decoded(signature)).unwrap();
    }
    let pem = include_bytes!("../template/testdata/ed25519.pem");
    let token = compact(Algorithm::EdDsa, pem, b"{}", b"{}").unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let public = crate::manifest::template::public_half(pem).unwrap();
    UnparsedPublicKey::new(&ED25519, public).verify(message.as_bytes(), &decoded(signature)).unwrap();
    // RFC 4231 has the hashes; here only that each is another one.
    let lengths = ["HS256", "HS384", "HS512"].map(|name| {
        let token = compact(Algorithm::of(name).unwrap(), b"k", b"{}", b"{}").unwrap();
        decoded(token.rsplit_once('.').unwrap().1).len()
    });
    assert_eq!(lengths, [32, 48, 64]);
}

#[test]
fn what_a_token_needs_is_added_unless_it_is_given() {
    let token = make(&declared("HS256", "{}", r#"{"iss": "{id}"}"#), &[("key", b"k"), ("id", b"me")]).unwrap().unwrap();
    let (header, claims) = parts(&token);
    assert_eq!(header, json!({ "alg": "HS256", "typ": "JWT" }));
    // 2026-11-24T02:03:04Z, and 300 seconds later.
    assert_eq!(
        (&claims["iss"], &claims["iat"], &claims["exp"]),
        (&json!("me"), &json!(1795485784), &json!(1795486084))
    );
    assert_eq!(claims["jti"].as_str().unwrap().len(), 36);

    let header = r#"{"typ": "at+jwt", "kid": "{id}", "x5t": "{missing}", "alg": "HS256"}"#;
    let claims = r#"{"exp": "{now(unix, 60)}", "nbf": "{now(unix)}", "iat": 5, "jti": null, "port": "{port}",
        "admin": "{admin}", "aud": ["{id}", "{missing}"], "sub": "{id}-{port}"}"#;
    let values: &[(&str, &[u8])] = &[("key", b"k"), ("id", b"me"), ("port", b"443"), ("admin", b"true")];
    let (header, claims) = parts(&make(&declared("HS256", header, claims), values).unwrap().unwrap());
    assert_eq!(header, json!({ "typ": "at+jwt", "kid": "me", "alg": "HS256" }));
    assert_eq!(
        claims,
        json!({ "exp": 1795485844, "nbf": 1795485784, "iat": 5, "port": 443, "admin": true, "aud": ["me"], "sub": "me-443" })
    );
}

#[test]
fn a_token_is_a_secret_and_tells_what_it_was_made_of() {
    let claims = r#"{"iss": "{id}", "pin": "{keyed-pin}"}"#;
    let values: &[(&str, &[u8])] = &[("key", b"signing-key"), ("id", b"me"), ("keyed-pin", b"1234")];
    let token = make(&declared("HS256", "{}", claims), values).unwrap().unwrap();
    assert!(token.is_secret());
    let text = token.text().unwrap().to_owned();
    let secrets: Vec<_> = token.into_secrets().iter().map(|it| it.expose().to_vec()).collect();
    let signature = text.rsplit('.').next().unwrap();
    for secret in ["signing-key", "1234", signature, &text] {
        assert!(secrets.contains(&secret.as_bytes().to_vec()), "{secret}");
    }
    assert!(!secrets.contains(&b"me".to_vec()));
}

#[test]
fn without_its_key_there_is_no_token_and_with_a_bad_one_an_error_without_it() {
    let rs256 = declared("RS256", "{}", r#"{"port": "{port}"}"#);
    assert!(make(&rs256, &[]).unwrap().is_none());
    let pem = include_bytes!("testdata/rfc7515-a2.pem");
    for (key, port, expected) in [
        (b"canary".as_slice(), "1", "the key is not an RSA private key of 2048 to 8192 bits in PEM"),
        (
            include_bytes!("testdata/rfc7515-a3.pem"),
            "1",
            "the key is not an RSA private key of 2048 to 8192 bits in PEM",
        ),
        (
            include_bytes!("../template/testdata/rsa-pkcs1-encrypted.pem"),
            "1",
            "the key is encrypted; decrypt it with `openssl pkcs8 -topk8 -nocrypt`",
        ),
        (pem, "canary", "the value of `{port}` is not a whole number"),
    ] {
        let error = make(&rs256, &[("key", key), ("port", port.as_bytes())]).unwrap_err();
        assert_eq!(error.to_string(), format!("the token `assertion` cannot be made: {expected}"));
    }
    // A curve other than the algorithm's.
    assert!(make(&declared("ES384", "{}", "{}"), &[("key", include_bytes!("testdata/rfc7515-a3.pem"))]).is_err());
    assert!(make(&declared("HS256", "{}", "{}"), &[("key", b"")]).is_err());
}

#[test]
fn what_makes_no_token_is_refused_when_it_is_declared() {
    for (jwt, expected) in [
        (declared("none", "{}", "{}"), "the algorithm `none` signs nothing"),
        (declared("NONE", "{}", "{}"), "the algorithm `none` signs nothing"),
        (declared("rs256", "{}", "{}"), "there is no algorithm `rs256` (HS256, HS384,"),
        (declared("RS1", "{}", "{}"), "there is no algorithm `RS1`"),
        (declared("HS256", r#"{"alg": "none"}"#, "{}"), "its header has another `alg` than HS256"),
        (declared("HS256", r#"{"alg": null}"#, "{}"), "its header has another `alg` than HS256"),
        (declared("HS256", r#"{"alg": "{id}"}"#, "{}"), "its header has another `alg` than HS256"),
        (declared("HS256", "{}", "[]"), "its claims is no JSON object"),
        (declared("HS256", "", "{}"), "its header: it is no JSON: EOF"),
        (declared("HS256", "{}", r#"{"a": "{"}"#), "its claims: `{` is no template: expected a name at column 2"),
        (declared::Jwt { lifetime_seconds: 0, ..declared("HS256", "{}", "{}") }, "its lifetime is 0 seconds"),
    ] {
        let error = check(&jwt).unwrap_err();
        assert!(error.message().starts_with(expected), "{error}");
    }
    assert_eq!(check(&declared("none", "{}", "{}")).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn one_request_has_one_token_and_a_failed_one_is_not_merely_missing() {
    let jwts = [check(&declared("ES256", "{}", "{}")).unwrap()];
    let moment = moment();
    let fill =
        |template: &str, scope: &dyn Scope| Template::parse(template).unwrap().fill(scope, Landing::Header, &moment);
    let text = |filled: Option<Value>| filled.unwrap().text().unwrap().to_owned();

    // An ECDSA signature has a random part, so two tokens would differ.
    let values = given(&[("key", include_bytes!("testdata/rfc7515-a3.pem")), ("other", b"x")]);
    let tokens = Jwts::new(&jwts);
    let scope = tokens.over(&values, &moment);
    let twice = text(fill("{assertion} {assertion}", &scope).unwrap());
    let (first, second) = twice.split_once(' ').unwrap();
    assert_eq!(first, second);
    assert_eq!(text(fill("{assertion}", &scope).unwrap()), first);
    assert_ne!(text(fill("{assertion}", &Jwts::new(&jwts).over(&values, &moment)).unwrap()), first);
    assert_eq!(text(fill("{other}", &scope).unwrap()), "x");

    // Without its key it is not given, and the next alternative applies.
    let (tokens, nothing) = (Jwts::new(&jwts), given(&[("other", b"x")]));
    assert_eq!(text(fill("{assertion} || {other}", &tokens.over(&nothing, &moment)).unwrap()), "x");
    let (tokens, broken) = (Jwts::new(&jwts), given(&[("key", b"canary"), ("other", b"x")]));
    let error = fill("{assertion} || {other}", &tokens.over(&broken, &moment)).unwrap_err().to_string();
    assert!(error.starts_with("the token `assertion` cannot be made") && !error.contains("canary"), "{error}");
}
