//! A parameter that has several values: one connection reaches each of them, and its owner sees each of them.

use attache_tests::{Attache, Outcome, service::Service};
use serde_json::json;

use crate::machine;

fn with_several() -> Attache {
    let mut attache = machine();
    attache.set("STORY_KEY", crate::KEY);
    attache.add("several");
    attache
}

fn connect(attache: &Attache, verb: &[&str], hosts: &[&Service]) -> Outcome {
    let mut arguments: Vec<String> = verb.iter().map(|it| (*it).to_owned()).collect();
    arguments.extend(["--secret", "key=env:STORY_KEY", "--yes"].map(str::to_owned));
    for host in hosts {
        arguments.extend(["--set".into(), format!("hosts={}", host.base())]);
        arguments.extend(["--allow-private".into(), host.authority()]);
    }
    attache.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn each_value_is_an_origin_that_its_owner_sees_and_the_credential_goes_to() {
    let (first, second, other) = (Service::plain(), Service::plain(), Service::plain());
    let attache = with_several();
    let added = attache.run(&["connector", "show", "several"]).done();
    assert!(added.contains("hosts (url), several"), "{added}");
    assert!(added.contains("{hosts}, one for each value of `hosts`"), "{added}");
    // One is given twice, which makes no third origin.
    let shown = connect(&attache, &["connect", "several"], &[&first, &second, &first]).err;
    let goes_to = shown.split_once("the credential goes to\n").unwrap().1;
    let origins: Vec<&str> = goes_to.lines().take_while(|line| line.starts_with("    ")).map(str::trim).collect();
    assert_eq!(origins, [first.base(), second.base()]);
    let consent = attache.run(&["--output", "json", "consent", "show", "several"]).json();
    assert_eq!(consent["origins"], json!([first.base(), second.base()]));
    let kept = attache.run(&["connection", "show", "several"]).done();
    assert!(kept.contains(&format!("hosts = {}, {}", first.base(), second.base())), "{kept}");

    let seen = attache.run(&["--output", "json", "call", "several", "connection"]).json();
    assert_eq!(seen["audience"], json!([first.base(), second.base()]));
    let typed = [&first, &second, &first].map(Service::base);
    assert_eq!(seen["hosts"], typed.join("\n"));
    for (service, error) in [(&first, json!(null)), (&second, json!(null)), (&other, json!("denied"))] {
        let input = json!({ "url": format!("{}/x", service.base()) }).to_string();
        let seen = attache.run(&["--output", "json", "call", "several", "send", "--input", &input]).json();
        assert_eq!(seen["error"], error, "{seen}");
    }
    for service in [&first, &second] {
        assert_eq!(service.received().last().unwrap().header("x-api-key"), Some(crate::KEY));
    }
    assert!(other.received().is_empty());
}

#[test]
fn connecting_again_replaces_all_of_them() {
    let (first, second) = (Service::plain(), Service::plain());
    let attache = with_several();
    connect(&attache, &["connect", "several"], &[&first, &second]).done();
    connect(&attache, &["connection", "reconnect", "several"], &[&second]).done();
    let consent = attache.run(&["--output", "json", "consent", "show", "several"]).json();
    assert_eq!(consent["origins"], json!([second.base()]));
}

#[test]
fn every_value_is_checked_and_where_one_is_wanted_two_are_refused() {
    let attache = with_several();
    let try_with = |hosts: &[&str]| {
        let given = hosts.iter().map(|host| format!("hosts={host}")).collect::<Vec<_>>();
        let set = given.iter().flat_map(|given| ["--set", given]);
        attache.run(&[&["connect", "several", "--secret", "key=env:STORY_KEY"], &set.collect::<Vec<_>>()[..]].concat())
    };
    try_with(&["https://a.example", "no url"]).refused(2, "is not a URL");
    try_with(&["https://a.example", ""]).refused(2, "is empty");
    try_with(&["https://a.example", "https://10.0.0.1"]).refused(5, "--allow-private 10.0.0.1:443");
    let many: Vec<String> = (0..33).map(|number| format!("https://{number}.example")).collect();
    try_with(&many.iter().map(String::as_str).collect::<Vec<_>>()).refused(2, "has 33 values; it may have 32");

    attache.add("echo");
    let twice = ["--set", "base=https://a.example", "--set", "base=https://b.example"];
    attache
        .run(&[&["connect", "echo", "--auth", "none", "--yes"], &twice[..]].concat())
        .refused(2, "this parameter takes one value");
}

#[test]
fn anywhere_but_in_an_audience_it_is_refused_when_the_connector_is_added() {
    let attache = machine();
    attache
        .run(&["connector", "add", &attache_tests::connector("several-in-header"), "--yes"])
        .refused(2, "`{names}` uses `names`, which may have several values and so stands in an audience only");
}
