//! `attache build`, and what it says where it cannot.

use std::fs;

use crate::machine;

#[test]
fn a_folder_without_a_crate_is_refused() {
    let attache = machine();
    let folder = attache.folder().to_str().unwrap().to_owned();
    attache.run(&["build", &folder]).refused(2, "There is no Cargo.toml in");
}

#[test]
fn a_machine_without_the_target_is_told_the_command_that_installs_it() {
    let mut attache = machine();
    let rustc = attache.file("rustc", "#!/bin/sh\necho /nowhere\n");
    fs::set_permissions(&rustc, <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755)).unwrap();
    attache.file("Cargo.toml", "");
    attache.set("RUSTC", &rustc);
    let folder = attache.folder().to_str().unwrap().to_owned();
    attache
        .run(&["build", &folder])
        .refused(2, "has no target for WebAssembly")
        .refused(2, "rustup target add wasm32-unknown-unknown");
}

#[test]
fn a_machine_without_rust_is_told_where_it_comes_from() {
    let mut attache = machine();
    attache.file("Cargo.toml", "");
    attache.set("RUSTC", "/nowhere/rustc");
    let folder = attache.folder().to_str().unwrap().to_owned();
    attache.run(&["build", &folder]).refused(2, "There is no Rust compiler here.").refused(2, "rustup");
}
