//! `attache session create|confirm`: what an application does that lets its own people connect, by hand or from a script.

use serde_json::json;
use url::Url;

use super::{Answer, Context, connect::WantedArguments, given};
use crate::{
    error::Result,
    server::api::{Confirm, MadeView, NewConnection, NewSession, SessionView},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Session {
    /// Make a link with which one person connects one account
    #[command(after_help = HELP)]
    Create(Box<Create>),
    /// Confirm who came back: with that a connection is made
    Confirm {
        /// What the browser brought as `attache_code`
        code: String,
        /// Whom you have authenticated
        #[arg(long)]
        owner: String,
    },
}

const HELP: &str = "\
The host must be running (`attache serve`). The person opens the link, types what `--set` does not give (an API key, say, which
you never see), agrees, signs in at the provider where there is one, and comes back to the return URL with `attache_code`.
What you give is shown to them, and they cannot change it; secrets are theirs to type. Whoever you then find signed in at your
own application is the owner that you confirm; what is not confirmed within ten minutes is revoked. How it ended is told as
`session.ended` to the webhooks that want to know (`attache webhook add --help`).

Examples:
  attache session create github --owner alice --return-url https://app.example.com/connected
  attache session create azure-blob --set account=letters --owner alice --return-url https://app.example.com/connected
  attache session confirm CODE --owner alice";

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The connector
    connector: String,
    /// What to call the connection; the connector's name unless given
    #[arg(long)]
    name: Option<String>,
    /// Which of the connector's auth options to use
    #[arg(long, value_name = "OPTION", default_value = "", hide_default_value = true)]
    auth: String,
    /// Who it is for, as you know that person
    #[arg(long)]
    owner: String,
    /// Where the person goes afterwards; one that the host was started with
    #[arg(long, value_name = "URL")]
    return_url: Url,
    /// Goes along to there
    #[arg(long, value_name = "TEXT")]
    state: Option<String>,
    #[command(flatten)]
    wanted: WantedArguments,
    /// Reach the service through this gateway, which alone will be able to read what the person's sign-in gives
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Make a connection that there is good again, rather than a new one
    #[arg(long)]
    again: bool,
}

impl Session {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let client = context.client()?;
        match self {
            Session::Create(create) => {
                let asked = NewSession {
                    connection: Some(NewConnection {
                        connector: create.connector,
                        name: create.name,
                        auth_option: Some(create.auth).filter(|auth| !auth.is_empty()),
                        parameters: given::parameters(create.wanted.set),
                        private: create.wanted.allow_private,
                        app: create.wanted.app,
                        scopes: create.wanted.scope,
                        gateway: create.gateway,
                        again: create.again,
                        ..NewConnection::default()
                    }),
                    agreed: None,
                    owner: create.owner,
                    return_url: create.return_url,
                    state: create.state,
                };
                let opened: SessionView = client.post(&["connect-sessions"], &asked).await?;
                Ok(Answer::new(json!(opened), opened.link))
            }
            Session::Confirm { code, owner } => {
                let asked = Confirm { code, owner };
                let made: MadeView = client.post(&["connect-sessions", "confirmations"], &asked).await?;
                let text = format!("Connected `{}`: {}.", made.connection.name, made.connection.account);
                Ok(Answer::new(json!(made), text))
            }
        }
    }
}
