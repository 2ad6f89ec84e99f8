//! Where names may stand, and that no value leads elsewhere.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    manifest::template::{Moment, Value},
    origin::Origin,
};

struct Given(BTreeMap<String, Value>);

impl Scope for Given {
    fn value(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
}

fn given(values: &[(&str, &str)]) -> Given {
    let value = |name: &str, value: &str| {
        if name.starts_with("secret") { Value::secret(value) } else { Value::public(value) }
    };
    Given(values.iter().map(|(name, text)| ((*name).to_owned(), value(name, text))).collect())
}

fn info(name: &str) -> Option<NameInfo> {
    let of = |kind, bounded| Some(NameInfo { kind, bounded, is_pattern_group: false, several: false });
    let several = |kind| Some(NameInfo { kind, bounded: false, is_pattern_group: false, several: true });
    match name {
        "labels" => several(ValueKind::Label),
        "ports" => several(ValueKind::Integer),
        "urls" => several(ValueKind::Url),
        "label" | "other" => of(ValueKind::Label, false),
        "host" => of(ValueKind::Host, false),
        "bounded" => of(ValueKind::Host, true),
        "url" => of(ValueKind::Url, false),
        "port" => of(ValueKind::Integer, false),
        "text" => of(ValueKind::Text, false),
        "secret" => of(ValueKind::Secret, true),
        "secret.dc" => Some(NameInfo { kind: ValueKind::Label, bounded: true, is_pattern_group: true, several: false }),
        _ => None,
    }
}

fn parse(text: &str) -> Result<OriginTemplate, OriginError> {
    OriginTemplate::parse(&Template::parse(text).unwrap(), &info)
}

fn resolve_all(text: &str, values: &[(&str, &str)]) -> Result<Vec<String>, OriginError> {
    Ok(parse(text)?.resolve(&given(values))?.iter().map(ToString::to_string).collect())
}

fn resolve(text: &str, values: &[(&str, &str)]) -> Result<Option<String>, OriginError> {
    let mut all = resolve_all(text, values)?;
    assert!(all.len() <= 1, "{all:?}");
    Ok(all.pop())
}

fn url(text: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let template = UrlTemplate::parse(&Template::parse(text).unwrap(), &info).map_err(|error| error.to_string())?;
    template
        .fill(&given(values), &Moment::now())
        .map(|filled| filled.expose().to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn names_stand_where_their_kind_allows() {
    for good in [
        "https://api.example.com",
        "https://API.Example.com:8443",
        "https://bücher.example",
        "https://{label}.example.com",
        "https://x-{label}.example.com:{port}",
        "https://{label}{other}.example.com",
        "https://{secret.dc}.api.example.com",
        "https://{host}",
        "https://{host}:8443",
        "https://{host}:{port}",
        "https://{bounded}.example.com",
        "https://api.{bounded}:{port}",
        "{url}",
        "{url} || https://{label}.example.com",
        "https://*.example.com",
        "https://*.*.example.com",
        "https://*.{label}.example.com",
        "https://api.*.example.com",
        "http://127.0.0.1:80",
        "http://localhost",
        "https://[2001:db8::1]:8443",
        "https://[::1]:{port}",
    ] {
        assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
    }
    for bad in [
        "",
        "a.example",
        "ftp://a.example",
        "https://",
        "https://:443",
        "https://a.example:",
        "https://a.example:0",
        "https://a.example:65536",
        "https://a.example:80:80",
        "https://a.example/",
        "https://a.example/path",
        "https://a.example?x",
        "https://a.example#x",
        "https://user@a.example",
        "https://a%2eexample",
        "https://a\\b.example",
        "https://a b.example",
        "https://a_b.example",
        "https://-a.example",
        "https://a..example",
        "https://.example",
        "https://a.example.",
        "https://xn--zz.example",
        "https://0x7f.1",
        "https://127.1",
        "https://[::1",
        "https://[::1]x",
        "https://[{label}]",
        "https://{host}.example.com",
        "https://x{bounded}.example.com",
        "https://{label}{bounded}.example.com",
        "https://bü{label}.example.com",
        "https://{text}.example.com",
        "https://{secret}.example.com",
        "https://{unknown}.example.com",
        "https://{port}.example.com",
        "https://a.example:{label}",
        "https://a.example:8{port}",
        "https://a.example:{port}{port}",
        "https://{url}",
        "{url}/path",
        "{url}:{port}",
        "{label}",
        "{text}://a.example",
        "https://{hex(label)}.example.com",
        "https://{uuid()}.example.com",
        "https://*",
        "https://*.com",
        "https://a.*.com",
        "https://a.example.*",
        "https://x*.example.com",
        "https://{label}*.example.com",
        "https://**.example.com",
        "https://*.0.0.1",
        "https://{label}.0.0.1",
        "https://{label}.0x1",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_first_alternative_with_values_is_the_origin() {
    let template = "{url} || https://{label}.blob.example.net";
    assert_eq!(resolve(template, &[("label", "Acme")]).unwrap().unwrap(), "https://acme.blob.example.net");
    assert_eq!(
        resolve(template, &[("label", "a"), ("url", "http://127.0.0.1:10000/x/y")]).unwrap().unwrap(),
        "http://127.0.0.1:10000"
    );
    assert_eq!(resolve(template, &[]).unwrap(), None);
    // Another value that is missing comes before one that does not fit.
    assert_eq!(resolve("https://{label}.{other}.example", &[("label", "/")]).unwrap(), None);
}

#[test]
fn a_name_with_several_values_makes_an_origin_of_each() {
    for (template, values, expected) in [
        (
            "https://x-{labels}.{other}.example",
            &[("labels", "a\nb\nA"), ("other", "eu")][..],
            &["https://x-a.eu.example", "https://x-b.eu.example"][..],
        ),
        ("{urls}", &[("urls", "https://b.example/x\nhttps://a.example")], &["https://b.example", "https://a.example"]),
        ("{urls} || https://{label}.example", &[("label", "a")], &["https://a.example"]),
        ("{urls} || https://{labels}.example", &[("labels", "a\nb")], &["https://a.example", "https://b.example"]),
        ("https://*.{labels}.example", &[("labels", "a\nb")], &["https://*.a.example", "https://*.b.example"]),
        ("https://{labels}-{labels}.example", &[("labels", "a\nb")], &["https://a-a.example", "https://b-b.example"]),
        ("https://a.example:{ports}", &[("ports", "1\n2")], &["https://a.example:1", "https://a.example:2"]),
        ("https://{labels}.{other}.example", &[("labels", "a\nb")], &[]),
        ("{urls}", &[], &[]),
    ] {
        assert_eq!(resolve_all(template, values).unwrap(), expected, "{template}");
    }
    assert!(resolve_all("https://{labels}.example", &[("labels", "a\nevil.com/")]).is_err());
    assert!(resolve_all("{urls}", &[("urls", "https://a.example\nhttps://evil.com/#")]).is_err());
    // One that was given where one value is wanted is no origin either.
    assert!(resolve_all("https://{label}.example", &[("label", "a\nb")]).is_err());
    let error = parse("https://{labels}.example:{ports}").unwrap_err().to_string();
    assert_eq!(error, "only one of its names may have several values");
    assert_eq!(
        parse("{urls} || https://{labels}.example").unwrap().describe(),
        "{urls} || https://{labels}.example, one for each value of `urls` or `labels`"
    );
}

#[test]
fn values_become_what_their_kind_says() {
    for (template, values, expected) in [
        ("https://x-{label}.example.com", &[("label", "-1")][..], "https://x--1.example.com"),
        ("https://{label}.example.com", &[("label", "bücher")], "https://xn--bcher-kva.example.com"),
        ("https://{label}.example.com", &[("label", "xn--bcher-kva")], "https://xn--bcher-kva.example.com"),
        ("https://BÜCHER.example", &[], "https://xn--bcher-kva.example"),
        ("https://{bounded}.example.com", &[("bounded", "eu.Crm")], "https://eu.crm.example.com"),
        ("https://{host}:{port}", &[("host", "intranet"), ("port", "443")], "https://intranet"),
        ("http://{host}:{port}", &[("host", "10.0.0.5"), ("port", "08080")], "http://10.0.0.5:8080"),
        ("https://[::1]:{port}", &[("port", "1")], "https://[::1]:1"),
        ("http://127.0.0.1:{port}", &[("port", "80")], "http://127.0.0.1"),
        ("{url}", &[("url", "https://Host.example:443/a/../b/")], "https://host.example"),
        ("{url}", &[("url", "HTTPS://bücher.example")], "https://xn--bcher-kva.example"),
        ("{url}", &[("url", "https://[2001:DB8:0::1]")], "https://[2001:db8::1]"),
        ("https://*.{label}.example.com", &[("label", "eu")], "https://*.eu.example.com"),
        ("https://*.{bounded}", &[("bounded", "a.example")], "https://*.a.example"),
        ("https://{secret.dc}.example", &[("secret.dc", "us6")], "https://us6.example"),
    ] {
        assert_eq!(resolve(template, values).unwrap().unwrap(), expected, "{template}");
    }
}

#[test]
fn no_value_leads_elsewhere() {
    let tries = [
        "evil.com/",
        "evil.com#",
        "evil.com?",
        "a@evil.com",
        "a:80",
        ":80",
        "a\\b",
        "a\\",
        "a#",
        "a%2eb",
        "%2e",
        "a.b",
        "..",
        ".",
        "",
        "-a",
        "a-",
        "a b",
        "a\tb",
        "a\n",
        "*",
        "[::1]",
        "a。b",
        "a．b",
        "⒈",
        "℀",
        "ａ．ｂ",
        "xn--zz",
        "a\u{200d}b",
        "\u{ad}",
        "127.0.0.1",
        "_",
        "{label}",
        "a,b",
    ];
    for value in tries {
        for template in ["https://{label}.example.com", "https://{label}", "https://a.{label}.example.com"] {
            let error = resolve(template, &[("label", value)]).unwrap_err();
            assert!(!error.to_string().contains("evil"), "{error}");
        }
        if value != "a.b" && value != "127.0.0.1" {
            assert!(resolve("https://{bounded}.example.com", &[("bounded", value)]).is_err(), "{value}");
        }
    }
    for value in ["a/b", "ü", "a.b", "", "a@", "*"] {
        assert!(resolve("https://x{label}.example.com", &[("label", value)]).is_err(), "{value}");
    }
    for value in ["0x7f.1", "2130706433", "127.1", "0177.0.0.1", "[::1]", "a.", "a..b", "a:80"] {
        assert!(resolve("https://{host}", &[("host", value)]).is_err(), "{value}");
    }
    // Labels that make an address together, and a host that a wildcard must not have.
    assert!(resolve("https://10.0.0.{label}", &[("label", "5")]).is_err());
    assert!(resolve("https://{label}", &[("label", "2130706433")]).is_err());
    assert!(resolve("https://*.{bounded}", &[("bounded", "com")]).is_err());
    for value in ["0", "65536", "-1", "80/", "+80", "", "８０"] {
        assert!(resolve("https://a.example:{port}", &[("port", value)]).is_err(), "{value}");
    }
    for value in [
        "ftp://a.example",
        "a.example",
        "https:a.example",
        "https:/a.example",
        "https:///a.example",
        "//a.example",
        "https://u@a.example",
        "https://@a.example",
        "https://u:p@a.example",
        "https://a.example?x",
        "https://a.example?",
        "https://a.example/#",
        "https://a.example\\@evil.com",
        "https://a\t.example",
        " https://a.example",
        "https://a%2eexample",
        "https://0x7f.1",
        "https://2130706433/",
        "https://a.example:0",
        "https://ü@a.example",
        "https://bü\tcher.example",
        "https://bücher.example\\@evil.com",
        "https:/evil.example/://ü",
        "https://bücher.example%2eevil.com",
        "https://bücher。evil.com",
        "javascript:x",
        "",
    ] {
        assert!(resolve("{url}", &[("url", value)]).is_err(), "{value}");
    }
    // Whatever the manifest said: a secret is never shown in a host.
    let leak = Given(BTreeMap::from(["label", "url"].map(|name| (name.to_owned(), Value::secret("https://canary")))));
    for template in ["https://{label}.example.com", "{url}"] {
        let error = parse(template).unwrap().resolve(&leak).unwrap_err().to_string();
        assert!(error.contains("secret") && !error.contains("canary"), "{error}");
    }
    let long = format!("{0}.{0}.{0}.{0}", "a".repeat(62));
    assert!(resolve("https://{bounded}.example.com", &[("bounded", &long)]).is_err());
}

#[test]
fn a_wildcard_is_exactly_one_label() {
    let pattern = parse("https://*.example.com").unwrap().resolve(&given(&[])).unwrap().remove(0);
    let matches = |text: &str| pattern.matches(&Origin::parse(text).unwrap());
    assert!(matches("https://a.example.com"));
    assert!(matches("https://A.EXAMPLE.com:443"));
    assert!(matches("https://bücher.example.com"));
    for other in [
        "https://example.com",
        "https://evilexample.com",
        "https://a.b.example.com",
        "https://a.example.com.evil.com",
        "https://a.example.com.",
        "https://.example.com",
        "https://a.example.org",
        "http://a.example.com",
        "https://a.example.com:8443",
        "https://1.2.3.4",
        "https://[::1]",
    ] {
        assert!(Origin::parse(other).map_or(true, |origin| !pattern.matches(&origin)), "{other}");
    }
    let inner = parse("https://api.*.example.com:8443").unwrap().resolve(&given(&[])).unwrap().remove(0);
    assert!(inner.matches(&Origin::parse("https://api.eu.example.com:8443").unwrap()));
    assert!(!inner.matches(&Origin::parse("https://api.eu.example.com").unwrap()));
    assert_eq!((inner.to_string().as_str(), inner.exact()), ("https://api.*.example.com:8443", None));
}

#[test]
fn a_url_is_filled_piece_by_piece() {
    for (template, values, expected) in [
        ("https://{label}.example.com", &[("label", "a")][..], "https://a.example.com/"),
        ("https://a.example?x", &[], "https://a.example/?x"),
        ("https://a.example/v1?", &[], "https://a.example/v1?"),
        (
            "https://a.example/{text}/b?c={text}&d={text}",
            &[("text", "a/b&c?#ü")],
            "https://a.example/a%2Fb%26c%3F%23%C3%BC/b?c=a%2Fb%26c%3F%23%C3%BC&d=a%2Fb%26c%3F%23%C3%BC",
        ),
        ("https://a.example:{port}/x{{}}y", &[("port", "8443")], "err"),
        ("https://a.example/{hex(text)}", &[("text", "/")], "https://a.example/2f"),
        ("{url}", &[("url", "https://a.example/base/")], "https://a.example/base/"),
        ("{url}/token", &[("url", "https://a.example/base/")], "https://a.example/base/token"),
        ("{url}/token", &[("url", "https://a.example")], "https://a.example/token"),
        ("{url}?x={text}", &[("url", "https://a.example/b"), ("text", "1=2")], "https://a.example/b?x=1%3D2"),
        ("{url}/x://y", &[("url", "https://a.example/b")], "https://a.example/b/x://y"),
        ("{url}/a || https://{label}.example/{text}", &[("label", "a"), ("text", "b")], "https://a.example/b"),
        ("https://a.example/{url}", &[("url", "https://b.example")], "https://a.example/https%3A%2F%2Fb.example"),
    ] {
        let filled = url(template, values);
        assert_eq!(filled.as_deref().unwrap_or("err"), expected, "{template}: {filled:?}");
    }
    assert_eq!(
        url("https://{label}.example/{text} || {url}", &[("text", "x")]).unwrap_err(),
        "it needs a value for `label`, or for `url`"
    );
}

#[test]
fn a_url_that_is_none_or_leads_elsewhere_is_refused() {
    for bad in [
        "",
        "/path",
        "{text}",
        "{text}/x",
        "https://{text}/x",
        "https://*.example.com/x",
        "https://a.example/#x",
        "{url}x",
        "{url}{label}",
        "{url}:{port}/x",
        "{url}.evil.com/",
        "https://a.example/../x",
        "https://a.example/a b",
        "https://a.example/a\\b",
        "https://a.example/{unknown}",
        "https://a.example/{hex(unknown)}",
        "https://u@a.example/",
        "https://a.example/?a b",
    ] {
        assert!(UrlTemplate::parse(&Template::parse(bad).unwrap(), &info).is_err(), "{bad}");
    }
    for value in ["", ".", "..", "../x", "a\\..", "x/."] {
        assert!(url("https://a.example/v1/{text}", &[("text", value)]).is_err(), "{value}");
    }
    for value in ["https://a.example?x", "https://a.example#", "https://u@a.example", "ftp://a.example"] {
        assert!(url("{url}/x", &[("url", value)]).is_err(), "{value}");
    }
}

#[test]
fn a_url_with_a_secret_does_not_print_it() {
    let template = UrlTemplate::parse(&Template::parse("https://a.example/bot{secret}/x").unwrap(), &info).unwrap();
    let filled = template.fill(&given(&[("secret", "canary/")]), &Moment::now()).unwrap();
    assert_eq!(format!("{filled:?}"), "https://a.example");
    assert!(filled.is_secret());
    assert!(filled.secrets().iter().any(|it| it.expose() == b"canary/"));
    assert!(filled.secrets().iter().any(|it| it.expose() == b"canary%2F"));
    let plain = UrlTemplate::parse(&Template::parse("https://a.example/{text}").unwrap(), &info).unwrap();
    assert_eq!(format!("{:?}", plain.fill(&given(&[("text", "x")]), &Moment::now()).unwrap()), "https://a.example/x");
}

#[test]
fn every_origin_that_a_url_may_lead_to_is_told() {
    let text = "{url}/{text} || https://{label}.example/{text} || https://a.example/ || https://a.example/x";
    let template = UrlTemplate::parse(&Template::parse(text).unwrap(), &info).unwrap();
    let origins =
        |values| template.origins(&given(values)).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(origins(&[]), ["https://a.example"]);
    assert_eq!(
        origins(&[("url", "https://b.example:8443/x"), ("label", "c")]),
        ["https://b.example:8443", "https://c.example", "https://a.example"]
    );
}

/// Any text, with those characters often that mean something in a URL.
fn any_value() -> impl Strategy<Value = String> {
    let telling =
        prop::sample::select("./\\:@#?%&=[]*-_ \t\n0x127eEüß。．⒈℀\u{ad}\u{200d}".chars().collect::<Vec<_>>());
    let plain = prop::sample::select("abcxyz0123456789-.".chars().collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![2 => plain, 2 => telling, 1 => any::<char>()], 0..16).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn whatever_a_value_is_the_rest_of_the_host_stays(value in any_value(), other in any_value(), port in any_value()) {
        let values: &[(&str, &str)] =
            &[("label", &value), ("bounded", &value), ("host", &value), ("url", &value), ("other", &other), ("port", &port)];
        for (template, before, after, labels) in [
            ("https://{label}.example.com", "", ".example.com", Some(3)),
            ("https://api-{label}{other}.example.com", "api-", ".example.com", Some(3)),
            ("https://a.{label}.{other}.example.com", "a.", ".example.com", Some(5)),
            ("https://a.{bounded}.example.com", "a.", ".example.com", None),
            ("https://{host}:8443", "", "", None),
        ] {
            for pattern in parse(template).unwrap().resolve(&given(values)).unwrap_or_default() {
                let origin = pattern.exact().unwrap();
                let host = origin.host().to_string();
                prop_assert!(host.starts_with(before) && host.ends_with(after), "{host}");
                prop_assert!(host.len() > before.len() + after.len());
                prop_assert!(labels.is_none_or(|count| host.split('.').count() == count), "{host}");
                prop_assert_eq!(origin.port(), if template.ends_with("8443") { 8443 } else { 443 });
                // What was resolved is a fixed point: written down and read again it is the same.
                prop_assert_eq!(Origin::parse(&origin.to_string()).unwrap(), origin);
            }
        }
        for pattern in parse("https://a.example:{port}").unwrap().resolve(&given(values)).unwrap_or_default() {
            prop_assert_eq!(Some(pattern.exact().unwrap().port()), port.parse().ok());
        }
    }

    #[test]
    fn whatever_a_value_is_the_rest_of_a_url_stays(value in any_value(), label in "[a-z.0-9]{0,4}") {
        let values: &[(&str, &str)] = &[("label", &label), ("text", &value), ("secret", &value)];
        if let Ok(filled) = url("https://{label}.example.com/v1/{text}/y{secret}?q={text}&r={secret}", values) {
            let read = ::url::Url::parse(&filled).unwrap();
            prop_assert_eq!(read.host_str().unwrap(), format!("{label}.example.com"));
            let segments: Vec<_> = read.path_segments().unwrap().collect();
            prop_assert_eq!((segments.len(), segments[0]), (3, "v1"));
            let pairs: Vec<(String, String)> = read.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, vec![("q".to_owned(), value.clone()), ("r".to_owned(), value.clone())]);
        }
    }

    #[test]
    fn a_url_is_the_origin_that_it_is_told_to_be(value in any_value(), scheme in "(https?:/{0,3})?") {
        let whole = format!("{scheme}{value}");
        let values: &[(&str, &str)] = &[("url", &whole)];
        let template = UrlTemplate::parse(&Template::parse("{url}/x?y=z").unwrap(), &info).unwrap();
        if let Ok(filled) = template.fill(&given(values), &Moment::now()) {
            let origin = Origin::of(filled.expose()).unwrap();
            prop_assert_eq!(&template.origins(&given(values)).unwrap(), std::slice::from_ref(&origin));
            prop_assert_eq!(resolve("{url}", values).unwrap().unwrap(), origin.to_string());
            prop_assert!(filled.expose().path().ends_with("/x"));
            prop_assert_eq!(filled.expose().query(), Some("y=z"));
        }
    }

    #[test]
    fn a_wildcard_matches_one_label_and_nothing_else(host in "[a-z0-9.*-]{0,12}", suffix in "(\\.?example\\.com|\\.example\\.org)?") {
        let pattern = parse("https://*.example.com").unwrap().resolve(&given(&[])).unwrap().remove(0);
        if let Ok(origin) = Origin::parse(&format!("https://{host}{suffix}")) {
            let read = origin.host().to_string();
            let expected = read.strip_suffix(".example.com").is_some_and(|label| !label.is_empty() && !label.contains('.'));
            prop_assert_eq!(pattern.matches(&origin), expected, "{}", read);
        }
    }

    #[test]
    fn no_template_panics(pieces in prop::collection::vec(prop::sample::select(vec![
        "https://", "http://", "{label}", "{bounded}", "{host}", "{url}", "{port}", "{text}", ".", ":", "/", "?", "#", "*", "a",
        "ü", "[::1]", "[", "]", "443", "@", "\\", " || ", "{hex(text)}", "://",
    ]), 0..8), value in any_value()) {
        let text = pieces.concat();
        let names = ["label", "bounded", "host", "url", "port", "text"];
        let values: Vec<(&str, &str)> = names.iter().map(|name| (*name, value.as_str())).collect();
        let _ = resolve(&text, &values);
        let _ = url(&text, &values);
    }
}
