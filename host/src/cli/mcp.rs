//! `attache mcp`.

use std::sync::Arc;

use clap::ValueEnum;
use rmcp::{ServiceExt, transport::async_rw::AsyncRwTransport};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{Answer, Context};
use crate::{
    error::{Kind, Result},
    host::Host,
    manifest::Effect,
    server::mcp::{Client, Offer, longest_message},
};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Mcp {
    /// Offer this connection, and of others only those that are named too; all of the environment unless given
    #[arg(long, value_name = "NAME")]
    connection: Vec<String>,
    /// Offer operations of this effect too, beside those that only read; may be repeated
    #[arg(long, value_name = "EFFECT")]
    allow: Vec<Allowed>,
}

/// What is not offered unless somebody says so.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Allowed {
    /// Operations that add or change
    Write,
    /// Operations that take away, or do what cannot be undone
    Destructive,
}

const HELP: &str = "\
An MCP client starts it and speaks to it through standard input and output. Each operation of each connection is a tool. No tool
gives a credential, makes or mends a connection, or changes what is allowed. It owns the data directory while it runs.

A client's configuration:
  {\"mcpServers\": {\"attache\": {\"command\": \"attache\", \"args\": [\"mcp\", \"--connection\", \"github\"]}}}

Examples:
  attache mcp
  attache mcp --connection github --connection crm
  attache mcp --connection crm --allow write";

impl Mcp {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let effects = self.allow.into_iter().map(|allowed| match allowed {
            Allowed::Write => Effect::Write,
            Allowed::Destructive => Effect::Destructive,
        });
        let offer = Offer {
            environment: context.environment().to_owned(),
            connections: (!self.connection.is_empty()).then_some(self.connection),
            effects: effects.collect(),
            caller: context.caller.replacen("cli:", "mcp:", 1),
            holder: String::new(),
        };
        let host = Arc::new(Host::open(&context.settings)?);
        let outcome = serve(Client::new(host.clone(), offer, None)?, longest_message(&host)).await;
        let closed = host.close();
        outcome.and(closed)?;
        // Nothing but MCP goes to standard output.
        Ok(Answer::new(Value::Null, ""))
    }
}

/// Until the client has gone, or the process is told to end.
async fn serve(client: Client, longest: usize) -> Result<()> {
    let unheard = |error: std::io::Error| Kind::Internal.error(format!("There are no signals: {error}."));
    let mut terminated = signal(SignalKind::terminate()).map_err(unheard)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(unheard)?;
    let (input, output) = rmcp::transport::stdio();
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(longest);
    let serving = async {
        let service = client.serve(transport).await.map_err(|error| {
            Kind::Usage
                .error(format!("What came on standard input is not how MCP begins: {error}."))
                .hint("An MCP client starts this command; `attache mcp --help` shows how.")
        })?;
        service.waiting().await.map_err(|error| Kind::Internal.error(format!("MCP could not be served: {error}.")))
    };
    tokio::select! {
        served = serving => served.map(drop),
        _ = terminated.recv() => Ok(()),
        _ = interrupted.recv() => Ok(()),
    }
}
