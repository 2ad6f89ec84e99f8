//! RFC 5849's own examples, and signatures that another implementation computed.

use uuid::Uuid;

use super::{
    super::testing::{attached, is_noted, request, template},
    *,
};
use crate::manifest::{Attachment, template::Moment};

fn params(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, Value)> {
    pairs.iter().map(|(name, value)| (*name, Value::public(*value))).collect()
}

/// The `Authorization` header of a request with these parameters.
fn signed(
    request: &Outgoing,
    method: Oauth1Method,
    secrets: (&str, &str),
    realm: &str,
    pairs: &[(&'static str, &str)],
) -> String {
    let params = params(pairs);
    let base = base_string(request, &params);
    let signature = sign(method, secrets.0.as_bytes(), secrets.1.as_bytes(), &base).unwrap();
    authorization(Some(realm), &params, &signature).to_string()
}

#[test]
fn the_requests_of_rfc_5849_are_signed_as_printed_there() {
    // Section 1.2; the last one is section 2.1's, whose shared secret shows in its signature.
    for (method, url, signature_method, secrets, pairs, expected) in [
        (
            "POST",
            "https://photos.example.net/initiate",
            Oauth1Method::HmacSha1,
            ("kd94hf93k423kf44", ""),
            &[
                ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
                ("oauth_signature_method", "HMAC-SHA1"),
                ("oauth_timestamp", "137131200"),
                ("oauth_nonce", "wIjqoS"),
                ("oauth_callback", "http://printer.example.com/ready"),
            ][..],
            r#"OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03", oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131200", oauth_nonce="wIjqoS", oauth_callback="http%3A%2F%2Fprinter.example.com%2Fready", oauth_signature="74KNZJeDHnMBp0EMJ9ZHt%2FXKycU%3D""#,
        ),
        (
            "POST",
            "https://photos.example.net/token",
            Oauth1Method::HmacSha1,
            ("kd94hf93k423kf44", "hdhd0244k9j7ao03"),
            &[
                ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
                ("oauth_token", "hh5s93j4hdidpola"),
                ("oauth_signature_method", "HMAC-SHA1"),
                ("oauth_timestamp", "137131201"),
                ("oauth_nonce", "walatlh"),
                ("oauth_verifier", "hfdp7dh39dks9884"),
            ],
            r#"OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03", oauth_token="hh5s93j4hdidpola", oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201", oauth_nonce="walatlh", oauth_verifier="hfdp7dh39dks9884", oauth_signature="gKgrFCywp7rO0OXSjdot%2FIHF7IU%3D""#,
        ),
        (
            "GET",
            // The scheme is not printed; its signature is that of http.
            "http://photos.example.net/photos?file=vacation.jpg&size=original",
            Oauth1Method::HmacSha1,
            ("kd94hf93k423kf44", "pfkkdhi9sl3r4s00"),
            &[
                ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
                ("oauth_token", "nnch734d00sl2jdk"),
                ("oauth_signature_method", "HMAC-SHA1"),
                ("oauth_timestamp", "137131202"),
                ("oauth_nonce", "chapoH"),
            ],
            r#"OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03", oauth_token="nnch734d00sl2jdk", oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131202", oauth_nonce="chapoH", oauth_signature="MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D""#,
        ),
        (
            "POST",
            "https://server.example.com/request_temp_credentials",
            Oauth1Method::Plaintext,
            ("ja893SD9", ""),
            &[
                ("oauth_consumer_key", "jd83jd92dhsh93js"),
                ("oauth_signature_method", "PLAINTEXT"),
                ("oauth_callback", "http://client.example.net/cb?x=1"),
            ],
            r#"OAuth realm="Photos", oauth_consumer_key="jd83jd92dhsh93js", oauth_signature_method="PLAINTEXT", oauth_callback="http%3A%2F%2Fclient.example.net%2Fcb%3Fx%3D1", oauth_signature="ja893SD9%26""#,
        ),
    ] {
        let request = request(method, url, &[], b"");
        assert_eq!(signed(&request, signature_method, secrets, "Photos", pairs), expected);
    }
}

#[test]
fn the_base_string_takes_in_query_header_and_form() {
    // RFC 5849 section 3.4.1.1.
    let url = "http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b";
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let request_with = |headers: &[(&str, &str)]| request("POST", url, headers, b"c2&a3=2+q");
    let params = params(&[
        ("oauth_consumer_key", "9djdj82h48djs9d2"),
        ("oauth_token", "kkk9d7dh3k39sjv7"),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", "137131201"),
        ("oauth_nonce", "7d8f3e4a"),
    ]);
    let expected = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7";
    assert_eq!(*base_string(&request_with(&form), &params), expected);
    let with_charset = [("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")];
    assert_eq!(*base_string(&request_with(&with_charset), &params), expected);
    // Section 3.4.1.3.1: a body that is no form has no part in it.
    let without = expected.replace("a3%3D2%2520q%26", "").replace("c2%3D%26", "");
    assert_eq!(*base_string(&request_with(&[("Content-Type", "application/json")]), &params), without);
    assert_eq!(*base_string(&request_with(&[]), &params), without);
    // Section 3.4.1.2.
    for (url, uri) in [
        ("HTTP://EXAMPLE.COM:80/r%20v/X?id=123", "http://example.com/r%20v/X"),
        ("https://www.example.net:8080/?q=1", "https://www.example.net:8080/"),
        ("https://www.example.net:443", "https://www.example.net/"),
        ("http://www.example.net:443/", "http://www.example.net:443/"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
    ] {
        assert_eq!(base_string_uri(&Url::parse(url).unwrap()), uri);
    }
}

#[test]
fn twitters_example_is_signed_as_published() {
    // "Creating a signature" of the Twitter API's documentation.
    let request = request(
        "POST",
        "https://api.twitter.com/1.1/statuses/update.json?include_entities=true",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        b"status=Hello%20Ladies%20%2b%20Gentlemen%2c%20a%20signed%20OAuth%20request%21",
    );
    let pairs = [
        ("oauth_consumer_key", "xvz1evFS4wEEPTGEFPHBog"),
        ("oauth_nonce", "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg"),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", "1318622958"),
        ("oauth_token", "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb"),
        ("oauth_version", "1.0"),
    ];
    let secrets = ("kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw", "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE");
    let header = signed(&request, Oauth1Method::HmacSha1, secrets, "", &pairs);
    assert!(header.ends_with(r#"oauth_signature="hCtSmYh%2BiHYCEqBWrE7C7hYmtUk%3D""#), "{header}");
}

fn oauth1(method: Oauth1Method) -> Oauth1 {
    Oauth1 {
        consumer_key: template("{id}"),
        consumer_secret: template("{secret}"),
        token: Some(template("{token}")),
        token_secret: Some(template("{token-secret}")),
        method,
        realm: None,
        params: vec![("oauth_verifier".into(), template("{verifier}"))],
    }
}

/// 2026-11-24T02:03:04Z and a nonce.
fn moment() -> Moment {
    let nonce = Uuid::parse_str("0123456789abcdef0123456789abcdef").unwrap();
    Moment::with_uuid("2026-11-24T02:03:04Z".parse().unwrap(), nonce)
}

fn outgoing() -> Outgoing {
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let url = "https://api.example:8443/a%20b/%C3%BC?x=1&x=%2B&y=a+b";
    request("PUT", url, &form, "note=gr%C3%BC%C3%9Fe+%26+more&z".as_bytes())
}

#[test]
fn every_method_signs_as_another_implementation_does() {
    // The `sign` of oauthlib 4.0.1 with the same nonce, time, keys and secrets.
    let pem = include_str!("../../manifest/template/testdata/rsa.pem");
    let (secret, token_secret) = ("sec&ret ü", "tok%sec");
    for (method, secret, signature) in [
        (Oauth1Method::HmacSha1, secret, "jotHm0%2BVb6SpM7eFx480on0iy8Q%3D"),
        (Oauth1Method::HmacSha256, secret, "P06ERFUdUvBwYsQWNMg5owKt1q6X5XS6lXOz489GHXE%3D"),
        (
            Oauth1Method::RsaSha1,
            pem,
            "J%2FRWkbyjoSDdEP7t7BpS5wqsKxvZ%2BosVWkpTVU5P9fGRaQuSnn6LRtYqs1OQ41fUabet5LUpt5Yr19ZIPFHDhuU1mugr32jZHZVa5PittAfV3O%2BO4gFb05wGn%2B9oOujmwTpXhpetyK%2BJV9lFkoT5fMv%2BugHYNgF%2FW9lVDozcJFTVt%2Fi47yD2Uwc74odUHB%2FmNJw%2FySXXiLXw5KfznQTs7AUZ8sMVhvhRScyhB4dyhLbPvRs4Cs0oHl8uyc8DqYGrZaTjCDFbkKJOPGLGSn7I4JjPQJj1PvxyR2EwNdC75MypiHXBYqWUeTJyOWEZkxAMIDNiAQaKws0GCWjRSrZeQg%3D%3D",
        ),
        (Oauth1Method::Plaintext, secret, "sec%2526ret%2520%25C3%25BC%26tok%2525sec"),
    ] {
        let values = [("id", "key/1"), ("secret", secret), ("token", "tok+en"), ("token-secret", token_secret)];
        let mut request = outgoing();
        let attachment = Attachment::Oauth1(oauth1(method));
        let noted = attached(&attachment, &values, &moment(), Existing::Refuse, &mut request).unwrap();
        let expected = format!(
            r#"OAuth oauth_consumer_key="key%2F1", oauth_token="tok%2Ben", oauth_signature_method="{}", oauth_timestamp="1795485784", oauth_nonce="0123456789abcdef0123456789abcdef", oauth_version="1.0", oauth_signature="{signature}""#,
            method.name()
        );
        assert_eq!(request.headers[AUTHORIZATION], expected.as_str());
        assert!(request.headers[AUTHORIZATION].is_sensitive());
        for written in [secret, token_secret, "tok+en", signature] {
            assert!(is_noted(&noted, written), "{written}");
        }
        assert!(!is_noted(&noted, "key/1"), "what is not secret is not taken out of answers");
    }
}

#[test]
fn a_key_may_be_of_1024_bits_and_in_pkcs1() {
    // Both are what services with RSA-SHA1 still hand out.
    let signs = |pem: &[u8]| rsa_sha1(pem, b"x").map(|signature| signature.len());
    assert_eq!(signs(include_bytes!("testdata/rsa-1024.pem")), Ok(128));
    assert_eq!(signs(include_bytes!("../../manifest/template/testdata/rsa-pkcs1.pem")), Ok(256));
    assert!(signs(include_bytes!("../../manifest/template/testdata/p256.pem")).is_err());
    assert!(
        signs(include_bytes!("../../manifest/template/testdata/rsa-pkcs1-encrypted.pem"))
            .unwrap_err()
            .contains("encrypted")
    );
    let values = [("id", "key"), ("secret", "canary")];
    let attachment = Attachment::Oauth1(oauth1(Oauth1Method::RsaSha1));
    let error = attached(&attachment, &values, &moment(), Existing::Refuse, &mut outgoing()).unwrap_err();
    assert_eq!(error.kind(), Kind::ReconnectNeeded);
    assert!(!error.message().contains("canary"), "{error}");
}

#[test]
fn what_has_no_value_is_left_out_and_a_realm_cannot_end_its_quotes() {
    let attachment =
        Attachment::Oauth1(Oauth1 { realm: Some(template("{tenant}")), ..oauth1(Oauth1Method::Plaintext) });
    let values = [("id", "key"), ("secret", "s"), ("tenant", r#"a"b\c"#), ("verifier", "v/1")];
    let mut request = outgoing();
    attached(&attachment, &values, &moment(), Existing::Refuse, &mut request).unwrap();
    let header = request.headers[AUTHORIZATION].to_str().unwrap();
    assert!(
        header.starts_with(r#"OAuth realm="a\"b\\c", oauth_consumer_key="key", oauth_signature_method="#),
        "{header}"
    );
    assert!(header.ends_with(r#"oauth_verifier="v%2F1", oauth_signature="s%26""#), "{header}");

    let values = [("id", "key")];
    let error = attached(&attachment, &values, &moment(), Existing::Refuse, &mut outgoing()).unwrap_err();
    assert_eq!(error.kind(), Kind::ReconnectNeeded);
}
