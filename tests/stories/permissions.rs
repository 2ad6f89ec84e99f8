//! A caller key is good for what it was made for, on every route: each asks for a permission, and for the connections that the key
//! reaches.

use std::collections::BTreeMap;

use attache_tests::service::Service;
use serde_json::{Value, json};

use crate::{
    mcp_keys::called,
    operating::connect,
    serving::RETURN,
    tenants::{Named, Route, routes, story, without},
};

/// What a key may be good for.
const PERMISSIONS: [&str; 3] = ["call", "connect", "administer"];

/// Which of them opens an operation of the OpenAPI document. Who administers may whatever is of their environment; `operator` is
/// for no key, and `anybody` for whoever has one or none.
const WHO: [(&str, &str); 57] = [
    ("apps-list", "administer"),
    ("apps-only", "administer"),
    ("apps-remove", "administer"),
    ("apps-seal", "administer"),
    ("apps-set", "administer"),
    ("apps-show", "administer"),
    ("audit-list", "administer"),
    ("audit-verify", "operator"),
    ("callers-create", "administer"),
    ("callers-list", "administer"),
    ("callers-revoke", "administer"),
    ("calls-call", "call administer"),
    ("calls-end", "call administer"),
    ("calls-operation", "call administer"),
    ("calls-operations", "call administer"),
    ("calls-preview", "call administer"),
    ("calls-show", "call administer"),
    ("connect-sessions-confirm", "connect administer"),
    ("connect-sessions-create", "connect administer"),
    ("connect-sessions-show", "connect administer"),
    ("connections-ask", "connect administer"),
    ("connections-begin", "connect administer"),
    ("connections-check", "call connect administer"),
    ("connections-connect", "connect administer"),
    ("connections-list", "call connect administer"),
    ("connections-propose", "connect administer"),
    ("connections-remove", "connect administer"),
    ("connections-show", "call connect administer"),
    ("connectors-approve", "administer"),
    ("connectors-isolate", "administer"),
    ("connectors-list", "call connect administer"),
    ("connectors-propose", "administer"),
    ("connectors-remove", "administer"),
    ("connectors-show", "call connect administer"),
    ("consents-list", "connect administer"),
    ("consents-revoke", "connect administer"),
    ("consents-show", "connect administer"),
    ("environments-create", "operator"),
    ("environments-list", "call connect administer"),
    ("environments-remove", "operator"),
    ("gateways-invite", "administer"),
    ("gateways-list", "connect administer"),
    ("gateways-remove", "administer"),
    ("gateways-remove_member", "administer"),
    ("gateways-show", "connect administer"),
    ("health-alive", "anybody"),
    ("health-ready", "anybody"),
    ("store-check", "operator"),
    ("webhooks-add", "administer"),
    ("webhooks-enable", "administer"),
    ("webhooks-list", "administer"),
    ("webhooks-messages", "administer"),
    ("webhooks-redeliver", "administer"),
    ("webhooks-remove", "administer"),
    ("webhooks-rotate", "administer"),
    ("webhooks-show", "administer"),
    ("webhooks-test", "administer"),
];

#[test]
fn each_route_is_open_to_the_permissions_that_it_is_for_and_to_no_other() {
    let story = story();
    let (named, nobodys) = (story.named(), Named::nobodys());
    let document = story.document();
    let routes = routes(&document);
    let who = BTreeMap::from(WHO);
    let told: Vec<_> = routes.iter().map(|route| (&*route.operation, told(&document, route))).collect();
    assert_eq!(BTreeMap::from_iter(told), who.iter().map(|(operation, who)| (*operation, (*who).to_owned())).collect());
    for permission in PERMISSIONS {
        let key = story.running.key(&format!("only-{permission}"), &["--may", permission]);
        for route in &routes {
            let may = who[&*route.operation].split(' ').any(|it| [permission, "anybody"].contains(&it));
            // What somebody may do is done to nothing, so that all of it is there for the others.
            let unknown = story.ask(&key, &nobodys, route, "");
            if may {
                assert!(![401, 403].contains(&unknown.status), "{permission}, {route:?}: {}", unknown.text);
                continue;
            }
            for refused in [unknown, story.ask(&key, &named, route, "")] {
                let said = refused.refused(403, "denied");
                let lacks = ["This key may not ", "Only the operator does that"].iter().any(|it| said.starts_with(it));
                assert!(lacks, "{permission}, {route:?}: {said}");
            }
        }
    }
    for route in &routes {
        let refused = story.ask("", &nobodys, route, "").status == 401;
        assert_eq!(refused, who[&*route.operation] != "anybody", "{route:?}");
    }
}

/// What the document says of who may (OpenAPI 3.1.1, section 4.8.30): any of several.
fn told(document: &Value, route: &Route) -> String {
    let any = document["paths"][&route.path][&route.method]["security"].as_array().unwrap();
    let permission =
        |it: &Value| it.get("caller-key").map_or("anybody", |of_key| of_key[0].as_str().unwrap()).to_owned();
    any.iter().map(permission).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_key_for_one_connection_finds_no_other_on_any_route() {
    let (story, second) = (story(), Service::plain());
    let (running, service) = (&story.running, &story.service);
    connect(&running.attache, "second", &second);
    let may = ["--may", "call", "--may", "connect", "--allow", "destructive"];
    let some = running.key("some", &[&may[..], &["--connection", "second"]].concat());
    let work = running.ask(&story.ours, "GET", "/v1/connections/work", &[]).json();
    let of = |connection: &str| {
        let mut named = Named::nobodys();
        (named.connection, named.operation) = (connection.to_owned(), "look".to_owned());
        named
    };
    let [own, work, by_id, nobodys] = ["second", "work", work["connection"]["id"].as_str().unwrap(), "nobodys"].map(of);
    let before = service.received().len();
    let mut routes = routes(&story.document());
    routes.retain(|route| route.path.contains("{connection}"));
    assert!(routes.len() >= 9, "{routes:?}");
    for route in &routes {
        let told = |whose: &Named| {
            let answer = story.ask(&some, whose, route, "");
            (answer.status, without(&[&work, &by_id, &nobodys], &answer.text))
        };
        let unknown = told(&nobodys);
        assert_eq!(unknown.0, 404, "{route:?}: {}", unknown.1);
        assert_eq!(told(&work), unknown, "{route:?}");
        assert_eq!(told(&by_id), unknown, "{route:?}");
    }
    // Nor does it make one good again.
    for path in ["/v1/connections/proposals", "/v1/connect-sessions"] {
        let told = |key: &str, connection: &str| {
            let again = json!({ "connector": "tools", "name": connection, "again": true, "secrets": {} });
            let session = json!({ "connection": again, "owner": "alice", "return-url": RETURN });
            story.post(key, path, &[], if path == "/v1/connect-sessions" { &session } else { &again })
        };
        let refused = told(&some, "work");
        refused.refused(403, "denied");
        assert_eq!(refused.text, told(&some, "nobodys").text, "{path}");
        assert_eq!(told(&story.ours, "work").status, 201, "{path}");
    }
    let input = json!({ "url": service.base() });
    let told = |tool: &str| called(running, &some, tool, &input).replace(tool, "TOOL");
    assert!(told("work_look").contains("There is no tool `TOOL`"), "{}", told("work_look"));
    assert_eq!(told("work_look"), told("nobodys_look"));
    assert_eq!(service.received().len(), before, "nothing was sent");
    // It is there for who reaches it, and the key's own for the key.
    assert_eq!(running.call(&story.ours, "look", &[], &input).status, 200);
    assert!(called(running, &some, "second_look", &json!({ "url": second.base() })).contains("hello from"));
    for route in &routes {
        let found = story.ask(&some, &own, route, "");
        assert_ne!(found.status, 404, "{route:?}: {}", found.text);
    }
}
