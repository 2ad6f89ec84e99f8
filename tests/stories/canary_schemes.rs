//! What every kind of authentication brings with it is in nothing that a connector, a log, a file or another host sees, in both
//! isolations; and the search finds what was planted in each of these places, in every spelling.

use attache_tests::{
    Canary, Embedded,
    canary::{Seen, spelled},
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
    /// The parameter that is secret, and what is typed there.
    pub(crate) secret: (&'static str, String),
    pub(crate) method: &'static str,
    /// What a request carries that proves who sent it.
    pub(crate) sent: fn(&Received) -> Option<String>,
}

fn authorization(request: &Received, before: &str) -> Option<String> {
    let (_, after) = request.header("authorization")?.split_once(before)?;
    Some(after.split(['"', ',']).next()?.to_owned())
}

fn between(text: &str, before: &str, after: &[char]) -> Option<String> {
    Some(text.split_once(before)?.1.split(after).next()?.to_owned())
}

pub(crate) fn schemes() -> Vec<Scheme> {
    let echo = |option, sent| Scheme {
        guest: "echo",
        option,
        more: &[],
        secret: ("key", KEY.to_owned()),
        method: "GET",
        sent,
    };
    let login = |option, more, sent| Scheme {
        guest: "signs-in",
        more,
        secret: ("password", PASSWORD.to_owned()),
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
            secret: ("key", BASE64_STANDARD.encode(KEY)),
            ..echo("azure", |request| authorization(request, "SharedKey account:"))
        },
        echo("oauth1", |request| authorization(request, "oauth_signature=\"")),
        echo("jwt", |request| authorization(request, "Bearer ")),
        echo("signed", |request| request.header("x-signature").map(str::to_owned)),
        login("refreshed", &[("user", "jo")], |request| authorization(request, "Bearer ")),
    ]
}

/// Everything that no place may show, whatever the kind of authentication.
pub(crate) fn secrets() -> [&'static str; 5] {
    [KEY, PASSWORD, TOKEN, RENEWED, REFRESH]
}

/// Takes whatever credential, and gives it back in every spelling, in headers, body, refusals and redirects.
pub(crate) fn reflecting(scheme: &Scheme, open: &Service) -> Service {
    let (sent, open) = (scheme.sent, open.base());
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

/// What a scheme's requests carried, to be searched for like what was typed.
pub(crate) fn carried(scheme: &Scheme, service: &Service) -> Vec<Canary> {
    let mut all: Vec<String> = service.received().iter().filter_map(scheme.sent).collect();
    all.sort_unstable();
    all.dedup();
    assert!(!all.is_empty(), "{} did not go where it should", scheme.option);
    all.iter().map(|text| Canary::new(text)).collect()
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
            let embedded = Embedded::new(guest, isolation);
            let (mut seen, mut canaries) = (Seen::default(), Vec::from(secrets().map(Canary::new)));
            for scheme in schemes().into_iter().filter(|scheme| scheme.guest == guest) {
                try_everything(&embedded, &scheme, &mut seen, &mut canaries);
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
fn try_everything(embedded: &Embedded, scheme: &Scheme, seen: &mut Seen, canaries: &mut Vec<Canary>) {
    let (open, other) = (Service::plain(), Service::plain());
    let service = reflecting(scheme, &open);
    let (option, open_base) = (scheme.option, open.base());
    let secret = (format!("!{}", scheme.secret.0), scheme.secret.1.as_str());
    let values = [(secret.0.as_str(), secret.1), ("open", open_base.as_str())];
    let values: Vec<_> = values.into_iter().chain(scheme.more.iter().copied()).collect();
    embedded.connect_private(option, option, &service, &[&open], &values).unwrap();
    let with = |url: String, attach: bool| json!({ "url": url, "method": scheme.method, "attach": attach });
    let mut inputs = Vec::new();
    if ["header", "refreshed"].contains(&option) {
        inputs.extend(planting(&service.base(), &json!({})));
        inputs.extend(planting(&open.base(), &json!({ "attach": false })));
    }
    for path in ["/x", "/refuse", "/expired", "/x", "/to-open", "/carry"] {
        inputs.push(with(format!("{}{path}", service.base()), true));
    }
    // To where it may not go, and to an open host as if it were to carry the credential.
    inputs.extend([with(format!("{}/loot", other.base()), true), with(format!("{}/loot", open.base()), true)]);
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
    let refused = embedded.connect_private(&format!("refused-{option}"), option, &refusing, &[&open], &values);
    let refused = refused.unwrap_err();
    seen.note(format!("the refusal of {option}"), format!("{refused:?} {refused}"));
    seen.note("the open host", received(&open));
    canaries.extend(carried(scheme, &service));
    // It was asked, once by each redirect and for what was planted, and nobody else was.
    assert!(open.received().iter().any(|it| it.line.contains("/public")), "{option}");
    assert!(!open.received().iter().any(|it| it.line.contains("/loot")), "{option}");
    assert!(other.received().is_empty(), "{option}");
}
