//! Asked at a terminal: what is missing, hidden where it is secret.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Stdio},
};

use attache_tests::{Attache, connector, service::Service};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::{KEY, machine, with_echo};

/// A command at a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: File,
    seen: String,
    at: usize,
}

impl Terminal {
    fn run(attache: &Attache, arguments: &[&str]) -> Self {
        let controller: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let open = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        // `setsid --ctty` gives the command the terminal that rpassword opens as /dev/tty.
        let inner = attache.command(arguments);
        let mut command = std::process::Command::new("setsid");
        command.arg("--ctty").arg("--wait").arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child =
            command.stdin(Stdio::from(open())).stdout(Stdio::from(open())).stderr(Stdio::from(open())).spawn().unwrap();
        let keyboard = File::from(controller.as_fd().try_clone_to_owned().unwrap());
        Self { child, keyboard, screen: File::from(controller), seen: String::new(), at: 0 }
    }

    /// Reads on until these words are on the screen, behind those that were expected before.
    #[track_caller]
    fn expect(&mut self, words: &str) -> &mut Self {
        let mut buffer = [0; 4096];
        loop {
            if let Some(found) = self.seen[self.at..].find(words) {
                self.at += found + words.len();
                return self;
            }
            match self.screen.read(&mut buffer) {
                Ok(read) if read > 0 => self.seen.push_str(&String::from_utf8_lossy(&buffer[..read])),
                _ => panic!("expected “{words}”, and the screen has:\n{}", self.seen),
            }
        }
    }

    fn type_line(&mut self, text: &str) -> &mut Self {
        self.keyboard.write_all(format!("{text}\n").as_bytes()).unwrap();
        self
    }

    /// Types what the screen must not show, once the terminal has been told so.
    fn type_hidden(&mut self, text: &str) -> &mut Self {
        while tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ECHO) {
            std::thread::yield_now();
        }
        self.type_line(text)
    }

    /// Waits for the end and gives the exit code and the whole screen.
    fn end(mut self) -> (Option<i32>, String) {
        let mut buffer = [0; 4096];
        // Reading fails once the command has let go of the terminal.
        while let Ok(read @ 1..) = self.screen.read(&mut buffer) {
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        (self.child.wait().unwrap().code(), self.seen)
    }
}

#[test]
fn an_operator_is_asked_before_a_connector_is_added() {
    let attache = machine();
    for (answer, code, words) in [("n", 4, "was not added"), ("", 4, "was not added"), ("y", 0, "Added weather")] {
        let file = connector("weather");
        let mut terminal = Terminal::run(&attache, &["connector", "add", &file]);
        terminal.expect("Add it? [y/N]").type_line(answer);
        let (ended, screen) = terminal.end();
        assert_eq!(ended, Some(code), "{screen}");
        assert!(screen.contains(words), "{screen}");
    }
}

#[test]
fn an_owner_is_asked_for_what_is_missing_and_the_secret_is_hidden() {
    let service = Service::plain();
    let attache = with_echo();
    let mut terminal = Terminal::run(&attache, &["connect", "echo", "--allow-private", &service.authority()]);
    terminal.expect("Which one").type_line("basic");
    terminal.expect("The base (base; the connector can read this)").type_line("no url");
    terminal.expect("is not a URL").expect("The base").type_line(&service.base());
    terminal.expect("The open (open; the connector can read this; Enter for none)").type_line("");
    terminal.expect("The other").type_line("");
    terminal.expect("The user (user; the connector can read this)").type_line("jo");
    terminal.expect("The key (key) (hidden)").type_hidden(KEY);
    terminal.expect("Connect? [y/N]").type_line("y");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("Connected `echo`"), "{screen}");
    assert!(!screen.contains(KEY), "{screen}");
}

#[test]
fn several_values_are_asked_for_until_there_are_no_more() {
    let (first, second) = (Service::plain(), Service::plain());
    let mut attache = machine();
    attache.set("STORY_KEY", KEY);
    attache.add("several");
    let allowed = [first.authority(), second.authority()];
    let mut arguments = vec!["connect", "several", "--secret", "key=env:STORY_KEY"];
    arguments.extend(allowed.iter().flat_map(|address| ["--allow-private", address]));
    let mut terminal = Terminal::run(&attache, &arguments);
    terminal.expect("The hosts (hosts; the connector can read this)").type_line(&first.base());
    terminal.expect("and (Enter when there are no more)").type_line("no url");
    terminal.expect("and (Enter").type_line("");
    terminal.expect("is not a URL").expect("The hosts").type_line(&first.base());
    terminal.expect("and (Enter").type_line(&second.base());
    terminal.expect("and (Enter").type_line("");
    terminal.expect("Connect? [y/N]").type_line("y");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains(&format!("hosts = {}, {}", first.base(), second.base())), "{screen}");
}

#[test]
fn a_no_makes_nothing() {
    let service = Service::plain();
    let attache = with_echo();
    let base = format!("base={}", service.base());
    let mut terminal = Terminal::run(
        &attache,
        &[
            "connect",
            "echo",
            "--auth",
            "header",
            "--set",
            &base,
            "--set",
            "open=https://a.example",
            "--set",
            "other=https://b.example",
            "--secret",
            "key=env:STORY_KEY",
            "--allow-private",
            &service.authority(),
        ],
    );
    terminal.expect("Connect? [y/N]").type_line("n");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(4), "{screen}");
    assert!(service.received().is_empty());
}

#[test]
fn the_store_is_free_while_a_person_thinks() {
    let attache = machine();
    let file = connector("weather");
    let mut terminal = Terminal::run(&attache, &["connector", "add", &file]);
    terminal.expect("Add it? [y/N]");
    attache.run(&["environment", "create", "meanwhile"]).done();
    terminal.type_line("y");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn a_key_is_replaced_or_kept_when_reconnecting() {
    let service = Service::plain();
    let attache = crate::with_echo();
    // The same before and after: what is stored does not go where it never went.
    let with = ["--set", "open=https://a.example", "--set", "other=https://b.example"];
    crate::connect(&attache, "header", &service, &with).done();
    let mut terminal = Terminal::run(&attache, &[&["connection", "reconnect", "echo"], &with[..]].concat());
    terminal.expect("Enter keeps the one that is stored").type_hidden("");
    terminal.expect("Connect? [y/N]").type_line("y");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
}
