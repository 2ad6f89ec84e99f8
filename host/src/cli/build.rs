//! `attache build DIR`.

use std::path::PathBuf;

use serde_json::json;

use super::Answer;
use crate::{build, error::Result};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  attache build connectors/weather --out weather.wasm")]
pub(super) struct Build {
    /// The folder with the connector's Cargo.toml
    directory: PathBuf,
    /// Where to write the component; NAME.wasm in this folder unless given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Build every example of the crate into the folder that --out names
    #[arg(long, requires = "out")]
    examples: bool,
}

impl Build {
    pub(super) fn run(self) -> Result<Answer> {
        let built =
            build::build(&build::Options { directory: self.directory, out: self.out, examples: self.examples })?;
        let lines: Vec<String> =
            built.iter().map(|it| format!("{}  {} bytes  sha256:{}", it.path.display(), it.bytes, it.digest)).collect();
        let json: Vec<_> =
            built.iter().map(|it| json!({ "path": it.path, "bytes": it.bytes, "digest": it.digest })).collect();
        Ok(Answer::new(json!(json), lines.join("\n")))
    }
}
