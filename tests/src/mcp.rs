//! MCP's official clients, each a process that does what it is told, line by line; and a `/mcp` in this process.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
};

use attache::{
    Error, Host, Kind,
    manifest::Effects,
    server::mcp::{Door, Keys, Links, Offer},
};
use serde_json::{Value, json};
use url::Url;

use crate::{Attache, Embedded, peers::installed};

/// Whose client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// PyPI's `mcp`, which speaks the newest version that both know.
    Python,
    /// The same, as it spoke before there was a newest version without a handshake.
    PythonLegacy,
    /// npm's `@modelcontextprotocol/sdk`.
    Npm,
}

impl Sdk {
    /// All of them.
    pub const ALL: [Sdk; 3] = [Sdk::Python, Sdk::PythonLegacy, Sdk::Npm];
}

/// A client that is connected.
pub struct McpClient {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Which version of the protocol they agreed on, and what the server says of itself.
    pub about: Value,
}

impl McpClient {
    /// One that starts `attache mcp` with these arguments.
    pub fn stdio(sdk: Sdk, attache: &Attache, arguments: &[&str]) -> Self {
        Self::start(sdk, json!({ "stdio": started(attache, arguments) }))
    }

    /// The same, which shows people links.
    pub fn stdio_with_links(sdk: Sdk, attache: &Attache, arguments: &[&str]) -> Self {
        Self::start(sdk, json!({ "stdio": started(attache, arguments), "elicits": true }))
    }

    /// One that goes to a `/mcp` with a key.
    pub fn http(sdk: Sdk, url: &str, key: &str) -> Self {
        Self::start(sdk, json!({ "http": { "url": url, "key": key } }))
    }

    /// One that shows people links.
    pub fn http_with_links(sdk: Sdk, url: &str, key: &str) -> Self {
        Self::start(sdk, json!({ "http": { "url": url, "key": key }, "elicits": true }))
    }

    fn start(sdk: Sdk, mut config: Value) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        config["mode"] = if sdk == Sdk::PythonLegacy { "legacy" } else { "auto" }.into();
        let mut command = match sdk {
            Sdk::Python | Sdk::PythonLegacy => {
                let mut command = Command::new(installed("python/bin/python", "the Python of the peers"));
                command.arg(scripts.join("mcp_client.py")).env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Sdk::Npm => {
                let mut command = Command::new(installed("npm/node_modules/.bin/node", "Node.js for the peers"));
                command.arg(scripts.join("mcp_client.mjs"));
                command.env("PEERS", installed("npm/node_modules", "MCP's SDK"));
                command
            }
        };
        command.arg(config.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut client = Self { child, input, output, about: Value::Null };
        client.about = client.answer();
        client
    }

    #[track_caller]
    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the client ended: {line}"))
    }

    #[track_caller]
    fn does(&mut self, asked: &Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{asked}").unwrap();
        self.answer()
    }

    /// The tools that it sees.
    #[track_caller]
    pub fn tools(&mut self) -> Vec<Value> {
        self.does(&json!({ "do": "list" })).as_array().unwrap().clone()
    }

    /// The names of the tools that it sees.
    #[track_caller]
    pub fn names(&mut self) -> Vec<String> {
        self.tools().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Calls a tool.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.does(&json!({ "do": "call", "tool": tool, "arguments": arguments }))
    }

    /// The same, with what goes along in `_meta`.
    #[track_caller]
    pub fn call_with(&mut self, tool: &str, arguments: Value, meta: Value) -> Value {
        self.does(&json!({ "do": "call", "tool": tool, "arguments": arguments, "meta": meta }))
    }

    /// Begins a call.
    #[track_caller]
    pub fn begin(&mut self, tool: &str, arguments: Value) {
        self.does(&json!({ "do": "begin", "tool": tool, "arguments": arguments }));
    }

    /// Gives the call up that was begun.
    #[track_caller]
    pub fn cancel(&mut self) {
        self.does(&json!({ "do": "cancel" }));
    }

    /// Waits for the call that was begun.
    #[track_caller]
    pub fn end(&mut self) -> Value {
        self.does(&json!({ "do": "end" }))
    }

    /// Asks to be told of changes, which clients of before 2026-07-28 are without asking.
    #[track_caller]
    pub fn listen(&mut self) {
        self.does(&json!({ "do": "listen" }));
    }

    /// Waits for the next thing that comes without being asked for.
    #[track_caller]
    pub fn notice(&mut self) -> Value {
        self.does(&json!({ "do": "notice" }))
    }
}

impl Drop for McpClient {
    fn drop(&mut self) {
        // It ends its session, and what it started, when there is nothing more to do.
        self.input = None;
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// How a client starts `attache mcp`.
fn started(attache: &Attache, arguments: &[&str]) -> Value {
    let command = attache.command(&[&["mcp"], arguments].concat());
    let words = |word: &std::ffi::OsStr| word.to_str().unwrap().to_owned();
    let variables = command.get_envs().filter_map(|(name, value)| Some((words(name), json!(words(value?)))));
    json!({
        "command": words(command.get_program()),
        "args": command.get_args().map(words).collect::<Vec<_>>(),
        "env": variables.collect::<serde_json::Map<_, _>>(),
        "cwd": attache.folder(),
    })
}

/// Runs the inspector's command line, and gives what it printed as JSON. `to` is a URL with a key, or what starts `attache mcp`.
#[track_caller]
pub fn inspect(to: Result<(&str, &str), (&Attache, &[&str])>, more: &[&str]) -> Value {
    // It keeps files of its own.
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(installed("npm/node_modules/.bin/node", "Node.js for the peers"));
    command.arg(installed("npm/node_modules/.bin/mcp-inspector", "MCP's inspector")).arg("--cli");
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", home.path()).current_dir(home.path());
    let mut header = String::new();
    match to {
        Ok((url, key)) => {
            header += &format!("Authorization: Bearer {key}");
            command.args([url, "--transport", "http", "--header", &header]).args(more);
        }
        Err((attache, arguments)) => {
            let server = started(attache, arguments);
            let config = home.path().join("servers.json");
            std::fs::write(&config, json!({ "mcpServers": { "attache": server } }).to_string()).unwrap();
            command.arg("--config").arg(config).args(["--server", "attache"]).args(more);
        }
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}\n{}", output.status, String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Keys of a test, which may be changed and taken away.
pub struct TestKeys {
    host: Arc<Host>,
    all: Mutex<Vec<(String, Offer)>>,
}

impl TestKeys {
    /// None yet, of this host.
    pub fn of(embedded: &Embedded) -> Self {
        Self { host: embedded.shared(), all: Mutex::default() }
    }

    /// Makes a key, or changes what it opens.
    pub fn give(&self, key: &str, connections: Option<&[&str]>, effects: Effects) {
        let book = self.host.book("default").unwrap();
        let id = |name: &&str| Some(book.find_connection(name).unwrap()?.id);
        let connections = connections.map(|all| all.iter().filter_map(id).collect());
        // The audit names whoever asks, and is no place for keys.
        let caller = format!("key:{}", key.chars().take(6).collect::<String>());
        let offer = Offer { environment: "default".into(), connections, effects, caller, holder: key.into() };
        let mut all = self.all.lock().unwrap();
        all.retain(|(known, _)| known != key);
        all.push((key.to_owned(), offer));
    }

    /// Takes a key away.
    pub fn take(&self, key: &str) {
        self.all.lock().unwrap().retain(|(known, _)| known != key);
    }
}

impl Keys for TestKeys {
    fn offer(&self, bearer: &str) -> Result<Offer, Error> {
        let all = self.all.lock().unwrap();
        let found = all.iter().find(|(key, _)| key == bearer).map(|(_, offer)| offer.clone());
        found.ok_or_else(|| Kind::Denied.error("That is no caller key of this host."))
    }

    fn stands(&self, holder: &str) -> bool {
        self.all.lock().unwrap().iter().any(|(_, offer)| offer.holder == holder)
    }
}

/// Listens for MCP clients until the test is over, and gives the URL.
pub fn listen(embedded: &Embedded, keys: Arc<TestKeys>, links: Option<Arc<dyn Links>>) -> Url {
    embedded.block_on(async {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let door = Door::new(embedded.shared(), keys, links, &base);
        tokio::spawn(async move { axum::serve(listener, door.routes()).await });
        base.join("mcp").unwrap()
    })
}
