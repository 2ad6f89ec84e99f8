//! Who is of one environment finds nothing of another: whatever they name, it is as if nobody had it. So it is between a key
//! and another that is made under its name later.

use std::{cmp::Reverse, collections::BTreeSet, fs};

use attache_tests::{
    Browser, connector,
    service::Service,
    simulate::{CLIENT, Simulated},
};
use reqwest::{Method, blocking::Client};
use serde_json::{Value, json};

use crate::{
    gateway::{enroll, enroll_named, join},
    machine,
    operating::{Answer, Running, connect, start, with_tools},
    serving::{RETURN, code_of},
};

pub(crate) const EVERYTHING: [&str; 8] =
    ["--may", "call", "--may", "connect", "--may", "administer", "--allow", "destructive"];
/// What nobody has, in the shape of what somebody does.
const NOBODYS: &str = "00000000000000000000000000000000";

/// A host with one thing of each kind in its environment `default`, most of them made with the key `ours`.
pub(crate) struct Story {
    pub(crate) running: Running,
    provider: Simulated,
    pub(crate) service: Service,
    pub(crate) ours: String,
    client: Client,
}

/// A route of the OpenAPI document.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) operation: String,
    pub(crate) method: String,
    pub(crate) path: String,
    has_body: bool,
}

impl Route {
    /// Whether it shows all there is of a kind.
    pub(crate) fn is_list(&self) -> bool {
        self.method == "get" && self.path.starts_with("/v1/") && !self.path.contains('{')
    }
}

/// What a request names.
#[derive(Clone)]
pub(crate) struct Named {
    connector: String,
    app: String,
    pub(crate) connection: String,
    pub(crate) operation: String,
    caller: String,
    webhook: String,
    gateway: String,
    member: String,
    pub(crate) environment: String,
    call: String,
    session: String,
    device: String,
    connector_proposal: String,
    connection_proposal: String,
    device_proposal: String,
    code: String,
}

pub(crate) fn story() -> Story {
    let (service, provider) =
        (Service::plain(), Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &["--approve"]));
    let mut attache = with_tools(&service);
    attache.add("oauth");
    attache.set("SECRET", CLIENT.1);
    let app = ["app", "set", "oauth", "--client-id", CLIENT.0, "--client-secret", "env:SECRET", "--origin"];
    attache.run(&[&app[..], &[provider.url()]].concat()).done();
    attache.run(&["environment", "create", "other"]).done();
    let running = start(attache, &["--return-url", RETURN]);
    let ours = running.key("ours", &EVERYTHING);
    Story { running, provider, service, ours, client: Client::new() }
}

impl Story {
    pub(crate) fn post(&self, key: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [&[("authorization", &*bearer)], headers].concat();
        self.running.asked("POST", path, &headers, Some(body))
    }

    /// Makes something, and gives a member of what came back.
    #[track_caller]
    fn made(&self, path: &str, headers: &[(&str, &str)], body: &Value, member: &str) -> String {
        let made = self.post(&self.ours, path, headers, body).json();
        made[member].as_str().unwrap_or_else(|| panic!("{path}: {made}")).to_owned()
    }

    /// A connection that somebody signs in for.
    fn signed_in_for(&self, grant: &str) -> Value {
        json!({
            "connector": "oauth", "auth-option": "discovered", "name": grant, "grant": grant,
            "private": [self.provider.authority()],
            "parameters": { "base": self.provider.url(), "issuer": self.provider.url() },
        })
    }

    fn session(&self) -> Value {
        json!({ "connection": self.signed_in_for("authorization-code"), "owner": "alice", "return-url": RETURN })
    }

    /// The code of somebody who came back by a link.
    #[track_caller]
    fn came_back(&self) -> String {
        let link = self.made("/v1/connect-sessions", &[], &self.session(), "link");
        let browser = Browser::that_stops_at(RETURN);
        let page = browser.open(&link);
        code_of(&browser.submit(&page, &[]))
    }

    fn webhook(&self, name: &str) -> Value {
        json!({ "url": self.service.base(), "name": name, "private": [self.service.authority()] })
    }

    fn connected(&self, name: &str) -> Value {
        json!({
            "connector": "tools", "auth-option": "header", "name": name, "private": [self.service.authority()],
            "parameters": { "base": self.service.base() }, "secrets": { "key": "another-key-3f1" },
        })
    }

    /// The OpenAPI document.
    pub(crate) fn document(&self) -> Value {
        self.running.asked("GET", "/v1/openapi.json", &[], None).json()
    }

    /// Asks a route for what `whose` names.
    pub(crate) fn ask(&self, key: &str, whose: &Named, route: &Route, query: &str) -> Answer {
        let path = format!("{}{query}", whose.path(&route.path));
        self.send(key, &route.method, &path, whose.body(self, route))
    }

    fn send(&self, key: &str, method: &str, path: &str, body: Option<Vec<u8>>) -> Answer {
        send(&self.client, &self.running.url, key, method, path, body)
    }

    /// One of each kind.
    #[track_caller]
    pub(crate) fn named(&self) -> Named {
        let running = &self.running;
        running.key("app", &[]);
        self.made("/v1/webhooks", &[], &self.webhook("told"), "name");
        let joined = join(&machine(), &running.url, &enroll(&running.attache));
        joined.done();
        let plant = running.ask(&self.ours, "GET", "/v1/gateways/plant", &[]).json();
        let proposed = self.send(&self.ours, "POST", "/v1/connectors/proposals", Some(wasm("tools")));
        let proposal = |body: &Value| self.made("/v1/connections/proposals", &[], body, "proposal");
        let code = self.came_back();
        let device = json!({ "proposal": proposal(&self.signed_in_for("device-code")) });
        let look = json!({ "url": self.service.base() });
        let later = [("prefer", "respond-async")];
        Named {
            connector: "oauth".into(),
            app: "oauth".into(),
            connection: "work".into(),
            operation: "look".into(),
            caller: "app".into(),
            webhook: "told".into(),
            gateway: "plant".into(),
            member: plant["members"][0]["id"].as_str().unwrap_or_else(|| panic!("{plant}")).into(),
            environment: "default".into(),
            call: self.made("/v1/connections/work/operations/look", &later, &look, "id"),
            session: self.made("/v1/connect-sessions", &[], &self.session(), "id"),
            device: self.made("/v1/device-authorizations", &[], &device, "authorization"),
            connector_proposal: proposed.json()["proposal"].as_str().unwrap().into(),
            connection_proposal: proposal(&self.connected("second")),
            device_proposal: proposal(&self.signed_in_for("device-code")),
            code,
        }
    }
}

impl Named {
    /// What nobody has.
    pub(crate) fn nobodys() -> Self {
        let name = || "nobodys".to_owned();
        let id = || NOBODYS.to_owned();
        Self {
            connector: name(),
            app: name(),
            connection: name(),
            operation: name(),
            caller: name(),
            webhook: name(),
            gateway: name(),
            member: id(),
            environment: name(),
            call: id(),
            session: id(),
            device: id(),
            connector_proposal: id(),
            connection_proposal: id(),
            device_proposal: id(),
            code: id(),
        }
    }

    fn all(&self) -> [&String; 16] {
        [
            &self.connector,
            &self.app,
            &self.connection,
            &self.operation,
            &self.caller,
            &self.webhook,
            &self.gateway,
            &self.member,
            &self.environment,
            &self.call,
            &self.session,
            &self.device,
            &self.connector_proposal,
            &self.connection_proposal,
            &self.device_proposal,
            &self.code,
        ]
    }

    /// A path of the OpenAPI document. One that has something else in it is to be put here too.
    pub(crate) fn path(&self, template: &str) -> String {
        let kind = template.split('/').nth(2).unwrap_or_default();
        let name = match kind {
            "apps" => &self.app,
            "callers" => &self.caller,
            "webhooks" => &self.webhook,
            "gateways" => &self.gateway,
            "environments" => &self.environment,
            _ => "",
        };
        let id = match kind {
            "calls" => &self.call,
            "connect-sessions" => &self.session,
            _ => "",
        };
        let parts = template.split('/').map(|part| {
            let value = match part {
                "{connector}" => &self.connector,
                "{connection}" => &self.connection,
                "{operation}" => &self.operation,
                "{member}" => &self.member,
                "{authorization}" => &self.device,
                "{name}" => name,
                "{id}" => id,
                _ => part,
            };
            assert!(!value.is_empty() || part.is_empty(), "nothing is known for `{part}` of {template}");
            assert!(!value.starts_with('{'), "nothing is known for `{part}` of {template}");
            value
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// A connection that somebody signs in for. Nobody's has no private address, which only who administers allows.
    fn signed_in_for(&self, story: &Story, name: &str) -> Value {
        let mut connection = story.signed_in_for("authorization-code");
        (connection["connector"], connection["name"]) = (self.connector.clone().into(), name.into());
        if self.connector == Self::nobodys().connector {
            connection["private"] = json!([]);
        }
        connection
    }

    /// What a route is sent, if it wants something.
    pub(crate) fn body(&self, story: &Story, route: &Route) -> Option<Vec<u8>> {
        route.has_body.then(|| self.wanted(story, &route.method, &route.path))
    }

    fn wanted(&self, story: &Story, method: &str, path: &str) -> Vec<u8> {
        let named = |name: &str| json!({ "name": name });
        let proposal = |proposal: &str| json!({ "proposal": proposal });
        let body = match (method, path) {
            ("post", "/v1/connectors/proposals") => return wasm("tools"),
            ("post", "/v1/connectors/approvals") => proposal(&self.connector_proposal),
            ("patch", "/v1/connectors/{connector}") => json!({ "isolation": "call" }),
            ("post", "/v1/connections") => proposal(&self.connection_proposal),
            ("post", "/v1/connections/proposals") => self.signed_in_for(story, "new"),
            ("post", "/v1/device-authorizations") => proposal(&self.device_proposal),
            ("post", "/v1/connect-sessions") => {
                let mut session = story.session();
                session["connection"] = self.signed_in_for(story, "another");
                session
            }
            ("post", "/v1/connect-sessions/confirmations") => json!({ "code": self.code, "owner": "alice" }),
            ("post", "/v1/callers") => {
                json!({ "name": "new", "permissions": ["call"], "connections": [self.connection] })
            }
            ("post", "/v1/webhooks") => story.webhook(&format!("new-{}", self.webhook)),
            ("post", "/v1/webhooks/{name}/secret" | "/v1/webhooks/{name}/redeliver") => json!({}),
            ("post", "/v1/gateways") => json!({ "name": self.gateway, "another": true }),
            ("post", "/v1/environments") => named(&self.environment),
            ("put", "/v1/apps/{connector}/{name}") => {
                json!({ "client-id": CLIENT.0, "origins": [story.provider.url()], "secrets": { "client_secret": CLIENT.1 } })
            }
            ("post", "/v1/apps/{connector}/{name}/sealing") => {
                json!({ "client-id": CLIENT.0, "origins": [story.provider.url()], "gateway": self.gateway })
            }
            (
                "post",
                "/v1/connections/{connection}/operations/{operation}"
                | "/v1/connections/{connection}/operations/{operation}/preview",
            ) => json!({ "url": story.service.base() }),
            _ => panic!("nothing is known to send to {method} {path}"),
        };
        body.to_string().into_bytes()
    }
}

/// An answer, without what may have been named: alike for what is somebody else's and what is nobody's.
pub(crate) fn without(all: &[&Named], text: &str) -> String {
    all.iter().flat_map(|it| it.all()).fold(text.to_owned(), |text, named| text.replace(named, "NAMED"))
}

/// All routes of a document, in an order in which nothing is removed before what is in it.
pub(crate) fn routes(document: &Value) -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            routes.push(Route {
                operation: described["operationId"].as_str().unwrap().into(),
                method: method.into(),
                path: path.into(),
                has_body: described["requestBody"].is_object(),
            });
        }
    }
    routes.sort_by_key(|it| (it.method == "delete", Reverse(it.path.clone())));
    routes
}

fn wasm(name: &str) -> Vec<u8> {
    fs::read(connector(name)).unwrap()
}

pub(crate) fn send(client: &Client, url: &str, key: &str, method: &str, path: &str, body: Option<Vec<u8>>) -> Answer {
    let method: Method = method.to_uppercase().parse().unwrap();
    let mut request = client.request(method, format!("{url}{path}")).bearer_auth(key);
    if let Some(body) = body {
        let kind = if body.starts_with(b"\0asm") { "application/wasm" } else { "application/json" };
        request = request.header("content-type", kind).body(body);
    }
    Answer::of(request.send().unwrap())
}

#[test]
fn on_no_route_does_a_key_of_another_environment_find_anything() {
    let story = story();
    let running = &story.running;
    let theirs = running.key("theirs", &[&EVERYTHING[..], &["--environment", "other"]].concat());
    let (named, nobodys) = (story.named(), Named::nobodys());
    let shown = running.ask(&story.ours, "GET", "/v1/connections/work", &[]).json();
    let by_id = Named { connection: shown["connection"]["id"].as_str().unwrap().into(), ..named.clone() };
    // They were called a moment ago.
    for connection in ["work", &by_id.connection] {
        let called = running.call_of(&story.ours, connection, "look", &[], &json!({ "url": story.service.base() }));
        assert_eq!(called.status, 200, "{called:?}");
    }
    let mut routes = routes(&story.document());
    // What is not below it is told to anybody.
    routes.retain(|route| route.path.starts_with("/v1/"));
    assert!(routes.len() > 45, "{}", routes.len());
    for route in &routes {
        let ours = story.ask(&theirs, &named, route, "");
        let unknown = story.ask(&theirs, &nobodys, route, "");
        let alike = |answer: &Answer| without(&[&named, &by_id, &nobodys], &answer.text);
        assert_eq!(ours.status, unknown.status, "{route:?}: {} {}", ours.text, unknown.text);
        // What they make is their own, each with an id.
        if unknown.status >= 300 || route.method == "get" {
            assert_eq!(alike(&ours), alike(&unknown), "{route:?}");
        }
        if route.path.contains("{connection}") {
            let ours = story.ask(&theirs, &by_id, route, "");
            assert_eq!((ours.status, alike(&ours)), (unknown.status, alike(&unknown)), "{route:?}");
        }
        // Naming the environment finds nothing either.
        let elsewhere = story.ask(&theirs, &named, route, "?environment=default");
        assert!([403, 404].contains(&elsewhere.status), "{route:?}: {}", elsewhere.text);
    }
    // All of it is there: with a key of its environment each is found, and what they did to it came to nothing.
    for route in &routes {
        let found = story.ask(&story.ours, &named, route, "");
        let went_with_its_last_member = route.operation == "gateways-remove";
        assert!(found.status != 404 || went_with_its_last_member, "{route:?}: {}", found.text);
        assert!(found.status < 500, "{route:?}: {}", found.text);
        assert_ne!(found.text, r#"{"state":"gone"}"#, "{route:?}");
    }
}

#[test]
fn no_list_has_anything_of_another_environment() {
    let story = story();
    let running = &story.running;
    // One of each kind, under a name that stands nowhere else.
    connect(&running.attache, "quince-work", &story.service);
    let client = ["--name", "quince-app", "--client-id", CLIENT.0, "--origin", story.provider.url()];
    running.attache.run(&[&["app", "set", "oauth"], &client[..]].concat()).done();
    running.key("quince-caller", &[]);
    story.made("/v1/webhooks", &[], &story.webhook("quince-told"), "name");
    join(&machine(), &running.url, &enroll_named(&running.attache, "quince-plant")).done();
    // A list that was read on beyond its end would have what comes behind it, so there is one environment before and one behind.
    running.attache.run(&["environment", "create", "another"]).done();
    let document = story.document();
    let lists: Vec<Route> = routes(&document).into_iter().filter(Route::is_list).collect();
    let items = |key: &str, path: &str| -> (String, Vec<Value>) {
        let answer = running.ask(key, "GET", path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let json = answer.json();
        let items = json.get("items").unwrap_or(&json).as_array().unwrap_or_else(|| panic!("{path}: {json}"));
        (answer.text, items.clone())
    };
    let word = |path: &str| match path {
        "/v1/connectors" => "tools",
        "/v1/environments" => "\"default\"",
        _ => "quince-",
    };
    for environment in ["another", "other"] {
        let theirs = running.key("theirs", &[&EVERYTHING[..], &["--environment", environment]].concat());
        for Route { path, .. } in &lists {
            let (text, shown) = items(&theirs, path);
            for other in &lists {
                assert!(!text.contains(word(&other.path)), "{path} of {environment}: {text}");
            }
            let names: Vec<_> = shown.iter().map(|it| it["name"].as_str().unwrap_or_default()).collect();
            match path.as_str() {
                "/v1/callers" => assert_eq!(names, ["theirs"], "{text}"),
                "/v1/environments" => assert_eq!(names, [environment], "{text}"),
                "/v1/audit" => {
                    let environments = shown.iter().map(|line| line["environment"].as_str().unwrap());
                    assert_eq!(environments.collect::<BTreeSet<_>>(), [environment].into(), "{text}");
                }
                _ => assert!(shown.is_empty(), "{path} of {environment}: {text}"),
            }
            let has = |name: &str| {
                let parameters = document["paths"][path]["get"]["parameters"].as_array();
                parameters.into_iter().flatten().any(|it| it["name"] == name)
            };
            if has("after") {
                assert_eq!(items(&theirs, &format!("{path}?after=zzz")).1, [] as [Value; 0], "{path} of {environment}");
            }
            if has("connection") {
                assert_eq!(items(&theirs, &format!("{path}?connection=quince-work")).1, [] as [Value; 0], "{path}");
            }
        }
    }
    // With a key of its own environment each has what was looked for.
    assert_eq!(lists.len(), 9, "{lists:?}");
    for Route { path, .. } in &lists {
        let text = items(&story.ours, path).0;
        assert!(text.contains(word(path)), "{path}: {text}");
    }
}

#[test]
fn a_key_that_is_made_anew_under_its_name_has_nothing_of_the_one_before() {
    let story = story();
    let running = &story.running;
    let named = story.named();
    running.attache.run(&["caller", "revoke", "ours"]).done();
    let again = running.key("ours", &EVERYTHING);
    for (path, body) in [
        ("/v1/connectors/approvals", json!({ "proposal": named.connector_proposal })),
        ("/v1/connections", json!({ "proposal": named.connection_proposal })),
        ("/v1/device-authorizations", json!({ "proposal": named.device_proposal })),
        ("/v1/connect-sessions/confirmations", json!({ "code": named.code, "owner": "alice" })),
    ] {
        story.post(&again, path, &[], &body).refused(404, "not-found");
    }
    let ask = |method: &str, path: &str| story.send(&again, method, path, None);
    ask("POST", &format!("/v1/device-authorizations/{}", named.device)).refused(404, "not-found");
    ask("GET", &format!("/v1/calls/{}", named.call)).refused(404, "not-found");
    assert_eq!(ask("GET", &format!("/v1/connect-sessions/{}", named.session)).json()["state"], "gone");
    // What came back with a link waits until its time is over, and becomes nothing.
    let listed = running.ask(&again, "GET", "/v1/connections", &[]).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
}
