//! What every kind of authentication brings with it is in nothing that a connector, a log, a file or another host sees, in both
//! isolations; and the search finds what was planted in each of these places, in every spelling.

use std::fs;

use attache::{
    secret::Secret,
    settings::{Source, Sourced},
    transport::PrivateAllowed,
};
use attache_tests::{
    Canary, Embedded,
    authority::Authority,
    canary::{Seen, spelled},
    peers::{self, Peer},
    service::{Received, Service, answer},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use serde_json::{Value, json};

use crate::hostile::{BOTH, logged};

/// With characters that base64, URLs and JSON write otherwise.
pub(crate) const KEY: &str = "canary/5d41?402a+bc4b=2a76~b971>9d91~~7c59";
const PASSWORD: &str = "canary-typed/8d777f38>5d3dfec8";
const TOKEN: &str = "canary-token/1f3870be~274f6c49";
const RENEWED: &str = "canary-renewed/b1946ac9~2492d2";
const REFRESH: &str = "canary-refresh/65a8e27d~887928";
/// What is searched for to prove that it would be found. It may stand in a path as it is.
pub(crate) const PLANTED: &str = "planted~~~~~6c2ee24b~~~~~098e";

/// One kind of authentication, as a guest declares it.
pub(crate) struct Scheme {
    pub(crate) guest: &'static str,
    pub(crate) option: &'static str,
    /// What is typed beside the secret.
    pub(crate) more: &'static [(&'static str, &'static str)],
    /// The parameters that are secret, and what is typed there.
    pub(crate) typed: Vec<(&'static str, String)>,
    pub(crate) method: &'static str,
    /// What a request carries that proves who sent it, and nobody may see.
    pub(crate) sent: fn(&Received) -> Option<String>,
}

impl Scheme {
    /// Whether it is shown in a TLS handshake, and not in a request.
    fn is_certificate(&self) -> bool {
        self.option == "certificate"
    }
}

/// Where a service of ours is to be found.
pub(crate) struct Front {
    pub(crate) base: String,
    _nginx: Option<Peer>,
}

impl Front {
    /// As it is; or behind nginx, which asks for a certificate where that is what the scheme has.
    pub(crate) fn of(service: &Service, scheme: &Scheme, authority: &Authority) -> Self {
        if !scheme.is_certificate() {
            return Self { base: service.base(), _nginx: None };
        }
        let ports = [peers::free_port(), peers::free_port()];
        let nginx = peers::nginx_tls(authority, ports, service.port);
        Self { base: format!("https://127.0.0.1:{}", ports[1]), _nginx: Some(nginx) }
    }

    pub(crate) fn authority(&self) -> &str {
        self.base.split_once("://").unwrap().1
    }
}

fn authorization(request: &Received, before: &str) -> Option<String> {
    let (_, after) = request.header("authorization")?.split_once(before)?;
    Some(after.split(['"', ',']).next()?.to_owned())
}

fn between(text: &str, before: &str, after: &[char]) -> Option<String> {
    Some(text.split_once(before)?.1.split(after).next()?.to_owned())
}

/// All of them. The authority is who certifies clients.
pub(crate) fn schemes(authority: &Authority) -> Vec<Scheme> {
    let jo = authority.client("jo");
    let [certificate, private_key] = [jo.certificate, jo.key].map(|file| fs::read_to_string(file).unwrap());
    let echo = |option, sent| Scheme {
        guest: "echo",
        option,
        more: &[],
        typed: vec![("key", KEY.to_owned())],
        method: "GET",
        sent,
    };
    let login = |option, more, sent| Scheme {
        guest: "signs-in",
        more,
        typed: vec![("password", PASSWORD.to_owned())],
        ..echo(option, sent)
    };
    vec![
        echo("header", |request| request.header("x-api-key").map(str::to_owned)),
        echo("query", |request| between(&request.line, "key=", &[' ', '&'])),
        echo("path", |request| between(&request.line, "/bot", &['/', ' '])),
        Scheme {
            method: "POST",
            ..echo("body", |request| {
                let body: Value = serde_json::from_slice(&request.body).ok()?;
                body["auth"]["key"].as_str().map(str::to_owned)
            })
        },
        Scheme { more: &[("user", "jo")], ..echo("basic", |request| authorization(request, "Basic ")) },
        echo("bearer", |request| authorization(request, "Bearer ")),
        echo("sigv4", |request| authorization(request, "Signature=")),
        // The key of an Azure account is base64.
        Scheme {
            typed: vec![("key", BASE64_STANDARD.encode(KEY))],
            ..echo("azure", |request| authorization(request, "SharedKey account:"))
        },
        echo("oauth1", |request| authorization(request, "oauth_signature=\"")),
        echo("jwt", |request| authorization(request, "Bearer ")),
        echo("signed", |request| request.header("x-signature").map(str::to_owned)),
        // Whose certificate it was is no secret, and its private key is never sent.
        Scheme { typed: vec![("certificate", certificate), ("key", private_key)], ..echo("certificate", |_| None) },
        login("refreshed", &[("user", "jo")], |request| authorization(request, "Bearer ")),
    ]
}

/// Everything that no place may show, whatever the kind of authentication.
pub(crate) fn secrets() -> [&'static str; 5] {
    [KEY, PASSWORD, TOKEN, RENEWED, REFRESH]
}

/// Takes whatever credential, and gives it back in every spelling, in headers, body, refusals and redirects.
pub(crate) fn reflecting(scheme: &Scheme, open: &Front) -> Service {
    let (sent, open) = (scheme.sent, open.base.clone());
    Service::start(move |request| {
        let target = request.line.split(' ').nth(1).unwrap();
        let carried = sent(request).unwrap_or_default();
        let json = |body: Value| {
            answer(200, &[("Content-Type", "application/json"), ("X-Region", "north")], &body.to_string())
        };
        if target.ends_with("/login") {
            return json(json!({ "token": TOKEN, "refresh": REFRESH }));
        }
        if target.ends_with("/refresh") {
            return json(json!({ "token": RENEWED }));
        }
        let path = |name: &str| target.split(['?', '#']).next().unwrap().ends_with(name);
        if path("/check") {
            return answer(200, &[], "jo");
        }
        if path("/to-open") {
            return answer(302, &[("Location", &format!("{open}/public"))], &carried);
        }
        if path("/carry") {
            let url: String = url::form_urlencoded::byte_serialize(carried.as_bytes()).collect();
            return answer(302, &[("Location", &format!("{open}/{url}?{url}"))], &carried);
        }
        if path("/refuse") || path("/expired") && carried == TOKEN {
            let challenge = format!("Bearer realm=\"{}\", error_description=\"{carried}\"", hex::encode(&carried));
            return answer(401, &[("WWW-Authenticate", &challenge)], &format!("not {carried}"));
        }
        let body = String::from_utf8_lossy(&request.body);
        let all = format!("{} {:?} {body}", request.line, request.headers);
        let url: String = url::form_urlencoded::byte_serialize(all.as_bytes()).collect();
        let encoded = [BASE64_STANDARD.encode(&all), BASE64_URL_SAFE.encode(&all), hex::encode(&all), url];
        // Nobody writes ordinary characters so, and what a service does to them otherwise is outside the promise.
        let spelled = spelled(&carried).into_iter().filter(|(name, _)| *name != "percent, every byte");
        let spelled: Vec<String> = spelled.map(|(_, text)| text).collect();
        let names: Vec<String> = (0..spelled.len()).map(|number| format!("X-Carried-{number}")).collect();
        let headers: Vec<_> = names.iter().zip(&spelled).map(|(name, text)| (name.as_str(), text.as_str())).collect();
        answer(200, &headers, &[vec![all], encoded.to_vec(), spelled.clone()].concat().join("\n"))
    })
}

/// What the inputs are that plant something: in the address, and in a header, in every spelling.
pub(crate) fn planting(base: &str, more: &Value) -> Vec<Value> {
    // In clear last, since what is looked at is mostly the newest.
    let inputs = spelled(PLANTED).into_iter().rev().map(|(_, text)| {
        let mut input = json!({ "url": format!("{base}/planted/{text}"), "headers": [["X-Planted", text]] });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    });
    inputs.collect()
}

/// What a service received, in one text.
pub(crate) fn received(service: &Service) -> Vec<u8> {
    let all = service.received().into_iter();
    let texts =
        all.map(|it| format!("{} {:?} {}\n", it.line, it.headers, String::from_utf8_lossy(&it.body)).into_bytes());
    texts.collect::<Vec<_>>().concat()
}

/// What a scheme's requests carried, to be searched for like what was typed; where they carried nothing, what proved it.
pub(crate) fn carried(scheme: &Scheme, service: &Service) -> Vec<Canary> {
    if scheme.is_certificate() {
        let received = service.received();
        assert!(received.len() > 3, "{received:?}");
        assert!(received.iter().all(|it| it.header("x-client-subject") == Some("CN=jo")), "{received:?}");
        return of_private_key(&scheme.typed[1].1);
    }
    let mut all: Vec<String> = service.received().iter().filter_map(scheme.sent).collect();
    all.sort_unstable();
    all.dedup();
    assert!(!all.is_empty(), "{} did not go where it should", scheme.option);
    all.iter().map(|text| Canary::new(text)).collect()
}

/// What a private key in PEM is known by: all of it, each line with a part of the number that nobody else has, its DER, and that
/// number itself. Each is searched for in hex and base64, too.
pub(crate) fn of_private_key(pem: &str) -> Vec<Canary> {
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64_STANDARD.decode(lines.concat()).unwrap();
    // RFC 5915: an ECPrivateKey has the version 1, and then 32 bytes for this curve.
    let before = [2, 1, 1, 4, 32];
    let at = der.windows(before.len()).position(|window| window == before).unwrap() + before.len();
    let number = &der[at..at + 32];
    // A line of 64 characters stands for 48 bytes. The rest is the public key, which is in the certificate.
    let secret = lines.iter().take((at + 32).div_ceil(48)).map(|line| Canary::new(line));
    let mut canaries: Vec<Canary> = secret.chain([Canary::new(pem), Canary::of_bytes(&der)]).collect();
    canaries.push(Canary::of_bytes(number));
    canaries
}

#[test]
fn a_private_key_is_found_in_each_of_its_forms() {
    let authority = Authority::new();
    let pem = fs::read_to_string(authority.client("jo").key).unwrap();
    let der = BASE64_STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let found = |text: &[u8]| {
        let canaries = of_private_key(&pem);
        canaries.iter().flat_map(|canary| canary.found_in(text)).collect::<Vec<_>>()
    };
    assert!(found(pem.as_bytes()).contains(&"clear") && found(&der).contains(&"clear"));
    let log = format!("{der:?}");
    assert!(found(log.as_bytes()).is_empty(), "only these forms are searched for");
    assert!(found(hex::encode_upper(&der).as_bytes()).contains(&"hex"));
    assert!(found(BASE64_STANDARD.encode(&der).as_bytes()).contains(&"base64"));
    assert!(found(BASE64_STANDARD.encode(format!("a{pem}")).as_bytes()).contains(&"base64 after 1 byte"));
    // Nor is what everybody may know taken for it.
    let certificate = fs::read(authority.client("al").certificate).unwrap();
    assert!(found(&certificate).is_empty());
}

/// Demands that none of them is anywhere. Many schemes carry the same.
#[track_caller]
pub(crate) fn lacks_all(seen: &Seen, mut canaries: Vec<Canary>) {
    canaries.sort_unstable_by(|one, other| one.secret.cmp(&other.secret));
    canaries.dedup_by(|one, other| one.secret == other.secret);
    canaries.iter().for_each(|canary| seen.lacks(canary));
}

#[test]
fn no_schemes_secret_is_anywhere_that_a_connector_a_log_a_file_or_another_host_sees_it() {
    let log = logged();
    for isolation in BOTH {
        for guest in ["echo", "signs-in"] {
            let authority = Authority::new();
            let embedded = Embedded::with(guest, isolation, |settings| {
                settings.ca_file = Some(Sourced { value: authority.certificate(), source: Source::Flag });
            });
            let (mut seen, mut canaries) = (Seen::default(), Vec::from(secrets().map(Canary::new)));
            for scheme in schemes(&authority).into_iter().filter(|scheme| scheme.guest == guest) {
                try_everything(&embedded, &authority, &scheme, &mut seen, &mut canaries);
            }
            embedded.host().close().unwrap();
            seen.note_below(embedded.folder());
            seen.note("the log", std::mem::take(&mut *log.lock().unwrap()));
            lacks_all(&seen, canaries);
            let planted = Canary::new(PLANTED);
            let audit = embedded.host().audit_path().display().to_string();
            for place in ["what the connector", "the open host", "the preview", "the log", &audit] {
                seen.has(&planted, place);
            }
            seen.shows(&Canary::new("TRACE"), "the log");
        }
    }
}

/// Has a connection of this kind made and used in every way, and keeps what anybody sees of it.
fn try_everything(
    embedded: &Embedded,
    authority: &Authority,
    scheme: &Scheme,
    seen: &mut Seen,
    canaries: &mut Vec<Canary>,
) {
    let (open, other) = (Service::plain(), Service::plain());
    let front = |service: &Service| Front::of(service, scheme, authority);
    let open_front = front(&open);
    let service = reflecting(scheme, &open_front);
    let service_front = front(&service);
    let (option, base, open_base) = (scheme.option, &*service_front.base, &*open_front.base);
    let connect = |name: &str, at: &Front| {
        let mut request = embedded.request(name, option)?;
        request.private = PrivateAllowed::parse([at.authority(), open_front.authority()]).unwrap();
        let shown = [("base", &*at.base), ("open", open_base)].into_iter().chain(scheme.more.iter().copied());
        request.parameters = shown.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        request.secrets =
            scheme.typed.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value.as_str()))).collect();
        embedded.make(request)
    };
    connect(option, &service_front).unwrap();
    let with = |url: String, attach: bool| json!({ "url": url, "method": scheme.method, "attach": attach });
    let mut inputs = Vec::new();
    if ["header", "refreshed"].contains(&option) {
        inputs.extend(planting(base, &json!({})));
        inputs.extend(planting(open_base, &json!({ "attach": false })));
    }
    for path in ["/x", "/refuse", "/expired", "/x", "/to-open", "/carry"] {
        inputs.push(with(format!("{base}{path}"), true));
    }
    // To where it may not go, and to an open host as if it were to carry the credential.
    inputs.extend([with(format!("{}/loot", other.base()), true), with(format!("{open_base}/loot"), true)]);
    for input in &inputs {
        let answer = embedded.call(option, "send", input.clone()).unwrap();
        seen.note(format!("what the connector sees of {option}: {input}"), answer.to_string());
        let preview = embedded.dry_run(option, "send", input.clone());
        seen.note(format!("the preview of {option}: {input}"), format!("{preview:?}"));
    }
    let connection = embedded.call(option, "connection", json!({})).unwrap();
    seen.note(format!("what the connector sees of the connection {option}"), connection.to_string());
    // A service that refuses all of it, and says what.
    let sent = scheme.sent;
    let refusing = Service::start(move |request| {
        let carried = sent(request).unwrap_or_else(|| String::from_utf8_lossy(&request.body).into_owned());
        answer(401, &[("WWW-Authenticate", &format!("Key realm=\"{carried}\""))], &format!("not {carried}"))
    });
    let refused = connect(&format!("refused-{option}"), &front(&refusing)).unwrap_err();
    seen.note(format!("the refusal of {option}"), format!("{refused:?} {refused}"));
    seen.note("the open host", received(&open));
    canaries.extend(carried(scheme, &service));
    assert!(open.received().iter().all(|it| it.header("x-client-subject").is_none()), "{option}");
    // It was asked, once by each redirect and for what was planted, and nobody else was.
    assert!(open.received().iter().any(|it| it.line.contains("/public")), "{option}");
    assert!(!open.received().iter().any(|it| it.line.contains("/loot")), "{option}");
    assert!(other.received().is_empty(), "{option}");
}
