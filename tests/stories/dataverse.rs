//! The connector `dataverse`, against a real server of OData v4 (@sap/cds) that takes tokens of a real provider
//! (oidc-provider), both under the names that Dataverse and Entra have.

use attache_tests::{
    Attache, Running,
    world::{Double, World, with_names},
};
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, enroll, join},
    serving,
};

const ENVIRONMENT: &str = "contoso.crm4.dynamics.com";
const NAMES: [&str; 2] = [ENVIRONMENT, "login.microsoftonline.com"];

struct Story<'a> {
    world: &'a World,
    double: Double,
    attache: Attache,
}

/// The double, and a machine with the connector and an app.
fn story<'a>(world: &'a World, app: &[&str]) -> Story<'a> {
    let double = world.double("dataverse.mjs");
    let mut attache = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.set("ROBOT_SECRET", "robot-secret-of-the-test");
    attache.add("dataverse");
    attache.run(&[&["app", "set", "dataverse"], app].concat()).done();
    Story { world, double, attache }
}

const PERSONS_APP: [&str; 2] = ["--client-id", "6f1f2f5e-aaaa-4bbb-8ccc-0123456789ab"];
const ROBOT: [&str; 4] = ["--client-id", "6f1f2f5e-aaaa-4bbb-8ccc-0123456789ac", "--client-secret", "env:ROBOT_SECRET"];

impl Story<'_> {
    fn begin(&self, more: &[&str]) -> Running {
        let environment = format!("environment={ENVIRONMENT}");
        let allowed = self.world.allowed();
        let fixed = ["connect", "dataverse", "--timeout", "60", "--set", &environment];
        let all = fixed.into_iter().chain(allowed.iter().map(String::as_str)).chain(more.iter().copied());
        self.attache.begin(&all.collect::<Vec<_>>())
    }

    #[track_caller]
    fn connect_person(&self) {
        let mut running = self.begin(&["--auth", "oauth2"]);
        let link = running.said("http://127.0.0.1");
        let browser = self.world.browser();
        let provider = browser.submit(&browser.open(&link), &[]);
        assert_eq!(provider.url.host_str(), Some("login.microsoftonline.com"), "{} {}", provider.url, provider.html);
        let last = browser.submit(&provider, &[]);
        assert!(last.html.contains("Connected"), "{}", last.html);
        assert!(running.ended().done().contains("Connected `dataverse`: jo@contoso.example."));
    }

    #[track_caller]
    fn connect_robot(&self) {
        let tenant = "tenant=contoso.example";
        let out = self.begin(&["--auth", "application", "--set", tenant, "--yes"]).ended().done();
        assert!(out.contains("Connected `dataverse`: # Robot."), "{out}");
    }

    #[track_caller]
    fn call(&self, operation: &str, input: Value) -> Value {
        self.attache.call("dataverse", operation, &input)
    }

    #[track_caller]
    fn refused(&self, operation: &str, input: Value, code: i32, words: &str) {
        self.attache.try_call("dataverse", operation, &input).refused(code, words);
    }

    fn create(&self, name: &str, revenue: u32) -> Value {
        let row = json!({ "name": name, "revenue": revenue });
        self.call("create", json!({ "table": "accounts", "row": row }))["row"]["accountid"].clone()
    }

    fn tokens(&self) -> Vec<Value> {
        self.double.asked_for("/oauth2/v2.0/token")
    }
}

#[test]
fn the_double_is_taken_for_entra_by_microsofts_own_client() {
    with_names(&NAMES, |world| {
        let seen = world.client("dataverse-client.mjs", &world.double("dataverse.mjs"));
        let [person, robot] = ["01", "02"].map(|end| json!(format!("5f0e9d3a-0d3b-4d0a-9d36-2b9d4f1c7a{end}")));
        assert_eq!((&seen["person"], &seen["renewed"], &seen["robot"]), (&person, &person, &robot), "{seen}");
        assert_eq!((&seen["kind"], &seen["same"]), (&json!("Bearer"), &json!(false)));
        assert!(seen["page"].as_str().unwrap().starts_with("https://login.microsoftonline.com/"), "{seen}");
        assert_eq!(seen["stranger"]["code"], "invalid_client", "{seen}");
    });
}

#[test]
fn the_environment_says_what_a_person_is_asked_for_and_the_token_is_renewed_for_it() {
    with_names(&NAMES, |world| {
        let story = story(world, &PERSONS_APP);
        story.connect_person();
        let scope = "https://contoso.crm4.dynamics.com/.default offline_access";
        let tables = json!({ "tables": ["accounts", "contacts", "systemusers"] });
        assert_eq!(story.call("list-tables", json!({})), tables);
        story.double.let_it("forget");
        assert_eq!(story.call("list-tables", json!({})), tables);
        let tokens = story.tokens();
        let grants: Vec<&Value> = tokens.iter().map(|asked| &asked["grant_type"]).collect();
        assert_eq!(grants, ["authorization_code", "refresh_token"]);
        assert_eq!(tokens[1]["scope"], scope, "Entra renews for the service that is named");
    });
}

#[test]
fn a_person_signs_in_on_another_device() {
    with_names(&NAMES, |world| {
        let story = story(world, &PERSONS_APP);
        let mut running = story.begin(&["--auth", "oauth2", "--device", "--yes"]);
        let line = running.said("enter the code");
        let (page, code) = line.split_once(" and enter the code ").unwrap();
        let browser = story.world.browser();
        let asked = browser.open(page.trim_start_matches("Go to "));
        assert_eq!(asked.url.host_str(), Some("login.microsoftonline.com"), "{}", asked.url);
        let confirm = browser.submit(&asked, &[("user_code", code)]);
        let person = browser.submit(&confirm, &[("confirm", "yes")]);
        let done = browser.submit(&person, &[]);
        assert_eq!(done.status, 200, "{}", done.html);
        assert!(running.ended().done().contains("Connected `dataverse`: jo@contoso.example."));
        let scope = "https://contoso.crm4.dynamics.com/.default offline_access";
        assert_eq!(story.double.asked_for("/oauth2/v2.0/devicecode")[0]["scope"], scope);
        let tables = json!({ "tables": ["accounts", "contacts", "systemusers"] });
        assert_eq!(story.call("list-tables", json!({})), tables);
    });
}

#[test]
fn an_app_signs_in_as_itself_and_only_at_hosts_that_are_dataverses() {
    with_names(&NAMES, |world| {
        let story = story(world, &ROBOT);
        story.connect_robot();
        assert_eq!(story.tokens()[0]["scope"], "https://contoso.crm4.dynamics.com/.default");
        for elsewhere in ["contoso.crm.dynamics.com.evil.example", "evil.example", "contoso.crm4.dynamics.com:444"] {
            let environment = format!("environment={elsewhere}");
            let more =
                ["--auth", "application", "--name", "other", "--set", "tenant=x", "--set", &environment, "--yes"];
            story.begin(&more).ended().refused(2, "environment");
        }
    });
}

#[test]
fn rows_are_made_read_changed_and_deleted() {
    with_names(&NAMES, |world| {
        let story = story(world, &ROBOT);
        story.connect_robot();
        let id = story.create("Fabrikam", 100);
        let at = |more: Value| {
            let mut input = json!({ "table": "accounts", "id": id });
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            input
        };
        let read = story.call("read", at(json!({ "select": ["name"] })));
        assert_eq!((&read["row"]["name"], read["row"].get("revenue")), (&json!("Fabrikam"), None));
        let updated = story.call("update", at(json!({ "row": { "telephone1": "555-0100" } })));
        assert_eq!((&updated["row"]["telephone1"], &updated["row"]["name"]), (&json!("555-0100"), &json!("Fabrikam")));
        assert_eq!(story.call("delete", at(json!({}))), json!({ "done": true }));
        story.refused("read", at(json!({})), 3, "Not Found");
        // What is not there is not made either: Dataverse, other than CAP, would do so unless told.
        story.refused("update", at(json!({ "row": { "name": "Ghost" } })), 3, "Not Found");
        let asked = story.double.asked_for(&format!("/api/data/v9.2/accounts({})", id.as_str().unwrap()));
        let changes: Vec<_> = asked.iter().filter(|asked| asked["method"] == "PATCH").collect();
        assert!(changes.len() == 2 && changes.iter().all(|asked| asked["only_if"] == "*"), "{asked:?}");
        assert_eq!(story.call("query", json!({ "table": "accounts" }))["rows"], json!([]));
    });
}

#[test]
fn a_query_is_odata_and_its_pages_lead_on_within_the_table() {
    with_names(&NAMES, |world| {
        let story = story(world, &ROBOT);
        story.connect_robot();
        for (name, revenue) in [("A & B's", 1), ("Größe", 2), ("C", 3), ("D", 4), ("E", 5)] {
            story.create(name, revenue);
        }
        let names = |answer: &Value| -> Vec<Value> {
            answer["rows"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect()
        };
        let query = |more: Value| {
            let mut input = json!({ "table": "accounts", "select": ["name"], "order-by": ["revenue desc"] });
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            story.call("query", input)
        };
        assert_eq!(names(&query(json!({ "filter": "revenue lt 4", "top": 2 }))), ["C", "Größe"]);
        assert_eq!(
            names(&query(json!({ "filter": "name eq 'A & B''s' or contains(name, 'ö')" }))),
            ["Größe", "A & B's"]
        );
        let first = query(json!({ "page-size": 3 }));
        assert_eq!(names(&first), ["E", "D", "C"]);
        let second = story.call("query", json!({ "table": "accounts", "next": first["next"] }));
        assert_eq!((names(&second), second.get("next")), (vec![json!("Größe"), json!("A & B's")], None));
        let asked = story.double.asked_for("/api/data/v9.2/accounts");
        assert!(asked.iter().any(|asked| asked["prefer"] == "odata.maxpagesize=3" && asked["version"] == "4.0"));
        for elsewhere in ["contacts?$skiptoken=1", "https://evil.example/accounts", "../v9.1/accounts", "/accounts"] {
            let input = json!({ "table": "accounts", "next": elsewhere });
            story.refused("query", input, 2, "`next` is not what an earlier page of this list gave");
        }
    });
}

#[test]
fn what_the_service_refuses_is_told_in_its_words() {
    with_names(&NAMES, |world| {
        let story = story(world, &ROBOT);
        story.connect_robot();
        story.refused("query", json!({ "table": "accounts", "filter": "nonsense eq 1" }), 2, "nonsense");
        story.refused(
            "create",
            json!({ "table": "accounts", "row": { "revenue": 1 } }),
            2,
            "Provide the missing value",
        );
        story.refused("query", json!({ "table": "nothing" }), 3, "nothing");
        story.refused("query", json!({ "table": "accounts/$count" }), 2, "a table's name");
        story.refused("delete", json!({ "table": "accounts", "id": "1) or (true" }), 2, "`id` is a GUID");
        story.double.let_it("limit");
        story.refused("list-tables", json!({}), 6, "wait 17 s");
    });
}

#[test]
fn a_gateway_reaches_the_environment_and_its_provider_for_a_host_that_reaches_neither() {
    with_names(&NAMES, |world| {
        let double = world.double("dataverse.mjs");
        let mut attache = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
        attache.add("dataverse");
        let (_host, url) = serving::serve(&attache, &[]);
        attache.set("ROBOT_SECRET", "robot-secret-of-the-test");
        let private = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
        let key = join(&private, &url, &enroll(&attache)).json()["fingerprint"].as_str().unwrap().to_owned();
        let allowed = NAMES.map(|name| format!("{name}:443"));
        let run = ["gateway", "run", "--allow", &allowed[0], "--allow", &allowed[1]];
        let mut gateway = Gateway(Some(private.begin(&run)));
        gateway.said("Connected to");
        let to = ["--gateway", "plant", "--gateway-key", &key];
        attache.run(&[&["app", "set", "dataverse"], &ROBOT[..], &to].concat()).done();
        let environment = format!("environment={ENVIRONMENT}");
        let fixed = ["connect", "dataverse", "--auth", "application", "--set", &environment, "--yes"];
        let connect = [&fixed[..], &["--set", "tenant=contoso.example"], &to].concat();
        // The host itself was allowed nothing private, and needs nothing.
        assert!(attache.run(&connect).done().contains("Connected `dataverse`: # Robot."));
        let story = Story { world, double, attache };
        let row = story.create("Through the gateway", 7);
        let read = story.call("read", json!({ "table": "accounts", "id": row }));
        assert_eq!(read["row"]["name"], "Through the gateway", "{read}");
        story.double.let_it("forget");
        let query = json!({ "table": "accounts", "filter": "revenue eq 7", "select": ["name"] });
        assert_eq!(story.call("query", query)["rows"].as_array().map(Vec::len), Some(1));
        story.call("delete", json!({ "table": "accounts", "id": row }));
        assert_eq!(story.tokens().len(), 2, "one more after the first was forgotten");
    });
}
