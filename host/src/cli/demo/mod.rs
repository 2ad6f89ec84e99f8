//! `attache demo`: everything that matters, once, on this machine, with nothing kept.

mod api_key;
mod oauth;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Answer, prompt};
use crate::{
    build,
    call::Call,
    error::{Kind, Result},
    host::Host,
    settings::{Given, Settings, Source, Sourced},
};

/// The connectors that the demo runs: one made for its service, and one for any.
const CONNECTORS: [&str; 2] = ["weather", "http"];

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  attache demo\n  attache demo --connectors target/connectors")]
pub(super) struct Demo {
    /// A folder with the connectors `weather` and `http`, already built; built from this clone unless given
    #[arg(long, value_name = "DIR")]
    connectors: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self) -> Result<Answer> {
        let folder = tempfile::tempdir()
            .map_err(|error| Kind::Internal.error(format!("There is no temporary folder: {error}.")))?;
        step(
            "1",
            "Connectors, which you need not trust: they are compiled to WebAssembly and get no network of their own.",
        );
        let connectors = match self.connectors {
            Some(connectors) => connectors,
            None => build_connectors(folder.path())?,
        };
        let [weather, http] = CONNECTORS.map(|name| built(&connectors, name));
        let (weather, http) = (weather?, http?);
        let host = Host::open(&settings(folder.path())?)?;
        let with_key = api_key::show(&host, weather).await?;
        let with_tokens = oauth::show(&host, http).await?;
        host.close()?;

        step("10", "The audit has every use of a credential, in a chain that shows tampering.");
        let lines = host.verify_audit()?;
        say(&format!("{lines} lines, whole"));
        Ok(Answer::new(
            json!({ "api-key": with_key, "oauth": with_tokens, "audit-lines": lines }),
            "\nNext: README.md walks through a connector for a real service; `attache --help` shows every verb.",
        ))
    }
}

fn built(connectors: &Path, name: &str) -> Result<Vec<u8>> {
    let file = connectors.join(format!("{name}.wasm"));
    fs::read(&file).map_err(|error| Kind::NotFound.error(format!("{} cannot be read: {error}.", file.display())))
}

fn build_connectors(folder: &Path) -> Result<PathBuf> {
    let sources = env::current_dir()
        .ok()
        .and_then(|here| {
            let mut folders = here.ancestors().map(|folder| folder.join("connectors"));
            folders.find(|sources| CONNECTORS.iter().all(|name| sources.join(name).join("Cargo.toml").is_file()))
        })
        .ok_or_else(|| {
            Kind::NotFound
                .error("The sources of the connectors are not here.")
                .hint("Run the demo inside a clone, or name a folder with built ones: `attache demo --connectors DIR`.")
        })?;
    for name in CONNECTORS {
        let out = Some(folder.join(format!("{name}.wasm")));
        build::build(&build::Options { directory: sources.join(name), out, examples: false })?;
    }
    Ok(folder.to_owned())
}

fn settings(folder: &Path) -> Result<Settings> {
    let flag = |name: &str| folder.join(name);
    Settings::load(Given {
        data_dir: Some(Sourced { value: flag("data"), source: Source::Flag }),
        key: Some(Sourced { value: format!("file:{}", flag("key").display()), source: Source::Flag }),
        environment: None,
    })
}

fn call(connection: &str, operation: &str, input: Value) -> Call {
    Call {
        environment: "default".into(),
        connection: connection.into(),
        id: None,
        operation: operation.into(),
        input,
        caller: "demo".into(),
    }
}

fn step(number: &str, text: &str) {
    let style = anstyle::Style::new().bold();
    prompt::show(&format!("\n{style}{number}. {text}{style:#}\n"));
}

fn say(text: &str) {
    prompt::show(&format!("   {text}\n"));
}
