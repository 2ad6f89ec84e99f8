//! The command line: one file per verb. It turns arguments into calls of [`crate::Host`], asks people, and prints; results
//! go to standard output, everything else to standard error.
//!
//! What must never happen here: a credential printed, or taken from an argument; a person waited for while the store is
//! open; a decision about what is allowed, which is the host's alone.

mod app;
mod audit;
mod backup;
mod build;
mod call;
mod caller;
mod client;
mod completions;
mod config;
mod connect;
mod connection;
mod connector;
mod consent;
mod console;
mod demo;
mod environment;
mod gateway;
mod given;
mod key;
mod log;
mod mcp;
mod print;
mod prompt;
mod restore;
mod schema;
mod sealing;
mod serve;
mod session;
mod sign_in;
mod simulate;
mod store;
mod webhook;

use std::{
    env,
    ffi::OsString,
    io::{ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum, parser::ValueSource};
use serde_json::{Value, json};
use url::Url;

use self::client::Client;
use crate::{
    error::{Error, Kind, Result},
    host::Host,
    origin::Origin,
    settings::{Given, Settings, Source, Sourced},
    text,
};

/// A connector runtime host: connectors call services with credentials that they never see.
#[derive(Debug, Parser)]
#[command(name = "attache", version, disable_help_subcommand = true, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Arguments {
    /// Where the store, the audit and the connectors' files are
    #[arg(long, global = true, value_name = "DIR", env = "ATTACHE_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// Where the key that seals the store comes from: file:PATH, env:NAME or command:CMD
    #[arg(long, global = true, value_name = "SOURCE", env = "ATTACHE_KEY", hide_env_values = true)]
    key: Option<String>,

    /// The environment to work in
    #[arg(long, global = true, value_name = "NAME", env = "ATTACHE_ENVIRONMENT")]
    environment: Option<String>,

    /// A host elsewhere, which is asked instead of one on this machine
    #[arg(long, global = true, value_name = "URL", env = "ATTACHE_SERVER")]
    server: Option<Url>,

    /// Where the caller key for it comes from: env:NAME, file:PATH or - for standard input
    #[arg(
        long,
        global = true,
        value_name = "SOURCE",
        default_value = "env:ATTACHE_CALLER_KEY",
        hide_default_value = true
    )]
    caller_key: String,

    /// How results and errors are printed
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    output: Format,

    /// How log lines are written to standard error
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", env = "ATTACHE_LOG_FORMAT")]
    log_format: log::LogFormat,

    #[command(subcommand)]
    verb: Verb,
}

/// Of an error; a sentence, not a page.
const LONGEST_LINE: usize = 4_000;

const AFTER_HELP: &str = "\
Examples:
  attache connector add weather.wasm
  attache connect weather --secret key=env:WEATHER_KEY
  attache call weather forecast --input '{\"city\": \"Oslo\"}'
  attache call weather forecast --help

Exit codes: 0 done, 1 internal, 2 usage or invalid input, 3 no such thing, 4 approval, consent or reconnect
needed, 5 denied by policy, 6 the service refused or failed, 7 the connector failed, 8 store locked, damaged
or wrong key. ATTACHE_LOG=debug logs to standard error.\n\
Where OTEL_EXPORTER_OTLP_ENDPOINT is set, `serve` and `mcp` send traces there (OTLP over HTTP).";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs; a failure is {\"error\": {\"kind\", \"message\", \"hint\"}} on standard error
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compile a connector's Rust source to a component
    Build(build::Build),
    /// Add, isolate, list, show and remove connectors
    #[command(subcommand)]
    Connector(connector::Connector),
    /// Set, list, show and remove apps: your registrations with providers
    #[command(subcommand)]
    App(app::App),
    /// Make a connection
    Connect(connect::Connect),
    /// List, show, check, reconnect and remove connections
    #[command(subcommand)]
    Connection(connection::Connection),
    /// Call an operation of a connection
    Call(call::Call),
    /// Create, list and revoke the keys that applications and agents call with
    #[command(subcommand)]
    Caller(caller::Caller),
    /// List, show and revoke consents
    #[command(subcommand)]
    Consent(consent::Consent),
    /// List and verify the audit
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Add, list, show, test, redeliver to and remove the endpoints that are told what happens to connections, and how links end
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    /// Let gateways in that reach services of a private network; be one
    #[command(subcommand)]
    Gateway(gateway::Gateway),
    /// Create, list and remove environments
    #[command(subcommand)]
    Environment(environment::Environment),
    /// Rotate the key that seals the store, move it, or make one
    #[command(subcommand)]
    Key(key::Key),
    /// Check that everything kept is whole
    #[command(subcommand)]
    Store(store::Store),
    /// Write everything that is kept into one sealed file, while the host runs or without one
    Backup(backup::Backup),
    /// Make a data directory of a backup, or check one
    Restore(restore::Restore),
    /// Show the settings and where each value came from
    #[command(subcommand)]
    Config(config::Config),
    /// Run a provider of OAuth 2.0 on this machine, to try connectors against
    Simulate(simulate::Simulate),
    /// Make links with which others connect, and confirm who came back, while the host runs
    #[command(subcommand)]
    Session(session::Session),
    /// Run the host: the Consent Server's pages, and what keeps connections alive
    Serve(serve::Serve),
    /// Print a link that signs a browser in to the console of the host that runs
    Console(console::Console),
    /// Offer operations as tools to an MCP client that starts this command
    Mcp(mcp::Mcp),
    /// Show on this machine, in a minute, what Attaché does
    Demo(demo::Demo),
    /// Print a shell's completions
    Completions(completions::Completions),
}

/// What a verb has to say: the same thing for programs and for people.
struct Answer {
    json: Value,
    text: String,
}

impl Answer {
    fn new(json: Value, text: impl Into<String>) -> Self {
        Self { json, text: text.into() }
    }
}

/// What every verb works with.
struct Context {
    settings: Settings,
    /// Who is at the terminal, for consents and the audit.
    caller: String,
    /// A host elsewhere, and where the key for it comes from.
    server: Option<(Url, String)>,
    /// Who reads standard error.
    log_format: log::LogFormat,
}

impl Context {
    /// Tells whoever reads standard error how a long command goes on: a person in words, a program in a line of the log.
    fn tell(&self, sentence: &str) {
        match self.log_format {
            log::LogFormat::Text => prompt::show(&format!("{sentence}\n")),
            log::LogFormat::Json => tracing::info!("{sentence}"),
        }
    }

    /// Opens the host for as long as `work` takes: never while a person is asked.
    async fn with_host<T>(&self, work: impl AsyncFnOnce(&Host) -> Result<T>) -> Result<T> {
        if self.server.is_some() {
            return Err(only_there());
        }
        with_host(&self.settings, work).await
    }

    /// Asks the host, wherever it is.
    fn client(&self) -> Result<Client> {
        let Some((url, source)) = &self.server else {
            return Client::new(&self.settings, None, &self.caller, Some(self.environment()));
        };
        let is_here = Origin::of(url)?.is_loopback();
        if url.scheme() != "https" && !is_here {
            return Err(Kind::Usage.error(format!("`{url}` is not https, so that the key would travel in the clear.")));
        }
        let mut key = given::secrets(vec![("caller-key".to_owned(), source.clone())])?;
        let key = key.remove("caller-key").ok_or_else(|| Kind::Internal.error("A secret was lost."))?;
        let environment = &self.settings.environment;
        // Unless somebody named one, the key says which it is.
        let named = !matches!(environment.source, Source::Default);
        let server = client::Server { url: url.clone(), key };
        Client::new(&self.settings, Some(server), &self.caller, named.then_some(environment.value.as_str()))
    }

    fn environment(&self) -> &str {
        &self.settings.environment.value
    }
}

/// Opens the host for as long as `work` takes.
async fn with_host<T>(settings: &Settings, work: impl AsyncFnOnce(&Host) -> Result<T>) -> Result<T> {
    let host = Host::open(settings)?;
    let result = work(&host).await;
    let closed = host.close();
    // What the work failed with matters more than that closing failed too.
    result.and_then(|value| closed.map(|()| value))
}

fn only_there() -> Error {
    Kind::Usage.error("This is done on the host's own machine only.").hint("Run it there, without `--server`.")
}

/// Runs the command line of this process and gives its exit code.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let wants_json = wants_json(&arguments);
    let parsed = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return refuse_usage(&error, wants_json),
    };
    let format = parsed.0.output;
    let logging = log::start(parsed.0.log_format, matches!(parsed.0.verb, Verb::Serve(_) | Verb::Mcp(_)));
    // What came before is said, and what was traced is sent, before the process ends.
    let outcome = logging.and_then(|_logging| work(parsed.0, parsed.1));
    match outcome {
        Ok(answer) => print_answer(&answer, format),
        Err(error) => {
            print_error(&error, format);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn work(arguments: Arguments, given: Given) -> Result<Answer> {
    let server = arguments.server.map(|url| (url, arguments.caller_key));
    let log_format = arguments.log_format;
    let context = Context { settings: Settings::load(given)?, caller: caller(), server, log_format };
    // One call is done sooner without threads to wake; a host that runs has calls for every core.
    let mut builder = match arguments.verb {
        Verb::Serve(_) | Verb::Gateway(gateway::Gateway::Run { .. }) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Kind::Internal.error(format!("The async runtime could not be started: {error}.")))?;
    let result = runtime.block_on(dispatch(arguments.verb, &context));
    // A compilation that was given up on must not hold the process.
    runtime.shutdown_background();
    result
}

async fn dispatch(verb: Verb, context: &Context) -> Result<Answer> {
    let is_local = match &verb {
        Verb::Gateway(verb) => verb.is_local(),
        Verb::Key(_)
        | Verb::Store(_)
        | Verb::Backup(_)
        | Verb::Restore(_)
        | Verb::Config(_)
        | Verb::Serve(_)
        | Verb::Mcp(_)
        | Verb::Console(_) => true,
        _ => false,
    };
    if is_local && context.server.is_some() {
        return Err(only_there());
    }
    match verb {
        Verb::Build(verb) => verb.run(),
        Verb::Connector(verb) => verb.run(context).await,
        Verb::App(verb) => verb.run(context).await,
        Verb::Connect(verb) => verb.run(context).await,
        Verb::Connection(verb) => verb.run(context).await,
        Verb::Call(verb) => verb.run(context).await,
        Verb::Caller(verb) => verb.run(context).await,
        Verb::Consent(verb) => verb.run(context).await,
        Verb::Audit(verb) => verb.run(context).await,
        Verb::Webhook(verb) => verb.run(context).await,
        Verb::Gateway(verb) => verb.run(context).await,
        Verb::Environment(verb) => verb.run(context).await,
        Verb::Key(verb) => verb.run(context).await,
        Verb::Store(verb) => verb.run(context).await,
        Verb::Backup(verb) => verb.run(context).await,
        Verb::Restore(verb) => verb.run(context),
        Verb::Config(verb) => verb.run(context),
        Verb::Simulate(verb) => verb.run().await,
        Verb::Session(verb) => verb.run(context).await,
        Verb::Serve(verb) => verb.run(context).await,
        Verb::Mcp(verb) => verb.run(context).await,
        Verb::Console(verb) => verb.run(context).await,
        Verb::Demo(verb) => verb.run().await,
        Verb::Completions(verb) => verb.run(),
    }
}

fn parse(arguments: &[OsString]) -> Result<(Arguments, Given), clap::Error> {
    use clap::{CommandFactory, FromArgMatches};
    let matches = Arguments::command().try_get_matches_from(arguments)?;
    let source = |id: &str| match matches.value_source(id) {
        Some(ValueSource::EnvVariable) => Source::Variable,
        _ => Source::Flag,
    };
    let (data_dir, key, environment) = (source("data_dir"), source("key"), source("environment"));
    let parsed = Arguments::from_arg_matches(&matches)?;
    let given = Given {
        data_dir: parsed.data_dir.clone().map(|value| Sourced { value, source: data_dir }),
        key: parsed.key.clone().map(|value| Sourced { value, source: key }),
        environment: parsed.environment.clone().map(|value| Sourced { value, source: environment }),
    };
    Ok((parsed, given))
}

/// Whether errors of the arguments themselves are to be JSON, which has to be known before they parse.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments.iter().any(|it| it == "--output=json")
        || arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

fn refuse_usage(error: &clap::Error, wants_json: bool) -> ExitCode {
    if error.use_stderr() && wants_json {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
        print_error(&Kind::Usage.error(first).hint("`attache --help` shows what there is."), Format::Json);
        return ExitCode::from(Kind::Usage.exit_code());
    }
    // Nothing to be done where even that cannot be printed.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Kind::Usage.exit_code() } else { 0 })
}

fn print_answer(answer: &Answer, format: Format) -> ExitCode {
    let mut text = match format {
        Format::Text => answer.text.clone(),
        // One that has nothing to say prints nothing.
        Format::Json if answer.json.is_null() => String::new(),
        Format::Json => answer.json.to_string(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&Kind::Internal.error(format!("The result could not be printed: {error}.")), format);
            ExitCode::from(Kind::Internal.exit_code())
        }
    }
}

fn print_error(error: &Error, format: Format) {
    let printed = match format {
        Format::Json => json!({ "error": error.to_json() }).to_string(),
        Format::Text => {
            let style = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
            // Names that somebody else chose stand in many sentences.
            let hint =
                error.mend().map(|hint| format!("\n  {}", text::foreign_lines(hint, LONGEST_LINE))).unwrap_or_default();
            format!("{style}error:{style:#} {}{hint}", text::foreign_lines(error.message(), LONGEST_LINE))
        }
    };
    // Standard error may be closed; there is nobody to tell then.
    let _ = writeln!(anstream::stderr(), "{printed}");
}

fn caller() -> String {
    let user = env::var("USER").or_else(|_| env::var("LOGNAME")).unwrap_or_default();
    match text::foreign(&user, 64) {
        user if user.is_empty() => format!("cli:{}", rustix::process::getuid().as_raw()),
        user => format!("cli:{user}"),
    }
}
