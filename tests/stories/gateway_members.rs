//! Machines of one gateway, which stand in for each other; and another that takes a lost one's place.

use std::{fs, os::unix::fs::PermissionsExt};

use attache_tests::{Attache, Outcome, service::Service};
use serde_json::json;

use crate::{
    gateway::{Gateway, Plant, enroll, join},
    machine,
    mcp::Slow,
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
    let lost = members[0]["id"].as_str().unwrap();
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
