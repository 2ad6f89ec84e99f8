//! Machines of one gateway, which stand in for each other; and another that takes a lost one's place.

use std::{fs, os::unix::fs::PermissionsExt};

use attache_tests::{Attache, Outcome, peers::oidc, service::Service};
use serde_json::json;

use crate::{
    gateway::{Gateway, Plant, enroll, join},
    machine,
    mcp::Slow,
    serving,
};

/// Another machine of the gateway `plant`, and its recovery key's file, which the first one wrote.
pub(crate) fn another(plant: &Plant) -> (Attache, String) {
    let (second, file) = (machine(), plant.private.folder().join("plant.recovery").to_str().unwrap().to_owned());
    plant.private.run(&["gateway", "recovery-key", "--to", &file]).done();
    (second, file)
}

pub(crate) fn join_with(private: &Attache, url: &str, code: &str, recovery: &str) -> Outcome {
    let recovery = format!("file:{recovery}");
    let how = ["gateway", "join", "--host", url, "--code", "-", "--recovery-key", &recovery, "--output", "json"];
    private.run_with_input(&how, code)
}

#[test]
fn machines_of_one_gateway_stand_in_for_each_other_while_calls_run() {
    let slow = Slow::start();
    let mut plant = Plant::reaching(&slow.service.authority());
    plant.connect(&slow.service.base());
    let first = plant.attache.run(&["gateway", "show", "plant", "--output", "json"]).json();
    let lost = first["members"][0]["id"].as_str().unwrap();
    let (second, recovery) = another(&plant);
    assert_eq!(fs::metadata(&recovery).unwrap().permissions().mode() & 0o777, 0o600);
    plant.private.run(&["gateway", "recovery-key", "--to", &recovery]).refused(2, "is not written over");
    let code = plant.attache.run(&["gateway", "enroll", "plant", "--another"]).done();
    // One with a key of its own could open nothing.
    join(&machine(), &plant.url, &code).refused(5, "This machine has another key than the gateway `plant`");
    let joined = join_with(&second, &plant.url, &code, &recovery).json();
    assert_eq!(joined["fingerprint"], json!(plant.key));
    let (reads, writes) = (plant.get("/slow"), plant.post("/slow"));
    slow.asked(2);
    let mut beside = Gateway(Some(second.begin(&["gateway", "run", "--allow", &slow.service.authority()])));
    beside.said("Connected to");
    let shown = plant.attache.run(&["gateway", "show", "plant", "--output", "json"]).json();
    let members = shown["members"].as_array().unwrap();
    assert!(members.len() == 2 && members.iter().all(|it| it["state"] == "connected"), "{shown}");
    // The machine is lost; nobody starts it again.
    plant.running = None;
    writes.ended().refused(6, "so that nobody knows whether the service received it");
    slow.asked(3);
    slow.release();
    assert!(reads.ended().done().contains("200"));
    assert!(plant.post("/x").ended().done().contains("200"));
    plant.attache.run(&["gateway", "remove", "plant", "--member", lost, "--yes"]).done();
    assert!(plant.get("/x").ended().done().contains("200"));
    let shown = plant.attache.run(&["gateway", "show", "plant", "--output", "json"]).json();
    assert_eq!(shown["members"].as_array().map(Vec::len), Some(1), "{shown}");
}

#[test]
fn a_lost_machine_is_replaced_by_one_with_the_recovery_key_and_nothing_is_typed_again() {
    let service = Service::plain();
    let mut plant = Plant::reaching(&service.authority());
    plant.connect(&service.base());
    let (second, recovery) = another(&plant);
    plant.running = None;
    plant.attache.run(&["gateway", "remove", "plant", "--yes"]).done();
    plant.get("/x").ended().refused(4, "The gateway `plant` was removed.");
    join_with(&second, &plant.url, &enroll(&plant.attache), &recovery).done();
    plant.private = second;
    plant.run(&[&service.authority()]);
    assert!(plant.get("/x").ended().done().contains("hello from GET /x"));
    assert!(service.received().last().unwrap().header("authorization").is_some());
    let wrong = plant.attache.file("wrong.recovery", "attache_recovery_AAAA");
    join_with(&machine(), &plant.url, "attache_gateway_x", &wrong).refused(2, "");
}

#[test]
fn a_gateway_gets_another_key_and_nothing_is_typed_again() {
    let oidc = oidc(&json!({}));
    let service = Service::plain();
    let mut plant = Plant::joined();
    plant.run(&[&service.authority(), &oidc.peer.authority()]);
    plant.connect(&service.base());
    plant.attache.add("oauth");
    plant.attache.set("MACHINE_SECRET", "machine-secret-of-the-test");
    let (base, to) = (oidc.peer.base(), ["--gateway", "plant", "--gateway-key", &plant.key.clone()]);
    let app =
        ["app", "set", "oauth", "--client-id", "machine", "--client-secret", "env:MACHINE_SECRET", "--origin", &base];
    plant.attache.run(&[&app[..], &to].concat()).done();
    let set = [format!("base={base}"), format!("issuer={base}")];
    let robot =
        ["connect", "oauth", "--auth", "machine", "--set", &set[0], "--set", &set[1], "--client-credentials", "--yes"];
    plant.attache.run(&[&robot[..], &to].concat()).done();
    let file = plant.private.data().join("gateway/gateway.key");
    let before = fs::read(&file).unwrap();
    plant.private.run(&["gateway", "rotate-key"]).refused(8, "");
    plant.running = None;
    // A line that breaks leaves the old key in force, and the new one for another try.
    let host = plant.host.take();
    drop(host);
    plant.private.run(&["gateway", "rotate-key"]).refused(6, "");
    let between = fs::read(&file).unwrap();
    let port = plant.url.rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    plant.host = Some(serving::serve_at(&plant.attache, &port));
    plant.run(&[&service.authority(), &oidc.peer.authority()]);
    assert!(plant.get("/x").ended().done().contains("hello from GET /x"));
    plant.running = None;
    let rotated = plant.private.run(&["gateway", "rotate-key", "--output", "json"]).json();
    assert_eq!((&rotated["before"], &rotated["boxes"]), (&json!(plant.key), &json!(4)), "{rotated}");
    let key = rotated["fingerprint"].as_str().unwrap().to_owned();
    assert_ne!(key, plant.key);
    // As it would be found by one that was killed before it heard that all is in place.
    fs::write(&file, &between).unwrap();
    for _ in 0..2 {
        plant.run(&[&service.authority(), &oidc.peer.authority()]);
        assert!(plant.get("/x").ended().done().contains("hello from GET /x"));
        assert_eq!(
            service.received().last().unwrap().header("authorization").map(|it| it.starts_with("Basic ")),
            Some(true)
        );
        oidc.forget_access_tokens();
        let input = json!({ "url": format!("{base}/api/me") });
        assert_eq!(plant.attache.call("oauth", "send", &input)["status"], 200);
        plant.running = None;
        plant.private.run(&["gateway", "rotate-key"]).done();
    }
    let shown = plant.attache.run(&["connection", "show", "http", "--output", "json"]).json();
    let now = plant.attache.run(&["gateway", "show", "plant", "--output", "json"]).json();
    assert_eq!(shown["consent"]["gateway"]["key"], now["fingerprint"], "{shown}");
    assert_eq!(plant.attache.run(&["store", "check", "--output", "json"]).json()["findings"], json!([]));
    // Whoever has the old key has nothing that it opens, and is not taken for the gateway.
    fs::write(&file, &before).unwrap();
    plant.private.run(&["gateway", "run", "--allow", &service.authority()]).refused(5, "another key");
}

#[test]
fn other_machines_of_a_gateway_are_not_left_with_a_key_that_opens_nothing() {
    let service = Service::plain();
    let mut plant = Plant::reaching(&service.authority());
    plant.connect(&service.base());
    let first = plant.attache.run(&["gateway", "show", "plant", "--output", "json"]).json();
    let (second, recovery) = another(&plant);
    let code = plant.attache.run(&["gateway", "enroll", "plant", "--another"]).done();
    join_with(&second, &plant.url, &code, &recovery).done();
    plant.running = None;
    plant
        .private
        .run(&["gateway", "rotate-key"])
        .refused(5, "has other machines, which would be left with the old key");
    plant.run(&[&service.authority()]);
    assert!(plant.get("/x").ended().done().contains("hello from GET /x"));
    // They leave, and come back with the new one.
    plant.running = None;
    let shown = plant.attache.run(&["gateway", "show", "plant", "--output", "json"]).json();
    let members = shown["members"].as_array().unwrap();
    let other = members.iter().find(|it| it["id"] != first["members"][0]["id"]).unwrap()["id"].as_str().unwrap();
    plant.attache.run(&["gateway", "remove", "plant", "--member", other, "--yes"]).done();
    plant.private.run(&["gateway", "rotate-key"]).done();
    let new = plant.private.folder().join("new.recovery").to_str().unwrap().to_owned();
    plant.private.run(&["gateway", "recovery-key", "--to", &new]).done();
    let code = plant.attache.run(&["gateway", "enroll", "plant", "--another"]).done();
    join_with(&second, &plant.url, &code, &new).refused(2, "To join anew, move");
    fs::rename(second.data().join("gateway"), second.data().join("gateway-of-before")).unwrap();
    join_with(&second, &plant.url, &code, &recovery)
        .refused(5, "This machine has another key than the gateway `plant`");
    join_with(&second, &plant.url, &code, &new).done();
    plant.private = second;
    plant.run(&[&service.authority()]);
    assert!(plant.get("/x").ended().done().contains("hello from GET /x"));
}
