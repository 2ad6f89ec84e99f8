//! What an operator changes in the console: how instances are kept apart, what is there no longer, and who signs in again.

use attache_tests::{Attache, peers::oidc, service::Service};
use serde_json::{Value, json};

use crate::{
    KEY, connect,
    console::{Console, page, shows},
    machine, with_echo,
};

fn isolation(attache: &Attache) -> Value {
    attache.run(&["--output", "json", "connector", "list"]).json()[0]["isolation"].clone()
}

fn received(service: &Service, header: &str) -> Option<String> {
    service.received().last()?.header(header).map(str::to_owned)
}

#[test]
fn instances_are_kept_apart_as_it_was_chosen() {
    for javascript in [true, false] {
        let console = Console::of(with_echo());
        assert_eq!(isolation(&console.attache), "call");
        let change = |to: &str| {
            [
                json!({ "choose": { "How its instances are kept apart": to } }),
                json!({ "press": "Change" }),
                json!({ "see": "Isolation" }),
            ]
        };
        let open = [json!({ "follow": "Connectors" }), json!({ "follow": "echo" })];
        let look = [json!({ "look": "isolated" })];
        let seen = console.go("", javascript, &[&open[..], &change("connection"), &look].concat());
        assert_eq!(isolation(&console.attache), "connection");
        let html = page(&seen, "isolated")["html"].as_str().unwrap();
        assert!(html.contains("value=\"connection\" selected"), "{html}");
        console.go("", javascript, &[&open[..], &change("call")].concat());
        assert_eq!(isolation(&console.attache), "call");
        let told = console.attache.run(&["--output", "json", "audit", "list", "--event", "connector-isolated"]).json();
        let told: Vec<_> = told.as_array().unwrap().iter().map(|it| (&it["isolation"], &it["caller"])).collect();
        let by = json!("console:tester");
        assert_eq!(told, [(&json!("connection"), &by), (&json!("call"), &by)]);
    }
}

#[test]
fn an_account_is_connected_again_with_another_key_or_with_the_one_that_is_there() {
    let service = Service::plain();
    for javascript in [true, false] {
        let attache = with_echo();
        connect(&attache, "header", &service, &[]).done();
        let console = Console::of(attache);
        let again = |key: &[Value]| {
            let open = [
                json!({ "follow": "Connections" }),
                json!({ "follow": "echo" }),
                json!({ "follow": "Connect again" }),
                json!({ "look": "again" }),
            ];
            let agree = [
                json!({ "fill": { "Private addresses": service.authority() } }),
                json!({ "press": "Go on" }),
                json!({ "look": "agree" }),
                json!({ "press": "Agree and connect" }),
                json!({ "see": "Try a call" }),
                json!({ "look": "connected" }),
            ];
            console.go("", javascript, &[&open[..], key, &agree].concat())
        };
        let sent_with = || {
            console.attache.call("echo", "send", &json!({ "url": service.base() }));
            received(&service, "x-api-key")
        };
        let seen = again(&[]);
        shows(&seen, "again", &["Connect echo again", "Left empty, it stays as it is"]);
        let html = page(&seen, "again")["html"].as_str().unwrap();
        assert!(
            !html.contains(KEY) && html.contains(&service.base()),
            "what was typed is there, but for secrets: {html}"
        );
        shows(&seen, "agree", &["It was connected before", "which stays the same"]);
        shows(&seen, "connected", &["and 1 times since"]);
        assert_eq!(sent_with().as_deref(), Some(KEY));
        let seen = again(&[json!({ "fill": { "key": "another-key-5e2b" } })]);
        shows(&seen, "connected", &["and 2 times since"]);
        assert_eq!(sent_with().as_deref(), Some("another-key-5e2b"));
        // One whose consent was revoked has nothing left, and comes back the same way.
        console.attache.run(&["consent", "revoke", "echo"]).done();
        again(&[json!({ "fill": { "key": KEY } })]);
        assert_eq!(sent_with().as_deref(), Some(KEY));
    }
}

#[test]
fn an_account_is_disconnected_and_a_connector_removed_once_it_is_said_to_be_meant() {
    let service = Service::plain();
    for javascript in [true, false] {
        let attache = with_echo();
        connect(&attache, "header", &service, &[]).done();
        let console = Console::of(attache);
        let listed = |kind: &str| console.attache.run(&[kind, "list", "--output", "json"]).json();
        let still_used = [
            json!({ "follow": "Connectors" }),
            json!({ "follow": "echo" }),
            json!({ "follow": "Remove" }),
            json!({ "press": "Remove it" }),
            json!({ "look": "used" }),
        ];
        shows(&console.go("", javascript, &still_used), "used", &["is used by"]);
        let disconnect = [
            json!({ "follow": "Connections" }),
            json!({ "follow": "echo" }),
            json!({ "follow": "Disconnect" }),
            json!({ "look": "sure" }),
            json!({ "follow": "No, go back" }),
            json!({ "see": "Try a call" }),
        ];
        shows(&console.go("", javascript, &disconnect), "sure", &["Disconnect echo?", "Calls of it end at once"]);
        assert_eq!(listed("connection").as_array().unwrap().len(), 1, "nothing was meant yet");
        let meant = [json!({ "follow": "Disconnect" }), json!({ "press": "Disconnect it" }), json!({ "look": "gone" })];
        let seen = console.go("", javascript, &[&disconnect[..], &meant].concat());
        shows(&seen, "gone", &["echo is disconnected", "stays valid at the service until it is changed there"]);
        assert_eq!(listed("connection"), json!([]));
        let unused = [&still_used[..4], &[json!({ "see": "Add a connector" })]].concat();
        console.go("", javascript, &unused);
        assert_eq!(listed("connector"), json!([]));
    }
}

#[test]
fn a_person_signs_in_on_another_device_with_the_code_that_the_page_shows() {
    let (attache, oidc) = (machine(), oidc(&json!({})));
    attache.add("oauth");
    let (base, authority) = (oidc.peer.base(), oidc.peer.authority());
    attache.run(&["app", "set", "oauth", "--client-id", "device", "--origin", &base]).done();
    let console = Console::of(attache);
    let steps = [
        json!({ "open": format!("{}/connect?connector=oauth&option=discovered", console.root) }),
        json!({ "fill": { "Name of the connection": "tv" } }),
        json!({ "fill": { "base": base } }),
        json!({ "fill": { "issuer": base } }),
        json!({ "choose": { "How to sign in": "device-code" } }),
        json!({ "fill": { "Private addresses": authority } }),
        json!({ "press": "Go on" }),
        json!({ "press": "Agree and connect" }),
        json!({ "see": "enter this code" }),
        json!({ "look": "code" }),
        json!({ "press": "I have agreed there" }),
        json!({ "see": "Nobody has agreed there yet" }),
        json!({ "device": "jo" }),
        // The page asks by itself.
        json!({ "until": format!("{}/connections/tv", console.root) }),
        json!({ "look": "connected" }),
    ];
    let seen = console.go("console-device", true, &steps);
    shows(&seen, "code", &["Sign in on another device", &format!("{base}/device")]);
    shows(&seen, "connected", &["tv", "connected", "jo"]);
    let me = json!({ "url": format!("{base}/api/me") });
    assert_eq!(console.attache.call("tv", "send", &me)["status"], 200);
    assert_eq!(oidc.tokens("urn:ietf:params:oauth:grant-type:device_code").last().unwrap().0["status"], 200);
}
