//! Agents of a host that runs: `attache mcp` beside it, and links that lead to its console where a consent is missing.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use attache_tests::{
    mcp::{McpClient, Sdk},
    service::Service,
};
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::{
    console_guard,
    mcp::{Slow, lists_and_calls, outcome, shows, soon, the_inspector_does},
    operating::{Running, connect, start, with_tools},
};

fn running(service: &Service) -> Running {
    start(with_tools(service), &[])
}

#[test]
fn clients_that_start_a_command_share_the_host_that_runs() {
    let service = Service::plain();
    let running = running(&service);
    let mut clients: Vec<_> = Sdk::ALL.map(|sdk| McpClient::stdio(sdk, &running.attache, &[])).into();
    // Three at once, and the command line beside them.
    for client in &mut clients {
        lists_and_calls(client, &service);
    }
    let callers = running.attache.run(&["--output", "json", "audit", "list", "--event", "call-ended"]).json();
    assert!(callers.as_array().unwrap().iter().all(|line| line["caller"] == "mcp:tester"), "{callers}");
    the_inspector_does(Err((&running.attache, &["--connection", "work"])), &service);
}

#[test]
fn a_command_beside_a_host_offers_what_its_line_says_and_nothing_else() {
    let service = Service::plain();
    let running = running(&service);
    connect(&running.attache, "second", &service);
    running.attache.run(&["environment", "create", "elsewhere"]).done();
    let names = |arguments: &[&str]| McpClient::stdio(Sdk::Npm, &running.attache, arguments).names();
    assert!(names(&["--connection", "second"]).iter().all(|name| name.starts_with("second_")));
    assert!(!names(&[]).contains(&"work_change".to_owned()));
    let more = names(&["--allow", "write"]);
    assert!(more.contains(&"work_change".to_owned()) && !more.contains(&"work_destroy".to_owned()), "{more:?}");
    assert_eq!(names(&["--environment", "elsewhere"]), Vec::<String>::new());
    running.attache.run(&["mcp", "--connection", "nobody"]).refused(3, "nobody");
    running.attache.run(&["--environment", "nowhere", "mcp"]).refused(3, "nowhere");
}

#[test]
fn clients_beside_a_host_are_told_when_their_tools_are_others() {
    for sdk in Sdk::ALL {
        let service = Service::plain();
        let running = running(&service);
        let mut client = McpClient::stdio(sdk, &running.attache, &[]);
        if sdk == Sdk::Python {
            client.listen();
        }
        let has_second = |client: &mut McpClient| client.names().contains(&"second_look".to_owned());
        assert!(!has_second(&mut client), "{sdk:?}");
        connect(&running.attache, "second", &service);
        assert_eq!(client.notice(), json!({ "changed": true }));
        assert!(has_second(&mut client), "{sdk:?}");
        let seen = client.call("second_look", json!({ "url": service.base() }));
        assert_eq!(seen["structuredContent"]["status"], 200, "{seen}");
        running.attache.run(&["consent", "revoke", "second"]).done();
        assert_eq!(client.notice(), json!({ "changed": true }));
        assert!(!has_second(&mut client), "{sdk:?}");
    }
}

#[test]
fn a_call_that_is_given_up_beside_a_host_ends_there() {
    let slow = Slow::start();
    let running = running(&slow.service);
    let audit = running.attache.data().join("audit.log");
    let mut client = McpClient::stdio(Sdk::Npm, &running.attache, &[]);
    client.begin("work_look", slow.input());
    slow.asked(1);
    client.cancel();
    soon("the call never ended", || outcome(&audit).as_deref() == Some("cancelled"));
    // Nor does one whose client goes away go on.
    client.begin("work_look", slow.input());
    slow.asked(2);
    let ended = || running.attache.run(&["--output", "json", "audit", "list", "--event", "call-ended"]).json();
    drop(client);
    soon("the call of a client that went away never ended", || ended().as_array().unwrap().len() == 2);
    slow.release();
}

#[test]
fn a_host_that_stops_says_so_to_the_command_beside_it() {
    let mut running = running(&Service::plain());
    let mut command = running.attache.command(&["--output", "json", "mcp"]);
    let mut mcp = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let about = json!({ "name": "story", "version": "1" });
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": about });
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello });
    writeln!(mcp.stdin.as_mut().unwrap(), "{hello}").unwrap();
    let mut welcome = String::new();
    BufReader::new(mcp.stdout.as_mut().unwrap()).read_line(&mut welcome).unwrap();
    assert!(welcome.contains("attache"), "{welcome}");
    running.stop();
    let ended = mcp.wait_with_output().unwrap();
    let said: Value = serde_json::from_slice(&ended.stderr).unwrap();
    assert_eq!((ended.status.code(), &said["error"]["kind"]), (Some(6), &json!("unreachable")), "{said}");
    assert!(said["error"]["hint"].as_str().unwrap().contains("attache serve"), "{said}");
}

#[test]
fn the_way_in_for_commands_is_on_the_socket_alone() {
    let running = running(&Service::plain());
    let key = running.key("all", &["--may", "administer", "--may", "call", "--allow", "destructive"]);
    let wanted = json!({ "environment": "default", "connections": null, "effects": [] });
    let upgrade = [("connection", "upgrade"), ("upgrade", "attache-mcp"), ("authorization", &*format!("Bearer {key}"))];
    assert_eq!(running.asked("POST", "/v1/mcp", &upgrade, Some(&wanted)).status, 404);
}

#[test]
fn a_consent_that_is_missing_leads_to_the_page_of_the_console_that_mends_it() {
    let service = Service::plain();
    let running = running(&service);
    let key = running.key("reads", &[]);
    running.attache.run(&["consent", "revoke", "work"]).done();
    let link = format!("{}/console/connect?again=work&environment=default", running.url);
    for beside in [false, true] {
        let mut client = if beside {
            McpClient::stdio_with_links(Sdk::Npm, &running.attache, &[])
        } else {
            McpClient::http_with_links(Sdk::Python, &format!("{}/mcp", running.url), &key)
        };
        shows(&link, &mut client, "work_look", &json!({ "url": service.base() }));
    }
    // The link lets nobody in.
    let stranger = Client::new().get(&link).send().unwrap();
    assert_eq!(stranger.status(), 401);
    assert!(stranger.text().unwrap().contains("open this page again"));
    // Whoever is signed in mends it there.
    let page_for = |more: &[&str]| {
        let session = console_guard::session(&running.attache, &running.url, more);
        let page = Client::new().get(&link).header("cookie", session).send().unwrap();
        (page.status().as_u16(), page.text().unwrap())
    };
    let (status, page) = page_for(&[]);
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("name=\"again\" value=\"work\""), "{page}");
    running.attache.run(&["environment", "create", "elsewhere"]).done();
    let (status, page) = page_for(&["--environment", "elsewhere"]);
    assert_eq!(status, 400, "{page}");
    assert!(page.contains("attache --environment default console"), "{page}");
}
