//! `attache demo`: everything that matters, once, on this machine, with nothing kept.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Answer, prompt};
use crate::{
    build,
    call::Call,
    connect::{ConnectRequest, SignedIn},
    error::{Kind, Result},
    host::Host,
    secret::Secret,
    settings::{Given, Settings, Source, Sourced},
    sync::lock,
    transport::PrivateAllowed,
};

/// The connector that the demo runs, as its source lies in a clone.
const SOURCE: &str = "connectors/weather";

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  attache demo\n  attache demo --connector weather.wasm")]
pub(super) struct Demo {
    /// The weather connector, already built; built from connectors/weather of this clone unless given
    #[arg(long, value_name = "FILE")]
    connector: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self) -> Result<Answer> {
        let folder = tempfile::tempdir()
            .map_err(|error| Kind::Internal.error(format!("There is no temporary folder: {error}.")))?;
        step(
            "1",
            "A connector, which you need not trust: it is compiled to WebAssembly and gets no network of its own.",
        );
        let file = match self.connector {
            Some(file) => file,
            None => build_connector(folder.path())?,
        };
        let bytes = fs::read(&file)
            .map_err(|error| Kind::NotFound.error(format!("{} cannot be read: {error}.", file.display())))?;

        step(
            "2",
            "A service on this machine that wants an API key. The key is made up now and is good for this service only.",
        );
        let key = format!("demo-{}", Uuid::new_v4().simple());
        let service = Service::start(&key).await?;
        say(&format!("listening on {}", service.base));

        step(
            "3",
            "Attaché, in a folder that is deleted at the end. You add the connector: this is what you would agree to.",
        );
        let settings = settings(folder.path())?;
        let host = Host::open(&settings)?;
        let proposal = host.propose_connector("default", bytes).await?;
        let option = &proposal.manifest.options[0];
        for origin in &option.audience {
            say(&format!("sends the credential to  {origin}"));
        }
        for attachment in &option.attach {
            say(&format!("as                       {}", attachment.place()));
        }
        host.approve_connector(&proposal, None, "demo")?;

        step("4", "You connect: the key is sealed in the store. The connector's `check` asks the service whose it is.");
        let connection = host
            .connect(
                &host
                    .propose_connection(ConnectRequest {
                        environment: "default".into(),
                        connector: proposal.manifest.name.clone(),
                        name: "weather".into(),
                        option: option.id.clone(),
                        parameters: BTreeMap::from([("base-url".into(), service.base.clone())]),
                        secrets: BTreeMap::from([("key".into(), Secret::new(key.as_str()))]),
                        private: PrivateAllowed::parse([&service.authority])?,
                        caller: "demo".into(),
                        ..ConnectRequest::default()
                    })
                    .await?,
                SignedIn::Agreed,
            )
            .await?
            .connection;
        say(&format!("connected: {}", connection.account));

        step("5", "Something calls the connection: an application, a script, an AI agent.");
        let call = Call {
            environment: "default".into(),
            connection: connection.name.clone(),
            operation: "forecast".into(),
            input: json!({ "city": "Oslo" }),
            caller: "demo".into(),
        };
        let preview = host.dry_run(&call).await?;
        let output = host.call(&call).await?;
        let received = service.last_request();
        let arrived = received.get("x-api-key").and_then(Value::as_str) == Some(key.as_str());

        say(&format!("what the connector asked for     {} {}", preview.method, preview.url));
        say(&format!(
            "what the service received        x-api-key: {}",
            if arrived { "the key that you stored, whole" } else { "not the key that was stored" }
        ));
        say(&format!("what the connector got to see    {output}"));
        say("The service reflects the key that it was sent; the host masked it before the connector saw the answer.");
        host.close()?;
        if !arrived {
            return Err(Kind::Internal.error("The service did not receive the key."));
        }

        step("6", "The audit has every use of the credential, in a chain that shows tampering.");
        let lines = host.verify_audit()?;
        say(&format!("{lines} lines, whole"));
        Ok(Answer::new(
            json!({ "asked": { "method": preview.method.as_str(), "url": preview.url }, "service-received-key": arrived, "connector-saw": output, "audit-lines": lines }),
            "\nNext: README.md walks through a connector for a real service; `attache --help` shows every verb.",
        ))
    }
}

fn build_connector(folder: &Path) -> Result<PathBuf> {
    let source = env::current_dir()
        .ok()
        .and_then(|here| {
            here.ancestors().map(|folder| folder.join(SOURCE)).find(|source| source.join("Cargo.toml").is_file())
        })
        .ok_or_else(|| {
            Kind::NotFound.error(format!("{SOURCE} is not here.")).hint(
                "Run the demo inside a clone, or name a built connector: `attache demo --connector weather.wasm`.",
            )
        })?;
    let options = build::Options { directory: source, out: Some(folder.join("weather.wasm")), examples: false };
    let built = build::build(&options)?.into_iter().next();
    built.map(|built| built.path).ok_or_else(|| Kind::Internal.error("Building the connector gave no file."))
}

fn settings(folder: &Path) -> Result<Settings> {
    let flag = |name: &str| folder.join(name);
    Settings::load(Given {
        data_dir: Some(Sourced { value: flag("data"), source: Source::Flag }),
        key: Some(Sourced { value: format!("file:{}", flag("key").display()), source: Source::Flag }),
        environment: None,
    })
}

/// A weather service that wants a key, and that is careless enough to repeat it in its answers.
struct Service {
    base: String,
    authority: String,
    last: Arc<Mutex<Value>>,
}

#[derive(Clone)]
struct Shared {
    key: String,
    last: Arc<Mutex<Value>>,
}

impl Service {
    async fn start(key: &str) -> Result<Self> {
        let failed =
            |error: std::io::Error| Kind::Internal.error(format!("The demo's service could not listen: {error}."));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let last = Arc::new(Mutex::new(Value::Null));
        let shared = Shared { key: key.to_owned(), last: last.clone() };
        let router = Router::new().route("/v1/me", get(me)).route("/v1/forecast", get(forecast)).with_state(shared);
        tokio::spawn(async move {
            // It ends with the process.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { base: format!("http://{address}"), authority: address.to_string(), last })
    }

    fn last_request(&self) -> Value {
        lock(&self.last).clone()
    }
}

async fn me(State(shared): State<Shared>, headers: HeaderMap) -> Result<Json<Value>, axum::http::StatusCode> {
    shared.receive(&headers)?;
    Ok(Json(json!({ "name": "demo account" })))
}

async fn forecast(State(shared): State<Shared>, headers: HeaderMap) -> Result<Json<Value>, axum::http::StatusCode> {
    let key = shared.receive(&headers)?;
    Ok(Json(
        json!({ "city": "Oslo", "summary": "light snow", "celsius": -3.0, "note": format!("asked with the key {key}") }),
    ))
}

impl Shared {
    fn receive(&self, headers: &HeaderMap) -> Result<String, axum::http::StatusCode> {
        let received: serde_json::Map<String, Value> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
            .collect();
        let key = received.get("x-api-key").and_then(Value::as_str).unwrap_or_default().to_owned();
        *lock(&self.last) = received.into();
        if key == self.key { Ok(key) } else { Err(axum::http::StatusCode::UNAUTHORIZED) }
    }
}

fn step(number: &str, text: &str) {
    let style = anstyle::Style::new().bold();
    prompt::show(&format!("\n{style}{number}. {text}{style:#}\n"));
}

fn say(text: &str) {
    prompt::show(&format!("   {text}\n"));
}
