//! The HTTP API is what its OpenAPI document says: others' tools read it, make clients of it, and find nothing else.

use std::{env, fs, path::Path, process::Command};

use attache_tests::{peers::installed, service::Service};
use serde_json::{Value, json};

use crate::operating::{Running, start, with_tools};

const EVERYTHING: [&str; 8] = ["--may", "call", "--may", "connect", "--may", "administer", "--allow", "destructive"];

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
