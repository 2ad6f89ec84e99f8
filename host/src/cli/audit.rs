//! `attache audit list|verify`.

use serde_json::{Value, json};

use super::{Answer, Context, print};
use crate::{audit, error::Result, text};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Audit {
    /// List what was done, the newest last
    #[command(after_help = "Example:\n  attache audit list --connection weather --limit 20")]
    List {
        /// Only this connection
        #[arg(long)]
        connection: Option<String>,
        /// How many lines at the most
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Check that no line was changed, dropped, swapped or cut off
    Verify,
}

impl Audit {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        context
            .with_host(async |host| match self {
                Audit::List { connection, limit } => {
                    let filter =
                        audit::Filter { environment: Some(context.environment().to_owned()), connection, limit };
                    let lines = audit::read(&host.audit_path(), &filter)?;
                    let rows: Vec<_> = lines.iter().map(row).collect();
                    let table =
                        print::table(&["SEQ", "TIME", "EVENT", "CONNECTION", "OPERATION", "WHAT", "CALLER"], &rows);
                    Ok(Answer::new(json!(lines), table))
                }
                Audit::Verify => {
                    let lines = host.verify_audit()?;
                    Ok(Answer::new(json!({ "lines": lines }), format!("The audit is whole: {lines} lines.")))
                }
            })
            .await
    }
}

fn row(line: &Value) -> Vec<String> {
    let field = |name: &str| match &line[name] {
        Value::Null => String::new(),
        Value::String(value) => text::foreign(value, 200),
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let what: Vec<String> = ["method", "origin", "path", "attached", "status", "masked", "reason", "outcome"]
        .into_iter()
        .map(|name| (name, field(name)))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| match name {
            "method" | "origin" | "path" | "reason" | "outcome" => value,
            name => format!("{name} {value}"),
        })
        .collect();
    vec![
        field("seq"),
        field("time"),
        field("event"),
        field("connection"),
        field("operation"),
        what.join(" "),
        field("caller"),
    ]
}
