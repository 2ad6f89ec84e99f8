//! `attache call`.

use std::{
    fs,
    io::{self, Read},
};

use clap::CommandFactory;
use serde_json::{Value, json};

use super::{Answer, Arguments, Context, print, schema};
use crate::{
    call,
    egress::{Destination, Preview},
    error::{Kind, Result},
    text,
};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, after_help = HELP)]
pub(super) struct Call {
    /// The connection
    connection: Option<String>,
    /// The operation
    operation: Option<String>,
    /// The operation's input: JSON, @FILE, or - for standard input; {} unless given
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// Show the first request and what would be attached to it, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print help; with a connection and an operation, what the operation does and takes
    #[arg(short, long)]
    help: bool,
}

const HELP: &str = "\
Examples:
  attache call weather forecast --input '{\"city\": \"Oslo\"}'
  attache call weather forecast --input @city.json --dry-run
  attache call weather forecast --help
  attache call weather --help                         (which operations there are)";

impl Call {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match (&self.connection, &self.operation, self.help) {
            (Some(connection), Some(operation), true) => help(context, connection, operation).await,
            (Some(connection), None, _) => operations(context, connection).await,
            (None, _, true) => Ok(general_help()),
            (Some(connection), Some(operation), false) => {
                let (connection, operation) = (connection.clone(), operation.clone());
                self.call(context, connection, operation).await
            }
            (None, _, false) => Err(Kind::Usage
                .error("Say which connection and which operation.")
                .hint("`attache connection list` shows the connections.")),
        }
    }

    async fn call(self, context: &Context, connection: String, operation: String) -> Result<Answer> {
        let call = call::Call {
            environment: context.environment().to_owned(),
            connection,
            operation,
            input: read_input(self.input.as_deref(), context.settings.limits.value.input_bytes)?,
            caller: context.caller.clone(),
        };
        if self.dry_run {
            let preview = context.with_host(async |host| host.dry_run(&call).await).await?;
            return Ok(preview_answer(&preview));
        }
        let output = context.with_host(async |host| host.call(&call).await).await?;
        let text = serde_json::to_string_pretty(&output).unwrap_or_else(|_| output.to_string());
        Ok(Answer::new(output, text))
    }
}

fn general_help() -> Answer {
    let mut command = Arguments::command();
    let text = command.find_subcommand_mut("call").map(|call| call.render_help().to_string()).unwrap_or_default();
    Answer::new(json!({ "help": text }), text)
}

async fn operations(context: &Context, connection: &str) -> Result<Answer> {
    context
        .with_host(async |host| {
            let book = host.book(context.environment())?;
            let manifest = host.manifest(&book.approval(&book.connection(connection)?.connector)?)?;
            let rows: Vec<_> = manifest
                .operations
                .iter()
                .map(|it| vec![it.id.clone(), it.effect.name().to_owned(), text::foreign(&it.title, 100)])
                .collect();
            let json: Vec<_> = manifest
                .operations
                .iter()
                .map(|it| json!({ "id": it.id, "effect": it.effect, "title": it.title, "description": it.description }))
                .collect();
            Ok(Answer::new(json!(json), print::table(&["OPERATION", "EFFECT", "TITLE"], &rows)))
        })
        .await
}

async fn help(context: &Context, connection: &str, operation: &str) -> Result<Answer> {
    context
        .with_host(async |host| {
            let book = host.book(context.environment())?;
            let manifest = host.manifest(&book.approval(&book.connection(connection)?.connector)?)?;
            let operation = call::operation(&manifest, operation)?;
            let mut text =
                format!("{} — {} ({})\n", operation.id, text::foreign(&operation.title, 200), operation.effect.name());
            if !operation.description.is_empty() {
                text += &format!("\n{}\n", text::foreign(&operation.description, 2_000));
            }
            text += &format!("\ninput\n{}", schema::readable(operation.input.document()));
            text += &format!("\noutput\n{}", schema::readable(operation.output.document()));
            text += &format!(
                "\n  attache call {connection} {} --input '{}'\n",
                operation.id,
                schema::example(operation.input.document())
            );
            let json = json!({
                "id": operation.id,
                "title": operation.title,
                "description": operation.description,
                "effect": operation.effect,
                "input": operation.input.document(),
                "output": operation.output.document(),
            });
            Ok(Answer::new(json, text))
        })
        .await
}

fn preview_answer(preview: &Preview) -> Answer {
    let destination = match preview.destination {
        Destination::Audience => "audience",
        Destination::Open => "open host",
    };
    let mut text = format!("{} {}\n", preview.method, preview.url);
    for (name, value) in &preview.headers {
        text += &format!("{name}: {}\n", text::foreign(value, 500));
    }
    text += &format!("({} bytes of body)\n\n", preview.body_bytes);
    text += &print::section("attached by the host", &preview.attached);
    text += &format!("  the origin is in the connection's: {destination}\n  nothing was sent\n");
    Answer::new(
        json!({
            "method": preview.method.as_str(),
            "url": preview.url,
            "headers": preview.headers,
            "body-bytes": preview.body_bytes,
            "attached": preview.attached,
            "destination": destination,
        }),
        text,
    )
}

fn read_input(argument: Option<&str>, limit: u64) -> Result<Value> {
    let text = match argument {
        None => return Ok(json!({})),
        Some("-") => read_text(io::stdin().lock(), "standard input", limit)?,
        Some(argument) => match argument.strip_prefix('@') {
            Some(path) => {
                let file = fs::File::open(path)
                    .map_err(|error| Kind::Usage.error(format!("{path} cannot be read: {error}.")))?;
                read_text(file, path, limit)?
            }
            None => argument.to_owned(),
        },
    };
    serde_json::from_str(&text).map_err(|error| {
        Kind::InvalidInput
            .error(format!("The input is not JSON: {error}."))
            .hint("Quote it for the shell: --input '{\"city\": \"Oslo\"}'; or put it into a file: --input @FILE.")
    })
}

fn read_text(from: impl Read, name: &str, limit: u64) -> Result<String> {
    let mut text = String::new();
    from.take(limit + 1)
        .read_to_string(&mut text)
        .map_err(|error| Kind::Usage.error(format!("{name} cannot be read: {error}.")))?;
    if text.len() as u64 > limit {
        return Err(Kind::InvalidInput
            .error(format!("The input has more than {limit} bytes."))
            .hint("Raise `limits.input-bytes` in attache.toml."));
    }
    Ok(text)
}
