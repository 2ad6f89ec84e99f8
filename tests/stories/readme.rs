//! What README says is what there is.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use crate::machine;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap()
}

/// The commands of its shell blocks, with continued lines joined.
fn commands() -> Vec<String> {
    let text = readme().replace("\\\n", " ");
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_command_in_it_is_one_that_the_command_line_knows() {
    let mut known = 0;
    for line in commands().iter().filter(|line| line.starts_with("attache ")) {
        // The shell splits the words, as it would for a reader.
        let script = format!("attache() {{ printf '%s\\0' \"$@\"; }}; {line}");
        let words =
            Command::new("sh").args(["-c", &script]).env("DIGEST", "0".repeat(64)).env("CODE", "x").output().unwrap();
        let words = String::from_utf8(words.stdout).unwrap();
        let arguments: Vec<&str> = words.split_terminator('\0').collect();
        known += 1;
        if arguments.first() == Some(&"serve") {
            serves(&arguments);
            continue;
        }
        let outcome = machine().run(&arguments);
        assert!(!outcome.err.contains("Usage:") && !outcome.err.contains("not JSON"), "{line}:\n{}", outcome.err);
    }
    assert!(known > 10);
}

/// A host that runs until it is ended says where it is.
#[track_caller]
fn serves(arguments: &[&str]) {
    let machine = machine();
    let mut arguments = arguments.to_vec();
    // It listens on a port of its own, wherever readers would have it listen.
    match arguments.iter().position(|argument| *argument == "--listen") {
        Some(at) => arguments[at + 1] = "127.0.0.1:0",
        None => arguments.extend(["--listen", "127.0.0.1:0"]),
    }
    let mut host = machine.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(url.starts_with("http"), "{arguments:?}: {url}");
}

#[test]
fn every_script_command_in_it_is_one_that_the_script_knows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let help = Command::new(root.join("dev")).arg("help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for line in commands().iter().filter(|line| line.starts_with("./dev ")) {
        let verb = line.split_whitespace().nth(1).unwrap();
        assert!(help.lines().any(|known| known.split_whitespace().next() == Some(verb)), "{verb}");
    }
}

#[test]
fn every_exit_code_in_it_is_in_the_help() {
    let help = machine().run(&["--help"]).done();
    for code in 0..=8 {
        assert!(readme().contains(&format!("| {code} |")), "{code}");
        assert!(help.contains(&format!("{code} ")), "{code}");
    }
}
