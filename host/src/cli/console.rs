//! `attache console`.

use serde_json::{Value, json};

use super::{Answer, Context, prompt};
use crate::{
    error::{Kind, Result},
    server::console::LinkView,
};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Console {
    /// Print the link, and open no browser
    #[arg(long)]
    no_browser: bool,
}

const HELP: &str = "\
The host must be running (`attache serve`). The link is for one environment, good once, and for five minutes; whoever opens it
may do in the browser whatever the operator may. In a browser without JavaScript, type what stands behind the `#`.

Examples:
  attache console
  attache --environment staging console --no-browser";

impl Console {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let client = context.client()?;
        if client.is_here() {
            return Err(Kind::Usage
                .error("No host runs on this data directory, so there is no console to sign in to.")
                .hint("Start it with `attache serve`."));
        }
        let view: LinkView = client.post(&["console-links"], &Value::Null).await?;
        if !self.no_browser && prompt::open_browser(&view.link) {
            prompt::show("Your browser opens. If it does not, open this link:\n");
        }
        Ok(Answer::new(json!(view), view.link))
    }
}
