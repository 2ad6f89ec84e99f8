//! `attache mcp`.

use std::sync::Arc;

use clap::ValueEnum;
use serde_json::Value;
use tokio::{
    io::{copy, split},
    signal::unix::{SignalKind, signal},
};

use super::{Answer, Context, client::Client};
use crate::{
    error::{Kind, Result},
    host::Host,
    manifest::Effect,
    server::mcp::{
        self,
        stdio::{self, Wanted},
    },
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
gives a credential, makes or mends a connection, or changes what is allowed. Where a host runs (`attache serve`), it answers, for
any number of clients at once; a consent that is missing comes back as a link to its console. Without one, this command is the
host: it owns the data directory while it runs.

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
        let wanted = Wanted {
            environment: context.environment().to_owned(),
            connections: (!self.connection.is_empty()).then_some(self.connection),
            effects: effects.collect(),
        };
        let caller = context.caller.replacen("cli:", "mcp:", 1);
        let client = context.client()?.called(&caller);
        let unheard = |error: std::io::Error| Kind::Internal.error(format!("There are no signals: {error}."));
        let mut terminated = signal(SignalKind::terminate()).map_err(unheard)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(unheard)?;
        let told_to_stop = async {
            tokio::select! { _ = terminated.recv() => {}, _ = interrupted.recv() => {} }
        };
        if client.is_here() {
            here(context, wanted, caller, told_to_stop).await?;
        } else {
            through(&client, &wanted, told_to_stop).await?;
        }
        // Nothing but MCP goes to standard output.
        Ok(Answer::new(Value::Null, ""))
    }
}

/// This process is the host.
async fn here(context: &Context, wanted: Wanted, caller: String, told_to_stop: impl Future<Output = ()>) -> Result<()> {
    let host = Arc::new(Host::open(&context.settings)?);
    let outcome = async {
        let client = mcp::Client::new(host.clone(), Arc::new(wanted.offer(&host, caller)?), None);
        stdio::serve(client, &host, rmcp::transport::stdio(), told_to_stop).await
    };
    let writing = tokio::spawn(host.clone().write_uses_now_and_then());
    let outcome = outcome.await;
    writing.abort();
    let closed = host.close();
    outcome.and(closed)
}

/// The host that runs speaks with the client; what it says and hears is handed on as it is.
async fn through(client: &Client, wanted: &Wanted, told_to_stop: impl Future<Output = ()>) -> Result<()> {
    let (mut heard, mut said) = split(client.become_mcp(wanted).await?);
    let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
    let stopped = |error: Option<std::io::Error>| {
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        Kind::Unreachable
            .error(format!("The host that ran on this data directory stopped{why}."))
            .hint("Start it again with `attache serve`; without it, this command is the host itself.")
    };
    tokio::select! {
        // The client has gone, and whatever it still waited for with it.
        done = copy(&mut input, &mut said) => done.map(drop).map_err(|error| stopped(Some(error))),
        ended = copy(&mut heard, &mut output) => Err(stopped(ended.err())),
        () = told_to_stop => Ok(()),
    }
}
