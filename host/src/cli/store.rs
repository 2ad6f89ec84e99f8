//! `attache store check`.

use serde_json::json;

use super::{Answer, Context, connector::progress};
use crate::{
    check::{Checked, Finding},
    error::{Kind, Result},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Store {
    /// Look through everything that is kept, and change nothing
    #[command(after_help = CHECK_HELP)]
    Check,
}

const CHECK_HELP: &str = "\
Opens every record, follows what records say of each other, compares the connectors' files with what was approved,
walks the audit's chain, and looks at who may read the files and which were never finished. Exit code 8 where something was altered or lost.";

impl Store {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let Store::Check = self;
        let working = progress("Looking through everything that is kept");
        let checked = context.client()?.post::<Checked>(&["store", "check"], &json!({})).await;
        working.finish_and_clear();
        let checked = checked?;
        let told: Vec<String> =
            checked.findings.iter().map(|Finding { what, mend, .. }| format!("- {what}\n  {mend}")).collect();
        if checked.findings.iter().any(|finding| finding.damaged) {
            return Err(Kind::StoreDamaged
                .error(format!("Something of what was kept was altered or lost:\n{}", told.join("\n")))
                .hint("What is not named here is whole."));
        }
        let Checked { records, audit_lines, .. } = &checked;
        let mut text = format!("{records} records and {} lines of the audit are whole.", audit_lines.unwrap_or(0));
        if !told.is_empty() {
            text += &format!("\nSomething else is not as it should be:\n{}", told.join("\n"));
        }
        Ok(Answer::new(json!(checked), text))
    }
}
