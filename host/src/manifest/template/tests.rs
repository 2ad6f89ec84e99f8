//! What filling promises: the standards' own vectors, and that no value changes anything around the place it stands in.

use proptest::prelude::*;

use super::{testing::given, *};

fn fill_value(template: &str, landing: Landing, values: &[(&str, &[u8])]) -> Result<Option<Value>, FillError> {
    let moment = Moment::at("2026-11-24T02:03:04.567Z".parse().unwrap());
    Template::parse(template).unwrap().fill(&given(values), landing, &moment)
}

fn fill(template: &str, landing: Landing, values: &[(&str, &[u8])]) -> Result<Option<String>, String> {
    fill_value(template, landing, values)
        .map(|filled| filled.map(|value| value.text().unwrap().to_owned()))
        .map_err(|error| error.to_string())
}

fn plain(template: &str, values: &[(&str, &[u8])]) -> String {
    fill(template, Landing::Plain, values).unwrap().unwrap()
}

#[test]
fn the_first_alternative_whose_names_all_have_values_is_taken() {
    let template = "{a}-{b} || {b} || none";
    assert_eq!(plain(template, &[("a", b"1"), ("b", b"2")]), "1-2");
    assert_eq!(plain(template, &[("b", b"2")]), "2");
    assert_eq!(plain(template, &[("a", b"1")]), "none");
    assert_eq!(fill("{a} || {hex(b)}", Landing::Plain, &[]), Ok(None));
    assert_eq!(plain("{{{a}}} || x", &[("a", b"1")]), "{1}");
    // An empty value is a value.
    assert_eq!(plain("{a} || x", &[("a", b"")]), "");
    // Whatever else is wrong with an alternative: it does not apply.
    assert_eq!(plain("{unbase64(a)}{b} || x", &[("a", b"!")]), "x");
    assert_eq!(fill("{a}{b} || x", Landing::Header, &[("a", b"\n")]), Ok(Some("x".into())));
    assert!(fill("{unbase64(a)}{b} || x", Landing::Plain, &[("a", b"!"), ("b", b"")]).is_err());
}

#[test]
fn text_functions_give_what_their_standards_say() {
    for (template, values, expected) in [
        // RFC 4648 section 10.
        ("{base64(a)}", &[("a", b"fooba".as_slice())][..], "Zm9vYmE="),
        ("{base64(a, \":\", b)}", &[("a", b"u"), ("b", b"p")], "dTpw"),
        ("{base64(\"\")}", &[], ""),
        ("{unbase64(a)}", &[("a", b"Zm9vYg")], "foob"),
        ("{unbase64(a)}", &[("a", b"Zm9vYg==")], "foob"),
        ("{hex(unbase64(a))}", &[("a", b"-_8=")], "fbff"),
        ("{hex(unbase64(a))}", &[("a", b"-_8")], "fbff"),
        ("{hex(unbase64(a))}", &[("a", b"+/8")], "fbff"),
        ("{hex(a, 12, \"\\n\")}", &[("a", b"\0")], "0031320a"),
        ("{unhex(a)}", &[("a", b"666f6F")], "foo"),
        // 2026-11-24T02:03:04.567Z; RFC 9110 section 5.6.7.
        ("{now(unix)}", &[], "1795485784"),
        ("{now(unix, 60)}", &[], "1795485844"),
        ("{now(unix-ms)}", &[], "1795485784567"),
        ("{now(http)}", &[], "Tue, 24 Nov 2026 02:03:04 GMT"),
        ("{now(\"%Y%m%dT%H%M%SZ\")}", &[], "20261124T020304Z"),
        ("{now(\"%Y-%m-%dT%H:%M:%S%z\", 79016)}", &[], "2026-11-25T00:00:00+0000"),
    ] {
        assert_eq!(plain(template, values), expected, "{template}");
    }
    for (template, value) in
        [("{unbase64(a)}", "a=b"), ("{unbase64(a)}", "-/aa"), ("{unhex(a)}", "abc"), ("{unhex(a)}", "0x")]
    {
        assert!(fill(template, Landing::Plain, &[("a", value.as_bytes())]).is_err(), "{template} {value}");
    }
}

#[test]
fn hashes_are_those_of_fips_180() {
    for (template, expected) in [
        ("{hex(hash(sha1, a))}", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("{hex(hash(sha256, a))}", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "{hex(hash(sha512, \"a\", \"bc\"))}",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ] {
        assert_eq!(plain(template, &[("a", b"abc")]), expected, "{template}");
    }
}

#[test]
fn hmacs_are_those_of_rfc_2202_and_rfc_4231() {
    let (key_1, key_2, key_6) = ([0x0b; 20], b"Jefe", [0xaa; 131]);
    let data_1: (&str, &[u8]) = ("d", b"Hi There");
    let data_2: (&str, &[u8]) = ("d", b"what do ya want for nothing?");
    let data_6: (&str, &[u8]) = ("d", b"Test Using Larger Than Block-Size Key - Hash Key First");
    for (algorithm, key, data, expected) in [
        ("sha1", &key_1[..], data_1, "b617318655057264e28bc0b6fb378c8ef146be00"),
        ("sha1", key_2, data_2, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("sha256", &key_1, data_1, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        ("sha256", key_2, data_2, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ("sha256", &key_6, data_6, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (
            "sha512",
            &key_1,
            data_1,
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ),
        (
            "sha512",
            key_2,
            data_2,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        assert_eq!(plain(&format!("{{hex(sign(hmac-{algorithm}, key, d))}}"), &[("key", key), data]), expected);
    }
}

#[test]
fn ed25519_signs_as_rfc_8032_has_it() {
    // Section 7.1, tests 1 to 3.
    for (seed, message, expected) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let values: &[(&str, &[u8])] = &[("key", seed.as_bytes()), ("d", message.as_bytes())];
        assert_eq!(plain("{hex(sign(ed25519, unhex(key), unhex(d)))}", values), expected);
    }
    // `openssl pkeyutl -sign -inkey ed25519.pem -rawin` of the same message.
    let pem = include_bytes!("testdata/ed25519.pem");
    assert_eq!(
        plain("{hex(sign(ed25519, key, \"atta\", \"che\"))}", &[("key", pem)]),
        "266c11daa9ab97da1e6a4c65cdc417c1ba2beab1424d7e94c14f7953f050d56141899797c223f0624c4a9312fdf1b2114598c75d66ca5d64eb3dc6ba063c4b02"
    );
    for (key, why) in [
        (b"short".as_slice(), "neither an Ed25519"),
        (&[7; 33], "neither an Ed25519"),
        (include_bytes!("testdata/p256.pem"), "neither an Ed25519"),
        (include_bytes!("testdata/rsa-pkcs1.pem"), "neither an Ed25519"),
        (include_bytes!("testdata/ed25519-encrypted.pem"), "encrypted"),
    ] {
        let error = fill("{hex(sign(ed25519, key, \"x\"))}", Landing::Plain, &[("key", key)]).unwrap_err();
        assert!(error.starts_with("`sign(key, …)` cannot be computed") && error.contains(why), "{error}");
    }
}

#[test]
fn a_fingerprint_is_the_hash_of_the_public_half() {
    // `openssl pkey -in KEY -pubout -outform DER | openssl dgst -sha256`; the keys are made for this test.
    const RSA: &str = "5b0ca86e0c88ebeb328632b2f4aaae9756221afd38099cbe8d737602a260c417";
    const P256: &str = "c5d91fbb10ff40dc37816b17b29d56f045d87a1f3a30d2dfcacf3f53adef2a46";
    for (pem, expected) in [
        (include_bytes!("testdata/rsa.pem").as_slice(), RSA),
        (include_bytes!("testdata/rsa-pkcs1.pem"), RSA),
        (include_bytes!("testdata/p256.pem"), P256),
        (include_bytes!("testdata/p256-sec1.pem"), P256),
        (include_bytes!("testdata/p384-sec1.pem"), "3da28662e2cffef48b5b5f6816d24e6f56a4249c19d0b4be8d376921e6b4159a"),
        (include_bytes!("testdata/p521.pem"), "066880d3d8a169aa648d33a70f10bdb21de821dc01d23f5e8b6287e9d960666e"),
        (include_bytes!("testdata/ed25519.pem"), "7c2b0faec51861c8980c375a74b78f07740564e173027f596bbfd1cefae1ae9a"),
    ] {
        assert_eq!(plain("{hex(fingerprint(sha256, key))}", &[("key", pem)]), expected);
        // As it is after a form or a Windows editor.
        let crlf = String::from_utf8(pem.to_vec()).unwrap().replace('\n', "\r\n");
        assert_eq!(plain("{hex(fingerprint(sha256, key))}", &[("key", crlf.as_bytes())]), expected);
    }
    for (pem, why) in [
        (b"x".as_slice(), "not an RSA, ECDSA or Ed25519 private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not an RSA"),
        (include_bytes!("testdata/rsa-pkcs1-encrypted.pem"), "encrypted"),
        (include_bytes!("testdata/ed25519-encrypted.pem"), "encrypted"),
    ] {
        let error = fill("{hex(fingerprint(sha256, key))}", Landing::Plain, &[("key", pem)]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn one_request_has_one_uuid_and_one_time() {
    let moment = Moment::now();
    let template = Template::parse("{uuid()}{now(unix-ms)}").unwrap();
    let once = |moment: &Moment| {
        template.fill(&given(&[]), Landing::Plain, moment).unwrap().unwrap().text().unwrap().to_owned()
    };
    assert_eq!(once(&moment), once(&moment));
    assert_ne!(once(&moment)[..36], once(&Moment::now())[..36]);
    // A time that cannot be is an error, not a panic.
    let last = Moment::at(jiff::Timestamp::MAX);
    assert!(Template::parse("{now(unix, 60)}").unwrap().fill(&given(&[]), Landing::Plain, &last).is_err());
}

#[test]
fn what_is_computed_from_a_secret_is_one_and_tells_its_parts() {
    let values: &[(&str, &[u8])] = &[("key", b"s3cret/"), ("a", b"public")];
    for (template, expected) in [
        ("{a}", &[][..]),
        ("x", &[]),
        ("{hex(a)}", &[]),
        ("Bearer {key}", &["s3cret/", "Bearer s3cret/"]),
        ("Basic {base64(a, \":\", key)}", &["s3cret/", "cHVibGljOnMzY3JldC8="]),
        ("{a} || {key}", &[]),
    ] {
        let filled = fill_value(template, Landing::Header, values).unwrap().unwrap();
        assert_eq!(filled.is_secret(), !expected.is_empty(), "{template}");
        let parts: Vec<_> =
            filled.into_secrets().iter().map(|it| String::from_utf8(it.expose().to_vec()).unwrap()).collect();
        assert_eq!(parts, expected, "{template}");
    }
    assert!(fill_value("{hash(sha256, key)}", Landing::Plain, values).unwrap().unwrap().is_secret());
    let in_query = fill_value("a={key}", Landing::Query, values).unwrap().unwrap().into_secrets();
    assert!(in_query.iter().any(|part| part.expose() == b"s3cret%2F"), "as it was written, too");
}

#[test]
fn an_error_names_the_name_and_the_place_and_never_the_value() {
    for (template, landing, value, expected) in [
        (
            "Bearer {key}",
            Landing::Header,
            b"canary\r\nHost: evil".as_slice(),
            "the value of `key` cannot stand in a header: it holds a line break or another control character",
        ),
        ("{unbase64(key)}", Landing::Plain, b"can@ry", "`unbase64(key)` cannot be computed: it is not base64"),
        (
            "{hash(sha256, key)}",
            Landing::Query,
            b"canary",
            "the value of `hash(key)` cannot stand in a query: it is not text (`hex` and `base64` make text of bytes)",
        ),
        (
            "/{key}",
            Landing::PathSegment,
            b"canary/..",
            "the value of `key` cannot stand in a path: it has a dot segment",
        ),
        ("/.{key}", Landing::PathSegment, b"/canary", "the text cannot stand in a path: it has a dot segment"),
        (
            "a\nb{key}",
            Landing::Header,
            b"canary",
            "the text cannot stand in a header: it holds a line break or another control character",
        ),
    ] {
        assert_eq!(fill(template, landing, &[("key", value)]).unwrap_err(), expected);
    }
}

/// Any text, with those characters often that mean something somewhere.
fn any_value() -> impl Strategy<Value = String> {
    let telling =
        prop::sample::select("\r\n\0\t\"\\'<>&;=?#/%.+ {}|-:@[]]>--é\u{202e}\u{2028}𝄞".chars().collect::<Vec<_>>());
    let chars = prop_oneof![telling, any::<char>(), "[a-z%0-9]".prop_map(|text| text.chars().next().unwrap_or('a'))];
    prop::collection::vec(chars, 0..40).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn no_value_breaks_out_of_json(a in any_value(), b in any_value()) {
        let template = "{{\"a\": \"{a}\", \"b\": [\"x{b}{a}\"]}}";
        let text = fill(template, Landing::Json, &[("a", a.as_bytes()), ("b", b.as_bytes())]).unwrap().unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(parsed, serde_json::json!({ "a": a, "b": [format!("x{b}{a}")] }));
    }

    #[test]
    fn no_value_breaks_out_of_xml(a in any_value(), b in any_value()) {
        let template = "<r x='{a}' y=\"{b}\"><i>{b}{a}</i></r>";
        let Ok(Some(text)) = fill(template, Landing::Xml, &[("a", a.as_bytes()), ("b", b.as_bytes())]) else {
            return Ok(());
        };
        let document = roxmltree::Document::parse(&text).unwrap();
        let names: Vec<_> = document.descendants().filter(|node| node.is_element()).map(|node| node.tag_name().name()).collect();
        prop_assert_eq!(names, ["r", "i"]);
        let root = document.root_element();
        prop_assert_eq!(root.attributes().len(), 2);
        prop_assert_eq!((root.attribute("x"), root.attribute("y")), (Some(a.as_str()), Some(b.as_str())));
        prop_assert_eq!(root.first_child().unwrap().text().unwrap_or_default(), format!("{b}{a}"));
    }

    #[test]
    fn no_value_breaks_out_of_a_path(a in any_value(), b in any_value()) {
        let Ok(Some(path)) = fill("/v1/{a}/x.{b}{a}/y", Landing::PathSegment, &[("a", a.as_bytes()), ("b", b.as_bytes())]) else {
            return Ok(());
        };
        let url = url::Url::parse(&format!("https://host{path}")).unwrap();
        prop_assert_eq!(url.host_str(), Some("host"));
        prop_assert_eq!((url.query(), url.fragment()), (None, None));
        let segments: Vec<String> = url
            .path_segments()
            .unwrap()
            .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8().unwrap().into_owned())
            .collect();
        prop_assert_eq!(segments, vec!["v1".to_owned(), a.clone(), format!("x.{b}{a}"), "y".to_owned()]);
    }

    #[test]
    fn no_value_breaks_out_of_a_query_or_form(a in any_value(), b in any_value()) {
        for landing in [Landing::Query, Landing::Form] {
            let text = fill("a={a}&b=x{b}{a}", landing, &[("a", a.as_bytes()), ("b", b.as_bytes())]).unwrap().unwrap();
            let url = url::Url::parse(&format!("https://host/path?{text}")).unwrap();
            prop_assert_eq!((url.path(), url.fragment()), ("/path", None));
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, vec![("a".to_owned(), a.clone()), ("b".to_owned(), format!("x{b}{a}"))]);
        }
    }

    #[test]
    fn no_value_breaks_out_of_a_header(value in prop::collection::vec(any::<u8>(), 0..40)) {
        let values: &[(&str, &[u8])] = &[("v", &value)];
        if let Ok(Some(text)) = fill("Bearer {v}", Landing::Header, values) {
            prop_assert!(http::HeaderValue::from_bytes(text.as_bytes()).is_ok());
        }
        if let Ok(Some(name)) = fill("X-{v}", Landing::HeaderName, values) {
            prop_assert!(http::HeaderName::from_bytes(name.as_bytes()).is_ok());
        }
    }

    #[test]
    fn filling_never_panics(template in prop::collection::vec(prop::sample::select(vec![
        "{a}", "{b} || ", "{hex(a)}", "{unhex(a)}", "{unbase64(b)}", "{hash(sha256, a, b)}", "{sign(hmac-sha1, a, b)}",
        "{sign(ed25519, a, b)}", "{fingerprint(sha1, b)}", "{now(\"%a%e%V %::z %Q\", 99)}", "{uuid()}", "/", "..",
    ]), 0..5), a in prop::collection::vec(any::<u8>(), 0..40), b in any_value()) {
        let values: &[(&str, &[u8])] = &[("a", &a), ("b", b.as_bytes())];
        for landing in [
            Landing::Plain, Landing::Header, Landing::HeaderName, Landing::PathSegment, Landing::Query, Landing::Form,
            Landing::Json, Landing::Xml,
        ] {
            let _ = fill_value(&template.concat(), landing, values);
        }
    }
}
