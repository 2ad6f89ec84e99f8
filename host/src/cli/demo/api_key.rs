//! A connection with an API key, and a service that repeats the key in its answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{call, say, step};
use crate::{
    connect::{ConnectRequest, SignedIn},
    error::{Kind, Result},
    host::Host,
    manifest::Effects,
    secret::Secret,
    sync::lock,
    transport::PrivateAllowed,
};

/// Adds, connects and calls; what was asked for, what arrived and what the connector saw.
pub(super) async fn show(host: &Host, connector: Vec<u8>) -> Result<Value> {
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
    let proposal = host.propose_connector("default", connector).await?;
    let option = &proposal.manifest.options[0];
    for origin in &option.audience {
        say(&format!("sends the credential to  {origin}"));
    }
    for attachment in &option.attach {
        say(&format!("as                       {}", attachment.place()));
    }
    host.approve_connector(&proposal, None, "demo")?;

    step("4", "You connect: the key is sealed in the store. The connector's `check` asks the service whose it is.");
    let request = ConnectRequest {
        environment: "default".into(),
        connector: proposal.manifest.name.clone(),
        name: "weather".into(),
        option: option.id.clone(),
        parameters: BTreeMap::from([("base-url".into(), service.base.clone())]),
        secrets: BTreeMap::from([("key".into(), Secret::new(key.as_str()))]),
        private: PrivateAllowed::parse([&service.authority])?,
        caller: "demo".into(),
        ..ConnectRequest::default()
    };
    let made = host.connect(&host.propose_connection(request).await?, SignedIn::Agreed).await?;
    say(&format!("connected: {}", made.connection.account));

    step("5", "Something calls the connection: an application, a script, an AI agent.");
    let forecast = call("weather", "forecast", json!({ "city": "Oslo" }));
    let preview = host.dry_run(&forecast, Effects::all()).await?;
    let output = host.call(&forecast).await?;
    let received = service.last_request();
    if received.get("x-api-key").and_then(Value::as_str) != Some(key.as_str()) {
        return Err(Kind::Internal.error("The service did not receive the key."));
    }
    say(&format!("what the connector asked for     {} {}", preview.method, preview.url));
    say("what the service received        x-api-key: the key that you stored, whole");
    say(&format!("what the connector got to see    {output}"));
    say("The service reflects the key that it was sent; the host masked it before the connector saw the answer.");
    Ok(json!({
        "asked": { "method": preview.method.as_str(), "url": preview.url },
        "service-received-key": true,
        "connector-saw": output,
    }))
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
