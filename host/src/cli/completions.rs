//! `attache completions SHELL`.

use clap::CommandFactory;
use serde_json::json;

use super::{Answer, Arguments};
use crate::error::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  attache completions bash > ~/.local/share/bash-completion/completions/attache")]
pub(super) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<Answer> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "attache", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        Ok(Answer::new(json!({ "script": script }), script))
    }
}
