//! `attache caller create|list|revoke`: the keys that applications and agents call with.

use jiff::Timestamp;
use serde_json::json;

use super::{Answer, Context, print};
use crate::{
    callers::Permission,
    error::Result,
    manifest::Effect,
    server::api::{CallerView, MadeCaller, NewCaller},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Caller {
    /// Make a key, which is printed once and kept as a hash
    #[command(after_help = HELP)]
    Create(Create),
    /// List the keys; none is shown
    List,
    /// End a key: from now on nobody comes in with it
    Revoke {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// What to call it
    name: String,
    /// What it is good for
    #[arg(long = "may", value_name = "PERMISSION", default_value = "call")]
    permissions: Vec<Permission>,
    /// What operations may do that are called with it, beside reading
    #[arg(long = "allow", value_name = "EFFECT")]
    effects: Vec<Effect>,
    /// A connection that it reaches; all of the environment's unless given
    #[arg(long = "connection", value_name = "NAME")]
    connections: Vec<String>,
    /// When it ends; until it is revoked unless given
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
}

const HELP: &str = "\
Whoever calls sends it as `Authorization: Bearer KEY`, to the HTTP API and to MCP. It belongs to the environment that it was
made in, and reaches nothing outside.

Examples:
  attache caller create reports --connection warehouse
  attache caller create agent --connection github --allow write
  attache caller create portal --may connect --may call --expires 2027-12-31T00:00:00Z";

impl Caller {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let client = context.client()?;
        match self {
            Caller::Create(create) => {
                let asked = NewCaller {
                    name: create.name,
                    permissions: create.permissions.into_iter().collect(),
                    effects: create.effects.into_iter().collect(),
                    connections: Some(create.connections).filter(|connections| !connections.is_empty()),
                    expires: create.expires.map(|until| until.to_string()),
                };
                let made: MadeCaller = client.post(&["callers"], &asked).await?;
                Ok(Answer::new(json!(made), made.key))
            }
            Caller::List => {
                let all: Vec<CallerView> = client.list(&["callers"]).await?;
                let rows: Vec<_> = all.iter().map(row).collect();
                let table = print::table(&["NAME", "MAY", "EFFECTS", "CONNECTIONS", "EXPIRES", "CREATED", "BY"], &rows);
                Ok(Answer::new(json!(all), table))
            }
            Caller::Revoke { name } => {
                client.delete::<()>(&["callers", &name]).await?;
                Ok(Answer::new(json!({ "revoked": name }), format!("The key `{name}` opens nothing any longer.")))
            }
        }
    }
}

fn row(it: &CallerView) -> Vec<String> {
    let joined = |words: Vec<&str>| words.join(" ");
    vec![
        it.name.clone(),
        joined(it.permissions.iter().map(|it| it.name()).collect()),
        joined(it.effects.iter().map(|it| it.name()).collect()),
        it.connections.as_ref().map_or_else(|| "all".to_owned(), |only| only.len().to_string()),
        it.expires.clone().unwrap_or_else(|| "never".to_owned()),
        it.created.clone(),
        it.created_by.clone(),
    ]
}
