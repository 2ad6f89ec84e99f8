//! What scripts rely on: exit codes, JSON on the right stream, pipes that close.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};

use crate::machine;

#[test]
fn results_go_to_standard_output_and_failures_to_standard_error() {
    let attache = machine();
    let outcome = attache.run(&["--output", "json", "call", "nobody", "nothing"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(3), ""));
    let error: Value = serde_json::from_str(&outcome.err).unwrap();
    assert_eq!(error["error"]["kind"], "not-found");
    assert!(error["error"]["message"].as_str().unwrap().contains("There is no connection `nobody`"));
    assert!(error["error"]["hint"].as_str().unwrap().contains("attache connection list"));
}

#[test]
fn a_command_line_that_makes_no_sense_is_2_in_both_formats() {
    let attache = machine();
    attache.run(&["nonsense"]).refused(2, "unrecognized subcommand");
    attache.run(&["connect"]).refused(2, "<CONNECTOR>");
    let outcome = attache.run(&["--output", "json", "nonsense"]);
    let error: Value = serde_json::from_str(&outcome.err).unwrap();
    assert_eq!((outcome.code, &error["error"]["kind"]), (Some(2), &json!("usage")));
}

#[test]
fn help_has_examples_and_exit_codes() {
    let attache = machine();
    let help = attache.run(&["--help"]).done();
    for part in ["Examples:", "Exit codes:", "connector", "audit", "ATTACHE_DATA_DIR"] {
        assert!(help.contains(part), "expected “{part}” in:\n{help}");
    }
    for verb in ["connect", "call", "build", "simulate", "demo", "completions"] {
        assert!(attache.run(&[verb, "--help"]).done().contains("Example"), "{verb}");
    }
    assert!(attache.run(&["completions", "bash"]).done().contains("_attache"));
    attache.run(&["--version"]).done();
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let attache = machine();
    let mut child =
        attache.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn the_settings_say_where_each_value_came_from() {
    let mut attache = machine();
    attache.configure("environment = \"file\"\n[limits]\nwall-seconds = 7\n");
    let shown = |attache: &attache_tests::Attache, arguments: &[&str]| {
        attache.run(&[arguments, &["--output", "json", "config", "show"]].concat()).json()
    };
    let settings = shown(&attache, &[]);
    assert_eq!(settings["environment"], json!({ "value": "file", "source": "file" }));
    assert_eq!(settings["limits.wall-seconds"], json!({ "value": 7, "source": "file" }));
    assert_eq!(settings["concurrency"]["source"], "default");
    attache.set("ATTACHE_ENVIRONMENT", "variable");
    assert_eq!(shown(&attache, &[])["environment"], json!({ "value": "variable", "source": "variable" }));
    assert_eq!(
        shown(&attache, &["--environment", "flag"])["environment"],
        json!({ "value": "flag", "source": "flag" })
    );
    attache.configure("[transport]\ntotal-seconds = 18446744073709551615\n");
    attache.run(&["config", "show"]).refused(2, "it may be 86400 at the most");
    attache.configure("[transport]\ntotal-seconds = 9000000000000\n");
    attache
        .run(&["config", "show"])
        .refused(2, "`transport.total-seconds` is 9000000000000; it may be 86400 at the most");
    attache.configure("concurrency = 0\n");
    attache.run(&["config", "show"]).refused(2, "nothing could run");
    attache.configure("nonsense = 1\n");
    attache.run(&["config", "show"]).refused(2, "unknown field `nonsense`");
    attache.set("ATTACHE_CONFIG", "/nowhere.toml");
    attache.run(&["config", "show"]).refused(2, "/nowhere.toml");
}

#[test]
fn the_demo_shows_the_point_and_leaves_nothing_behind() {
    let mut attache = machine();
    let temporary = attache.folder().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    attache.set("TMPDIR", temporary.to_str().unwrap());
    let weather = attache_tests::connector("weather");
    attache_tests::connector("http");
    let connectors = Path::new(&weather).parent().unwrap().to_str().unwrap();
    let outcome = attache.run(&["demo", "--connectors", connectors]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    for part in [
        "sends the credential to  {base-url}",
        "the key that you stored, whole",
        "asked with the key *****",
        "and enter the code",
        "status 200, authorization: Bearer *****",
        "once for a token, once for a new one",
        "lines, whole",
    ] {
        assert!(outcome.err.contains(part), "expected “{part}” in:\n{}", outcome.err);
    }
    assert!(!attache.data().exists() && !attache.key_file().exists());
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    machine().run(&["demo"]).refused(3, "The sources of the connectors are not here");
}
