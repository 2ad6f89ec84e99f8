//! Every verb while a host runs: through it, or not its business.

use attache_tests::{Attache, connector, service::Service};
use serde_json::json;

use crate::{KEY, connected, serving};

/// What the host has nothing to do with, and why.
const BESIDE_IT: [(&str, &str); 14] = [
    ("build", "compiles"),
    ("completions", "prints"),
    ("config show", "tells this process's own settings"),
    ("demo", "has a data directory of its own"),
    ("gateway join", "is a gateway's, which is another machine"),
    ("gateway recovery-key", "is a gateway's"),
    ("gateway rotate-key", "is a gateway's"),
    ("gateway run", "is a gateway's"),
    ("gateway verify", "is a gateway's"),
    ("key generate", "prints"),
    ("key show", "tells where the key comes from"),
    ("restore", "makes a data directory"),
    ("serve", "is a host, and waits a while for the one that runs to end"),
    ("simulate", "is a provider"),
];

#[test]
fn every_verb_goes_through_the_host_that_runs_or_has_nothing_to_do_with_it() {
    let service = Service::plain();
    let mut attache = connected(&service);
    attache.set("KEY", KEY);
    let (_host, _) = serving::serve(&attache, &[]);
    let (http, hook) = (connector("http"), format!("{}/hook", service.base()));
    let (base, backup) = (format!("base-url={}/", service.base()), attache.folder().join("backup"));
    let input = json!({ "url": format!("{}/x", service.base()) }).to_string();
    let (private, backup) = (service.authority(), backup.to_str().unwrap());
    let by_key = ["--auth", "api-key-header", "--set", &base, "--set", "header=X-Key", "--secret", "key=env:KEY"];
    let by_key = [&by_key[..], &["--allow-private", &private, "--yes"]].concat();
    let link = ["session", "create", "http", "--owner", "jo", "--return-url", "https://app.example/back"];
    // In an order in which one makes what the next one looks at. What is not there is told by whoever has the store.
    let through: &[(&str, &[&str], i32)] = &[
        ("connector add", &[&http, "--yes"], 0),
        ("connector list", &[], 0),
        ("connector show", &["http"], 0),
        ("connector isolate", &["http", "call"], 0),
        ("app set", &["http", "--client-id", "me", "--origin", &service.base()], 0),
        ("app list", &[], 0),
        ("app show", &["http"], 0),
        ("connect", &[&["http"][..], &by_key].concat(), 0),
        ("connection list", &[], 0),
        ("connection show", &["http"], 0),
        ("connection check", &["http"], 0),
        ("connection reconnect", &[&["http"][..], &by_key[2..]].concat(), 0),
        ("call", &["echo", "send", "--input", &input], 0),
        ("consent list", &[], 0),
        ("consent show", &["http"], 0),
        ("consent revoke", &["http"], 0),
        ("connection remove", &["http", "--yes"], 0),
        ("app remove", &["http", "--yes"], 0),
        ("session create", &[&link[2..], &["--auth", "oauth2"]].concat(), 5),
        ("session confirm", &["nothing", "--owner", "jo"], 3),
        ("connector remove", &["http"], 0),
        ("caller create", &["app"], 0),
        ("caller list", &[], 0),
        ("caller revoke", &["app"], 0),
        ("webhook add", &[&hook, "--name", "app", "--allow-private", &private], 0),
        ("webhook list", &[], 0),
        ("webhook show", &["app"], 0),
        ("webhook test", &["app"], 0),
        ("webhook enable", &["app"], 0),
        ("webhook messages", &["app"], 0),
        ("webhook redeliver", &["app"], 0),
        ("webhook rotate", &["app"], 0),
        ("webhook remove", &["app"], 0),
        ("gateway enroll", &["plant"], 0),
        ("gateway list", &[], 0),
        ("gateway show", &["plant"], 3),
        ("gateway remove", &["plant", "--yes"], 3),
        ("environment create", &["other"], 0),
        ("environment list", &[], 0),
        ("environment remove", &["other"], 0),
        ("audit list", &[], 0),
        ("audit verify", &[], 0),
        ("backup", &[backup], 0),
        ("key rotate", &[], 0),
        ("store check", &[], 0),
        ("console", &["--no-browser"], 0),
        ("mcp", &[], 0),
    ];
    let known: Vec<&str> = through.iter().map(|it| it.0).chain(BESIDE_IT.map(|it| it.0)).collect();
    let verbs = verbs(&attache, &[]);
    assert!(verbs.len() > 50, "{verbs:?}");
    for verb in &verbs {
        assert!(known.contains(&verb.as_str()), "{verb}: does it go through a host that runs?");
    }
    for verb in known {
        assert!(verbs.iter().any(|it| it == verb), "there is no {verb}");
    }
    for (verb, more, code) in through {
        let arguments = [&verb.split(' ').collect::<Vec<_>>(), *more].concat();
        let outcome = attache.run_with_input(&arguments, "");
        assert_eq!(outcome.code, Some(*code), "{arguments:?}: {outcome:?}");
    }
}

/// Every verb that does something, as `--help` lists them below these words.
fn verbs(attache: &Attache, below: &[&str]) -> Vec<String> {
    let help = attache.run(&[below, &["--help"]].concat()).done();
    let listed = help.split_once("Commands:\n").map(|(_, rest)| rest.split_once("\n\n").map_or(rest, |(list, _)| list));
    match listed {
        None => vec![below.join(" ")],
        Some(list) => list
            .lines()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .flat_map(|verb| verbs(attache, &[below, &[verb]].concat()))
            .collect(),
    }
}
