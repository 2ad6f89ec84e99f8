//! What Attaché does, told from outside: one file per story, each test in a folder of its own, against real services where
//! there are any.

mod adding;
mod agreed;
mod anew;
mod api;
mod app_origins;
mod approving;
mod audit;
mod azure;
mod backup;
mod backup_hostile;
mod basic;
mod building;
mod busy;
mod calling;
mod canary;
mod canary_grants;
mod canary_oauth;
mod canary_schemes;
mod canary_served;
mod charts;
mod checking;
mod chromium;
mod client_certificate;
mod command_line;
mod connecting;
mod console;
mod console_changes;
mod console_guard;
mod container;
mod dataverse;
mod described;
mod device;
mod egress;
mod ended;
mod environments;
mod facebook;
mod full;
mod fuzz;
mod gateway;
mod gateway_members;
mod gateway_network;
mod gateway_oauth;
mod gateway_registering;
mod gateway_rotating;
mod gateway_signing;
mod gateway_trouble;
mod github;
mod held_back;
mod hostile;
mod hostile_addresses;
mod hostile_service;
mod hostile_ways_out;
mod http;
mod isolation;
mod keys;
mod killed;
mod last_used;
mod limits;
mod links;
mod links_hostile;
mod links_once;
mod links_typed;
mod made_once;
mod mcp;
mod mcp_beside;
mod mcp_http;
mod mcp_keys;
mod mcp_mending;
mod mixed_up;
mod mutual_tls;
mod namesakes;
mod oauth;
mod operating;
mod packaging;
mod pending;
mod permissions;
mod pools;
mod prompts;
mod providers;
mod quirks;
mod readme;
mod redirects;
mod refreshing;
mod refreshing_killed;
mod registering;
mod revoking;
mod s3;
mod scrubbing;
mod sent_back;
mod serving;
mod sessions;
mod several;
mod signing_in;
mod simulating;
mod simulating_quirks;
mod simulating_tls;
mod store;
mod synced;
mod tenants;
mod token_answers;
mod token_certificate;
mod traces;
mod traffic;
mod verbs;
mod visiting;
mod waiting;
mod watching;
mod webhooks;
mod webhooks_addresses;
mod webhooks_owner;
mod webhooks_redelivered;
mod webhooks_sessions;
mod x;

use attache_tests::{Attache, Outcome, service::Service};

/// A fresh machine with the command under test.
fn machine() -> Attache {
    Attache::new(env!("CARGO_BIN_EXE_attache-under-test"))
}

/// The key that connections of these stories have.
const KEY: &str = "story-key-8f1c02";

/// A machine with the echo guest, connected to a service by a header with [`KEY`].
fn connected(service: &Service) -> Attache {
    let attache = with_echo();
    connect(&attache, "header", service, &[]).done();
    attache
}

/// A program that only root may run, by whoever runs the stories.
fn as_root(program: &str) -> std::process::Command {
    if rustix::process::getuid().is_root() {
        return std::process::Command::new(program);
    }
    let mut sudo = std::process::Command::new("sudo");
    sudo.args(["-n", program]);
    sudo
}

/// A machine with the echo guest.
fn with_echo() -> Attache {
    let mut attache = machine();
    attache.set("STORY_KEY", KEY);
    attache.add("echo");
    attache
}

/// Connects the echo guest by one of its auth options.
fn connect(attache: &Attache, option: &str, service: &Service, more: &[&str]) -> Outcome {
    let base = format!("base={}", service.base());
    let authority = service.authority();
    let mut arguments =
        vec!["connect", "echo", "--auth", option, "--set", &base, "--allow-private", &authority, "--yes"];
    if option != "none" {
        arguments.extend(["--secret", "key=env:STORY_KEY"]);
    }
    arguments.extend(more);
    attache.run(&arguments)
}
