//! An operator adds a connector, and what is none is refused with the reason.

use std::fs;

use attache_tests::connector;
use serde_json::json;

use crate::machine;

/// Writes a component or module given as text, and adds it.
fn add_wat(text: &str) -> attache_tests::Outcome {
    let attache = machine();
    let file = attache.file("it.wasm", wat::parse_str(text).unwrap());
    attache.run(&["connector", "add", &file, "--yes"])
}

fn add(name: &str) -> attache_tests::Outcome {
    machine().run(&["connector", "add", &connector(name), "--yes"])
}

#[test]
fn what_is_not_webassembly_is_refused() {
    let attache = machine();
    let text = attache.file("it.wasm", "hello");
    attache.run(&["connector", "add", &text, "--yes"]).refused(2, "The file is not WebAssembly.");
    let empty = attache.file("it.wasm", "");
    attache.run(&["connector", "add", &empty, "--yes"]).refused(2, "The file is empty.");
    attache.run(&["connector", "add", "/nowhere.wasm", "--yes"]).refused(3, "/nowhere.wasm cannot be read");
}

#[test]
fn a_core_module_is_refused() {
    add_wat("(module)").refused(2, "The file is a core WebAssembly module, not a component.");
}

#[test]
fn a_truncated_component_is_refused() {
    let attache = machine();
    let bytes = fs::read(connector("echo")).unwrap();
    let file = attache.file("it.wasm", &bytes[..bytes.len() / 2]);
    attache.run(&["connector", "add", &file, "--yes"]).refused(2, "The file is not a valid component");
}

#[test]
fn a_component_without_the_contracts_exports_is_refused() {
    add_wat("(component)").refused(2, "The component does not export `attache:connector/manifest@0.1.0`");
}

#[test]
fn an_import_that_the_host_does_not_offer_is_refused_by_name() {
    add_wat(r#"(component (import "evil:files/open@1.0.0" (instance)))"#)
        .refused(2, "The connector imports `evil:files/open@1.0.0`, which the host does not offer.");
}

#[test]
fn a_file_over_the_limit_is_refused() {
    let attache = machine();
    attache.configure("[limits]\ncomponent-bytes = 1000\n");
    attache
        .run(&["connector", "add", &connector("echo"), "--yes"])
        .refused(5, "a connector may have 1000")
        .refused(5, "limits.component-bytes");
}

#[test]
fn one_that_takes_too_long_to_compile_is_refused() {
    let attache = machine();
    attache.configure("[limits]\ncompile-seconds = 0\n");
    attache
        .run(&["connector", "add", &connector("echo"), "--yes"])
        .refused(5, "Compiling the connector took longer than 0 s.")
        .refused(5, "limits.compile-seconds");
}

#[test]
fn one_that_traps_while_describing_itself_is_refused() {
    add("describe-traps").refused(7, "The connector could not describe itself: The connector trapped");
}

#[test]
fn one_that_tries_the_network_while_describing_itself_is_refused() {
    add("describe-network").refused(5, "tried to reach `https://collector.example/loot` while describing itself");
}

#[test]
fn one_that_never_finishes_describing_itself_is_refused() {
    let attache = machine();
    attache.configure("[limits]\ndescribe-seconds = 1\n");
    attache.run(&["connector", "add", &connector("describe-spins"), "--yes"]).refused(7, "limits.describe-seconds");
}

#[test]
fn a_manifest_that_breaks_a_promise_is_refused() {
    add("secret-in-host").refused(5, "a secret (`key`) cannot stand in a host");
    add("public-password")
        .refused(5, "a password or key may use only secrets, and `password` is one that the connector can read");
    add("public-signing-key").refused(5, "signs with `key`, which the connector can read");
    add("no-audience").refused(5, "it attaches a credential but names no audience");
}

#[test]
fn a_manifest_that_does_not_parse_is_refused_with_the_place() {
    add("bad-template")
        .refused(2, "The auth option `key`: its attachment `header`: `{key` is no template: expected `}` at column 5");
}

#[test]
fn the_approval_shows_everything_that_is_agreed_to() {
    let attache = machine();
    let shown = attache.run(&["connector", "add", &connector("azure-blob"), "--yes"]).done();
    for part in [
        "azure-blob 0.1.0",
        "sha256:",
        "key (secret)",
        "account (label)",
        "{endpoint} || https://{account}.blob.core.windows.net",
        "header Authorization (Azure SharedKey)",
        "destructive  delete-container",
        "read         list-blobs",
        "attache:connector/http@0.1.0",
    ] {
        assert!(shown.contains(part), "expected “{part}” in:\n{shown}");
    }
    assert!(attache.run(&["connector", "show", "azure-blob"]).done().contains("destructive  delete-container"));
    let listed = attache.run(&["--output", "json", "connector", "list"]).json();
    assert_eq!(listed[0]["connector"], "azure-blob");
}

#[test]
fn nobody_is_asked_without_a_terminal_so_approval_must_be_given() {
    let attache = machine();
    let refused =
        attache.run(&["connector", "add", &connector("echo")]).refused(4, "The connector `echo` needs approval");
    let digest = refused.err.lines().find_map(|line| line.trim().strip_prefix("sha256:")).unwrap().to_owned();
    attache.run(&["connector", "add", &connector("echo"), "--digest", &digest]).done();
    let other = "0".repeat(64);
    attache.run(&["connector", "add", &connector("echo"), "--digest", &other]).refused(5, "not 0000");
    attache.run(&["connector", "add", &connector("echo"), "--digest", "abc"]).refused(2, "64 hex digits");
}

#[test]
fn an_upgrade_that_wants_more_shows_the_difference_and_yes_is_not_enough() {
    let attache = machine();
    attache.add("upgrade-a");
    let refused = attache
        .run(&["connector", "add", &connector("upgrade-b"), "--yes"])
        .refused(4, "may do more than the one that is there")
        .refused(4, "new origin that receives the credential: https://two.example (key)")
        .refused(4, "new operation: change (write)");
    let digest = refused.err.split("--digest ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    let before = attache.run(&["--output", "json", "connector", "list"]).json();
    assert_eq!(before[0]["version"], "1.0.0");
    let shown = attache.run(&["connector", "add", &connector("upgrade-b"), "--digest", &digest]).done();
    assert!(shown.contains("MAY DO MORE THAN BEFORE"), "{shown}");
    // The way back takes things away, which nobody needs to be asked about.
    attache.run(&["connector", "add", &connector("upgrade-a"), "--yes"]).done();
}

#[test]
fn a_connector_that_is_used_stays() {
    let attache = machine();
    attache.add("greedy");
    attache.run(&["connect", "greedy", "--yes"]).done();
    attache.run(&["connector", "remove", "greedy"]).refused(5, "is used by greedy");
    attache.run(&["connection", "remove", "greedy", "--yes"]).done();
    attache.run(&["connector", "remove", "greedy"]).done();
    attache.run(&["connector", "show", "greedy"]).refused(3, "There is no connector `greedy`");
    let files = fs::read_dir(attache.data().join("connectors")).unwrap().count();
    assert_eq!(files, 0);
}

#[test]
fn a_compiled_file_that_was_changed_cut_or_swapped_is_compiled_again() {
    let attache = machine();
    attache.add("greedy");
    attache.add("upgrade-a");
    attache.run(&["connect", "greedy", "--yes"]).done();
    let compiled = |name: &str| {
        let digest = attache.run(&["--output", "json", "connector", "show", name]).json()["approval"]["digest"].clone();
        let folder = fs::read_dir(attache.data().join("connectors")).unwrap().flatten();
        let mut files = folder.map(|entry| entry.path());
        files
            .find(|path| {
                path.to_string_lossy().contains(digest.as_str().unwrap()) && path.extension().unwrap() == "cwasm"
            })
            .unwrap()
    };
    let file = compiled("greedy");
    let good = fs::read(&file).unwrap();
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for bad in [changed, good[..good.len() / 2].to_vec(), Vec::new(), fs::read(compiled("upgrade")).unwrap()] {
        fs::write(&file, bad).unwrap();
        assert_eq!(attache.call("greedy", "wait", &json!({})), json!(true));
        // Compiling is the same every time, so the file is what it was.
        assert_eq!(fs::read(&file).unwrap(), good);
    }
}

#[test]
fn a_connector_that_uses_the_component_models_async_runs_as_any_other() {
    let attache = machine();
    attache.configure("[limits]\ncompute-seconds = 1\n");
    // A section of canonical functions (component model, binary format) with one that nobody calls: `context.get i32 0`.
    let section = [8, 4, 1, 0x0a, 0x7f, 0];
    let bytes = [&fs::read(connector("greedy")).unwrap()[..], &section].concat();
    let file = attache.file("it.wasm", bytes);
    attache.run(&["connector", "add", &file, "--yes"]).done();
    attache.run(&["connect", "greedy", "--yes"]).done();
    assert_eq!(attache.call("greedy", "wait", &json!({})), json!(true));
    // What was compiled is kept, so that it is not compiled again.
    for entry in fs::read_dir(attache.data().join("connectors")).unwrap().flatten() {
        if entry.path().extension().unwrap() == "wasm" {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(attache.call("greedy", "wait", &json!({})), json!(true));
    attache.try_call("greedy", "spin", &json!({})).refused(7, "it computed for more than 1 s");
}

#[test]
fn the_file_of_a_connector_that_is_not_the_approved_one_is_not_run() {
    let attache = machine();
    attache.add("greedy");
    attache.run(&["connect", "greedy", "--yes"]).done();
    for entry in fs::read_dir(attache.data().join("connectors")).unwrap().flatten() {
        match entry.path().extension().unwrap().to_str().unwrap() {
            "cwasm" => fs::remove_file(entry.path()).unwrap(),
            _ => fs::write(entry.path(), fs::read(connector("echo")).unwrap()).unwrap(),
        }
    }
    attache.try_call("greedy", "wait", &json!({})).refused(8, "is not the one that was approved");
}
