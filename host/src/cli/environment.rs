//! `attache environment create|list|remove`.

use serde_json::json;

use super::{Answer, Context, print};
use crate::error::Result;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Environment {
    /// Make an environment
    Create { name: String },
    /// List the environments
    List,
    /// Remove an environment that has nothing in it
    Remove { name: String },
}

impl Environment {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        context
            .with_host(async |host| match self {
                Environment::Create { name } => {
                    let environment = host.create_environment(&name)?;
                    Ok(Answer::new(json!(environment), format!("The environment `{name}` is there now.")))
                }
                Environment::List => {
                    let all = host.environments()?;
                    let rows: Vec<_> = all.iter().map(|it| vec![it.name.clone(), it.created.clone()]).collect();
                    Ok(Answer::new(json!(all), print::table(&["NAME", "CREATED"], &rows)))
                }
                Environment::Remove { name } => {
                    host.remove_environment(&name)?;
                    Ok(Answer::new(json!({ "removed": name }), format!("The environment `{name}` is gone.")))
                }
            })
            .await
    }
}
