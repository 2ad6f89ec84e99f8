//! Agents whose connection waits for its owner: its tools are away, whoever calls one all the same is told why and where that is
//! mended, and once it was, an agent that was there all along goes on.

use attache_tests::{
    Browser, Page,
    mcp::{McpClient, Sdk},
    simulate::{CLIENT, Simulated},
};
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::{
    KEY, connecting, console_guard, machine,
    mcp::{error, shows},
    oauth,
    operating::{Running, start},
    serving,
};

/// Calls of one tool, by agents of a host that runs.
struct Calls<'a> {
    url: &'a str,
    key: &'a str,
    tool: &'a str,
    input: Value,
}

impl Calls<'_> {
    fn mcp(&self) -> String {
        format!("{}/mcp", self.url)
    }

    fn agent(&self) -> McpClient {
        McpClient::http(Sdk::Npm, &self.mcp(), self.key)
    }

    /// The page that mends the connection.
    fn link(&self, more: &str) -> String {
        let connection = self.tool.split('_').next().unwrap();
        format!("{}/console/connect?again={connection}&environment=default{more}", self.url)
    }

    #[track_caller]
    fn succeeds(&self, agent: &mut McpClient) -> Value {
        let seen = agent.call(self.tool, self.input.clone());
        assert_ne!(seen["isError"], true, "{seen}");
        seen
    }

    /// Demands that this is what comes of it with every client, and that those show the link that show links.
    #[track_caller]
    fn fails(&self, kind: &str, words: &str, link: &str) {
        let is_told = |told: &Value, sdk: Sdk| {
            assert_eq!((&told["kind"], &told["link"]), (&json!(kind), &json!(link)), "{sdk:?}: {told}");
            assert!(told["message"].as_str().unwrap().contains(words), "{sdk:?}: {told}");
            assert!(told["hint"].as_str().unwrap().contains(link), "{sdk:?}: {told}");
        };
        for sdk in Sdk::ALL {
            let mut client = McpClient::http_with_links(sdk, &self.mcp(), self.key);
            is_told(&shows(link, &mut client, self.tool, &self.input), sdk);
            drop(client);
            let mut client = McpClient::http(sdk, &self.mcp(), self.key);
            is_told(&error(&client.call(self.tool, self.input.clone())), sdk);
        }
    }

    /// Demands that an agent is told that its tools are others, of which this one is not.
    #[track_caller]
    fn is_away(&self, agent: &mut McpClient) {
        assert_eq!(agent.notice(), json!({ "changed": true }));
        assert_eq!(agent.names(), Vec::<String>::new());
        // One that comes now learns of the connection, whose tools it does not see.
        let connection = self.tool.split('_').next().unwrap();
        let command = format!("`{connection}` cannot be used now: `attache connection reconnect {connection}`");
        let greeting = self.agent().about["instructions"].clone();
        assert!(greeting.as_str().unwrap().contains(&command), "{greeting}");
    }

    /// Demands that an agent is told that its tools are others, and calls this one.
    #[track_caller]
    fn is_back(&self, agent: &mut McpClient) {
        assert_eq!(agent.notice(), json!({ "changed": true }));
        assert!(agent.names().contains(&self.tool.to_owned()));
        self.succeeds(agent);
    }
}

/// Runs a command that has its person sign in at a provider that approves everything.
#[track_caller]
fn sign_in(running: &Running, arguments: &[&str]) {
    let mut command = running.attache.begin(&[arguments, &["--timeout", "60"]].concat());
    let browser = Browser::new();
    let last: Page = browser.submit(&browser.open(&command.said("http://127.0.0.1")), &[]);
    assert!(last.html.contains("Connected"), "{}", last.html);
    command.ended().done();
}

/// A host that runs, whose connection `http` was signed in at a provider that is the service too.
fn signed_in() -> (Running, Simulated) {
    let (mut attache, provider) =
        (machine(), Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &["--approve"]));
    attache.add("http");
    attache.set("SECRET", CLIENT.1);
    let app = ["app", "set", "http", "--client-id", CLIENT.0, "--client-secret", "env:SECRET", "--origin"];
    attache.run(&[&app[..], &[provider.url()]].concat()).done();
    let running = start(attache, &[]);
    let set = [format!("base-url={}/api", provider.url()), format!("issuer={}", provider.url())];
    let connect = ["connect", "http", "--auth", "oauth2", "--set", &set[0], "--set", &set[1], "--allow-private"];
    sign_in(&running, &[&connect[..], &[provider.authority()]].concat());
    (running, provider)
}

#[test]
fn a_renewal_that_the_provider_refused() {
    // Regression: its tools were listed, and nobody was told that it could not be used.
    let (running, provider) = signed_in();
    let key = running.key("agent", &[]);
    let calls = Calls { url: &running.url, key: &key, tool: "http_get", input: json!({ "path": "/me" }) };
    let mut agent = calls.agent();
    assert_eq!(agent.names(), ["http_get"]);
    assert_eq!(calls.succeeds(&mut agent)["structuredContent"]["status"], 200);
    provider.next(&json!({ "endpoint": "api", "times": 1, "status": 401 }));
    provider.next(&json!({ "endpoint": "token", "grant": "refresh_token", "times": 1, "status": 400,
        "body": { "error": "invalid_grant" } }));
    // Whose call it is that finds out is told as those are that come later.
    let told = error(&agent.call("http_get", calls.input.clone()));
    let link = calls.link("");
    assert_eq!((&told["kind"], &told["link"]), (&json!("reconnect-needed"), &json!(link)), "{told}");
    calls.is_away(&mut agent);
    calls.fails("reconnect-needed", "`invalid_grant`", &link);
    assert_eq!(provider.tokens("refresh_token").len(), 1, "it is final");
    sign_in(&running, &["connection", "reconnect", "http"]);
    calls.is_back(&mut agent);
}

#[test]
fn a_connector_whose_new_version_wants_more_than_was_agreed_to() {
    let attache = machine();
    attache.add("upgrade-a");
    let secret = format!("key=file:{}", attache.file("key", KEY));
    attache.run(&["connect", "upgrade", "--secret", &secret, "--yes"]).done();
    let running = start(attache, &[]);
    let key = running.key("agent", &["--allow", "write"]);
    let calls = Calls { url: &running.url, key: &key, tool: "upgrade_look", input: json!({}) };
    let mut agent = calls.agent();
    assert_eq!(agent.names(), ["upgrade_look"]);
    calls.succeeds(&mut agent);
    connecting::upgrade(&running.attache);
    calls.is_away(&mut agent);
    calls.fails("consent-needed", "https://two.example, which the account's owner has not agreed to", &calls.link(""));
    running.attache.run(&["connection", "reconnect", "upgrade", "--yes"]).done();
    calls.is_back(&mut agent);
    // What is new in it is there with the rest.
    assert_eq!(agent.names(), ["upgrade_look", "upgrade_change"]);
}

#[test]
fn an_operation_that_needs_more_than_the_provider_granted() {
    let story = oauth::story(&json!({}));
    story.connect("discovered", &[]);
    let (_host, url) = serving::serve(&story.attache, &[]);
    let url = url.trim_end_matches('/');
    let key = story.attache.run(&["caller", "create", "agent", "--allow", "write"]).done();
    let calls = Calls { url, key: key.trim(), tool: "oauth_write", input: story.url("/api/me") };
    let mut agent = calls.agent();
    // The connection is as good as it was for everything else.
    assert_eq!(agent.names(), ["oauth_connection", "oauth_send", "oauth_write"]);
    assert!(!agent.about["instructions"].as_str().unwrap().contains("cannot be used now"), "{}", agent.about);
    let link = calls.link("&scopes=api%3Awrite");
    calls.fails("consent-needed", "needs api:write, which the provider did not grant", &link);
    // The page asks for just that beside what was granted before.
    let session = console_guard::session(&story.attache, url, &[]);
    let page = Client::new().get(&link).header("cookie", session).send().unwrap().text().unwrap();
    let is_ticked = |scope: &str| page.contains(&format!("name=\"scope.{scope}\" value=\"yes\" checked"));
    assert!(is_ticked("api:write") && !is_ticked("api:admin"), "{page}");
    let more = ["connection", "reconnect", "oauth", "--scope", "api:write", "--timeout", "60"];
    story.finish(story.attache.begin(&more));
    assert_eq!(calls.succeeds(&mut agent)["structuredContent"]["status"], 200);
}
