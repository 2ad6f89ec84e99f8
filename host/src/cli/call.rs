//! `attache call`.

use std::{
    fs,
    io::{self, Read},
};

use clap::CommandFactory;
use serde_json::{Value, json};

use super::{Answer, Arguments, Context, print, schema};
use crate::{
    error::{Kind, Result},
    server::api::{OperationDetail, OperationView, PreviewView},
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
        let client = context.client()?;
        let input = read_input(self.input.as_deref(), context.settings.limits.value.input_bytes)?;
        let path = ["connections", &connection, "operations", &operation];
        if self.dry_run {
            let preview: PreviewView = client.post(&[&path[..], &["preview"]].concat(), &input).await?;
            return Ok(preview_answer(&preview));
        }
        let output: Value = client.post(&path, &input).await?;
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
    let all: Vec<OperationView> = context.client()?.get(&["connections", connection, "operations"], &[]).await?;
    let row = |it: &OperationView| vec![it.id.clone(), it.effect.name().to_owned(), text::foreign(&it.title, 100)];
    let rows: Vec<_> = all.iter().map(row).collect();
    Ok(Answer::new(json!(all), print::table(&["OPERATION", "EFFECT", "TITLE"], &rows)))
}

async fn help(context: &Context, connection: &str, operation: &str) -> Result<Answer> {
    let path = ["connections", connection, "operations", operation];
    let it: OperationDetail = context.client()?.get(&path, &[]).await?;
    let OperationView { id, title, description, effect, scopes } = &it.operation;
    let mut text = format!("{id} — {} ({})\n", text::foreign(title, 200), effect.name());
    if !description.is_empty() {
        text += &format!("\n{}\n", text::foreign(description, 2_000));
    }
    if !scopes.is_empty() {
        text += &format!("\nneeds the scope {}\n", print::scopes(scopes));
    }
    text += &format!("\ninput\n{}", schema::readable(&it.input));
    text += &format!("\noutput\n{}", schema::readable(&it.output));
    text += &format!("\n  attache call {connection} {id} --input '{}'\n", schema::example(&it.input));
    Ok(Answer::new(json!(it), text))
}

fn preview_answer(preview: &PreviewView) -> Answer {
    let mut text = format!("{} {}\n", preview.method, preview.url);
    for (name, value) in &preview.headers {
        text += &format!("{name}: {}\n", text::foreign(value, 500));
    }
    text += &format!("({} bytes of body)\n\n", preview.body_bytes);
    text += &print::section("attached by the host", &preview.attached);
    text += &format!("  the origin is in the connection's: {}\n  nothing was sent\n", preview.destination);
    Answer::new(json!(preview), text)
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
