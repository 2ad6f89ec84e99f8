//! The HTTP API is what its OpenAPI document says: others' tools read it, make clients of it, and find nothing else.

use std::{env, fs, path::Path, process::Command};

use attache_tests::{peers::installed, service::Service};
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::{
    operating::{Answer, Running, start, with_tools},
    tenants::{EVERYTHING, Route, routes, send, story},
};

/// A host that takes as many requests as come.
fn patient(service: &Service) -> (Running, String) {
    let attache = with_tools(service);
    attache.configure("[traffic]\ncaller-per-second = 100000\ncaller-burst = 100000\nconnection-per-second = 100000\nconnection-burst = 100000\n");
    let running = start(attache, &[]);
    let key = running.key("app", &EVERYTHING);
    (running, key)
}

fn document(running: &Running, folder: &Path) -> String {
    let path = folder.join("openapi.json");
    fs::write(&path, running.asked("GET", "/v1/openapi.json", &[], None).text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn whatever_is_sent_the_answer_is_one_that_the_document_tells_of() {
    let (running, key) = patient(&Service::plain());
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                  response_headers_conformance,ignored_auth";
    let mut schemathesis = Command::new(installed("python/bin/schemathesis", "schemathesis"));
    schemathesis
        .args(["run", &format!("{}/v1/openapi.json", running.url), "-H", &format!("Authorization: Bearer {key}")])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "-n",
            "12",
            "--seed",
            "1",
            "--continue-on-failure",
            "-c",
            checks,
        ])
        .args(["--no-color", "--generation-database", "none"])
        .env("SCHEMATHESIS_HOOKS", "api_hooks")
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("peers"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(running.attache.folder());
    let output = schemathesis.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let count = |what: &str| -> Option<usize> {
        said.lines().find_map(|line| line.trim().strip_prefix(what)?.trim().split('/').next()?.parse().ok())
    };
    // What was left out would have found nothing.
    assert!(count("Selected:").is_some_and(|selected| selected >= 38), "{said}");
    assert_eq!(count("Tested:"), count("Selected:"), "{said}");
    let listed = running.ask(&key, "GET", "/v1/connections", &[]);
    assert_eq!((listed.status, &listed.json()["items"][0]["name"]), (200, &json!("work")), "{listed:?}");
}

#[test]
fn a_client_that_was_made_of_the_document_works() {
    let service = Service::plain();
    let (running, key) = patient(&service);
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    fs::write(
        folder.path().join("config.yml"),
        "post_hooks: []\ncontent_type_overrides:\n  application/wasm: application/octet-stream\n",
    )
    .unwrap();
    let mut generator = Command::new(installed("python/bin/openapi-python-client", "openapi-python-client"));
    generator
        .args(["generate", "--meta", "none", "--fail-on-warning", "--path", &document(&running, folder.path())])
        .args(["--config", "config.yml", "--output-path", made.to_str().unwrap()])
        .current_dir(folder.path());
    let output = generator.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let mut client = Command::new(installed("python/bin/python", "the Python of the peers"));
    client
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/api_client.py"))
        .args([folder.path().to_str().unwrap(), &running.url, &key, &service.base()])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = client.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["connections"], json!([["work", "tools"]]), "{seen}");
    assert!(seen["operations"].as_array().unwrap().contains(&json!("look")), "{seen}");
    assert_eq!(seen["called"]["status"], 200, "{seen}");
    assert_eq!(seen["missing"], json!([404, "not-found"]), "{seen}");
    assert!(service.received().last().unwrap().line.contains("/made"));
}

/// Demands that an answer is one that the document tells of: what it is, and that its schema has it.
#[track_caller]
fn fits(document: &Value, route: &Route, answer: &Answer) {
    let told = &document["paths"][&route.path][&route.method]["responses"];
    let told = told.get(answer.status.to_string()).unwrap_or(&told["default"]);
    let Some(content) = told["content"].as_object() else { return assert_eq!(answer.text, "", "{route:?}") };
    let kind = answer.header("content-type");
    let told = content.get(kind).unwrap_or_else(|| panic!("{route:?}: {kind} of status {}", answer.status));
    let mut schema = told["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    let json = answer.json();
    let wrong: Vec<_> = validator.iter_errors(&json).map(|it| format!("{it} at {}", it.instance_path())).collect();
    assert!(wrong.is_empty(), "{route:?}: {wrong:?} in {json}");
}

#[test]
fn what_goes_well_is_answered_as_the_document_says() {
    let story = story();
    let (named, document) = (story.named(), story.document());
    // From there on its schemas are JSON Schema (OpenAPI 3.1, 4.8.24).
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    // What is of no environment is the operator's, who asks at the socket.
    let operators = ["audit-verify", "store-check", "environments-create", "environments-remove"];
    let socket = Client::builder().unix_socket(story.running.attache.data().join("attache.sock")).build().unwrap();
    let mut new = named.clone();
    new.environment = "new".into();
    let routes = routes(&document);
    // Whoever does not wait is told where to ask.
    let call = routes.iter().find(|route| route.operation == "calls-call").unwrap();
    let (path, input) = (named.path(&call.path), json!({ "url": story.service.base() }));
    let early = story.post(&story.ours, &path, &[("prefer", "respond-async")], &input);
    assert_eq!(early.status, 202, "{early:?}");
    fits(&document, call, &early);
    let mut refused = Vec::new();
    for route in &routes {
        let answer = match operators.contains(&&*route.operation) {
            true => send(&socket, "http://host", "", &route.method, &new.path(&route.path), new.body(&story, route)),
            false => story.ask(&story.ours, &named, route, ""),
        };
        fits(&document, route, &answer);
        if answer.status >= 300 {
            refused.push((&*route.operation, answer.status));
        }
        let empty = [json!([]), json!({ "items": [], "next": null })];
        assert!(!route.is_list() || !empty.contains(&answer.json()), "{route:?}");
    }
    // The one went with its last member, the other is in use.
    assert_eq!(refused, [("gateways-remove", 404), ("connectors-remove", 403)]);
}
