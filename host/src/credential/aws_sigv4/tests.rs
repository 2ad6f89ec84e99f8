//! The signatures that AWS publishes, and those of its own client.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    super::testing::{attached, is_noted, request, template},
    *,
};
use crate::manifest::{Attachment, template::Moment};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn sigv4(service: &str, region: &str) -> Attachment {
    Attachment::AwsSigv4(Sigv4 {
        access_key_id: template("{id}"),
        secret_access_key: template("{secret}"),
        session_token: Some(template("{session}")),
        service: template(service),
        region: template(region),
    })
}

fn moment(time: &str) -> Moment {
    Moment::at(time.parse().unwrap())
}

/// The cases of the published suite: a folder that has a request in it.
fn cases(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(cases(&path));
        } else if path.extension().is_some_and(|it| it == "req") {
            found.push(path);
        }
    }
    found
}

/// A request as the suite writes it: without white space after colons, and with folded lines.
fn parse(text: &str) -> Outgoing {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let unfolded = head.lines().fold(String::new(), |all, line| match line.strip_prefix(' ') {
        Some(more) => all + " " + more,
        None => all + "\n" + line,
    });
    let mut lines = unfolded.trim_start().lines();
    let start = lines.next().unwrap();
    let (method, rest) = start.split_once(' ').unwrap();
    let target = rest.strip_suffix(" HTTP/1.1").unwrap();
    let headers: Vec<(&str, &str)> = lines.map(|line| line.split_once(':').unwrap()).collect();
    let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).unwrap().1;
    let headers: Vec<_> = headers.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")).collect();
    request(method, &format!("https://{host}{target}"), &headers, body.as_bytes())
}

#[test]
fn every_case_of_the_published_suite_comes_out_as_published() {
    let cases = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/credential/vectors/aws-sigv4"));
    assert_eq!(cases.len(), 34);
    for case in cases {
        let expected = |what: &str| fs::read_to_string(case.with_extension(what)).unwrap();
        let name = case.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut request = parse(&fs::read_to_string(&case).unwrap());
        // The suite gives a session token only by what it expects.
        let canonical = expected("creq");
        if let Some(token) = canonical.lines().find_map(|line| line.strip_prefix("x-amz-security-token:")) {
            request.headers.insert(SESSION_TOKEN, token.parse().unwrap());
        }
        // These requests have a path that was not encoded yet, which cannot be sent; the suite encodes it once.
        let rewrites_path = !matches!(name.as_str(), "get-utf8" | "get-space");
        let signer = Signer {
            key_id: "AKIDEXAMPLE",
            secret: SECRET.as_bytes(),
            scope: "20150830/us-east-1/service/aws4_request".into(),
            date: "20150830T123600Z",
            rules: Rules { rewrites_path, shows_content_hash: false },
        };
        let computed = signer.canonical_request(&request, &canonical_headers(&request, |_| true));
        assert_eq!(std::str::from_utf8(&computed).unwrap(), canonical, "{name}");
        assert_eq!(signer.string_to_sign(&computed), expected("sts"), "{name}");
        assert_eq!(*signer.authorization(&request, |_| true).0, expected("authz"), "{name}");
    }
}

#[test]
fn the_examples_of_the_s3_reference_are_signed_as_published() {
    // "Authenticating Requests: Using the Authorization Header", "Signature Calculation: Examples".
    let date = "Fri, 24 May 2013 00:00:00 GMT";
    let put: &[(&str, &str)] = &[("Date", date), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
    for (method, target, headers, body, names, signature) in [
        (
            "GET",
            "/test.txt",
            &[("Range", "bytes=0-9")][..],
            "",
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            put,
            "Welcome to Amazon S3.",
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            &[],
            "",
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            &[],
            "",
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let url = format!("https://examplebucket.s3.amazonaws.com{target}");
        let mut request = request(method, &url, headers, body.as_bytes());
        let values = [("id", "AKIAIOSFODNN7EXAMPLE"), ("secret", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")];
        let moment = moment("2013-05-24T00:00:00Z");
        attached(&sigv4("s3", "us-east-1"), &values, &moment, Existing::Refuse, &mut request).unwrap();
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders={names}, Signature={signature}"
        );
        assert_eq!(request.headers[AUTHORIZATION], expected.as_str(), "{method} {target}");
    }
}

#[test]
fn other_requests_are_signed_as_awss_own_client_signs_them() {
    // `S3SigV4Auth` and `SigV4Auth` of botocore 1.44.5, given the URLs in the spelling in which they are sent here.
    for (service, region, session, method, url, headers, body, sent, signature) in [
        (
            "s3",
            "eu-central-1",
            Some("sess+ion/token=="),
            "PUT",
            "https://bucket.s3.eu-central-1.amazonaws.com/photos/a%20b+c(1)!'*ü//y.txt?partNumber=1&uploadId=a+b/%2b",
            &[("Content-Type", "text/plain")][..],
            "hello",
            "/photos/a%20b%2Bc%281%29%21%27%2A%C3%BC//y.txt?partNumber=1&uploadId=a%20b%2F%2B",
            "a86cf790530b2485113e8272dcbf80234c2a4458da5756876a4f49574e4b19ce",
        ),
        (
            "dynamodb",
            "us-west-2",
            None,
            "POST",
            "https://dynamodb.us-west-2.amazonaws.com/",
            &[("Content-Type", "application/x-amz-json-1.0"), ("X-Amz-Target", "DynamoDB_20120810.ListTables")],
            "{\"Limit\":1}",
            "/",
            "13991b73c170a035f30d0ef29cce3b2d3ba4c3adefb72b161ba37550755b1727",
        ),
        (
            "bedrock",
            "us-east-1",
            None,
            "POST",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-v2:0/invoke",
            &[("Content-Type", "application/json")],
            "{}",
            "/model/anthropic.claude-v2%3A0/invoke",
            "cc670bd13949248e9bd95bf76cb01a576654809546e7d5eee66f15eff480ef1b",
        ),
        (
            "execute-api",
            "us-east-1",
            None,
            "GET",
            "http://localhost:8080/a b/ü?q=x+y&q=a&empty",
            &[("User-Agent", "not signed"), ("Accept", "text/plain")],
            "",
            "/a%20b/%C3%BC?q=x%20y&q=a&empty",
            "ff13e18ec618d7bc9752518f3855881290dcfef3baca6b2fce9dc55050a36c65",
        ),
    ] {
        let mut request = request(method, url, headers, body.as_bytes());
        let mut values = vec![("id", "AKIDEXAMPLE"), ("secret", SECRET)];
        values.extend(session.map(|token| ("session", token)));
        let moment = moment("2026-11-24T02:03:04Z");
        let noted = attached(&sigv4(service, region), &values, &moment, Existing::Refuse, &mut request).unwrap();
        let authorization = request.headers[AUTHORIZATION].to_str().unwrap();
        assert!(authorization.ends_with(&format!("Signature={signature}")), "{service}: {authorization}");
        assert_eq!(&request.url[url::Position::BeforePath..], sent);
        assert_eq!(request.headers.get(SESSION_TOKEN).map(|it| it.to_str().unwrap()), session);
        assert!(request.headers[AUTHORIZATION].is_sensitive());
        for written in [SECRET, signature].into_iter().chain(session) {
            assert!(is_noted(&noted, written), "{service}: {written}");
        }
        assert!(!is_noted(&noted, "AKIDEXAMPLE"), "what is not secret is not taken out of answers");
    }
}

#[test]
fn headers_of_the_signature_are_the_hosts() {
    let values = [("id", "AKIDEXAMPLE"), ("secret", SECRET)];
    for name in ["Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256"] {
        let with = || request("GET", "https://a.example/", &[(name, "UNSIGNED-PAYLOAD")], b"");
        let moment = moment("2026-11-24T02:03:04Z");
        let attach =
            |existing, request: &mut Outgoing| attached(&sigv4("s3", "us-east-1"), &values, &moment, existing, request);
        assert_eq!(attach(Existing::Refuse, &mut with()).unwrap_err().kind(), Kind::Denied, "{name}");
        let (mut replaced, mut clean) = (with(), request("GET", "https://a.example/", &[], b""));
        attach(Existing::Replace, &mut replaced).unwrap();
        attach(Existing::Refuse, &mut clean).unwrap();
        assert_eq!(replaced.headers, clean.headers, "{name}");
    }
}

#[test]
fn a_word_that_would_shift_the_scope_is_refused_without_being_repeated() {
    for (service, region, id) in [
        ("s3/canary", "us-east-1", "AKID"),
        ("s3", "us-east-1, Signature=canary", "AKID"),
        ("s3", "us-east-1", "AKID/canary"),
        ("s3", "us-east-1", ""),
    ] {
        let mut request = request("GET", "https://a.example/", &[], b"");
        let values = [("service", service), ("region", region), ("id", id), ("secret", SECRET)];
        let moment = moment("2026-11-24T02:03:04Z");
        let error =
            attached(&sigv4("{service}", "{region}"), &values, &moment, Existing::Refuse, &mut request).unwrap_err();
        assert_eq!(error.kind(), Kind::ReconnectNeeded);
        assert!(!error.message().contains("canary"), "{error}");
    }
}

#[test]
fn a_slash_in_a_segment_stays_one_and_climbs_nowhere() {
    let mut url = Url::parse("https://a.example/a%2F..%2fb/%2e%2E/c%2F..").unwrap();
    spell_as_signed(&mut url);
    assert_eq!(url.path(), "/c%2F..");
    let mut url = Url::parse("https://a.example/a%2F..%2fb").unwrap();
    spell_as_signed(&mut url);
    assert_eq!(url.path(), "/a%2F..%2Fb");
}
