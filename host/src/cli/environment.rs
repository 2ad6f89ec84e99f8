//! `attache environment create|list|remove`.

use serde_json::json;

use super::{Answer, Context, print};
use crate::{
    error::Result,
    server::api::{EnvironmentView, NewEnvironment},
};

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
        let client = context.client()?;
        match self {
            Environment::Create { name } => {
                let made: EnvironmentView =
                    client.post(&["environments"], &NewEnvironment { name: name.clone() }).await?;
                Ok(Answer::new(json!(made), format!("The environment `{name}` is there now.")))
            }
            Environment::List => {
                let all: Vec<EnvironmentView> = client.get(&["environments"], &[]).await?;
                let rows: Vec<_> = all.iter().map(|it| vec![it.name.clone(), it.created.clone()]).collect();
                Ok(Answer::new(json!(all), print::table(&["NAME", "CREATED"], &rows)))
            }
            Environment::Remove { name } => {
                client.delete::<()>(&["environments", &name]).await?;
                Ok(Answer::new(json!({ "removed": name }), format!("The environment `{name}` is gone.")))
            }
        }
    }
}
