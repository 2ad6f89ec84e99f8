//! `attache session create|confirm`: what an application does that lets its own people connect, by hand or from a script.

use serde_json::{Value, json};
use url::Url;

use super::{Answer, Context, given};
use crate::{
    error::{Error, Kind, Result},
    server::control::{CONFIRM, Confirm, OpenSession, SESSIONS, socket},
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
The host must be running (`attache serve`). The person opens the link, agrees, signs in at the provider, and comes back to
the return URL with `attache_code`. Whoever you then find signed in at your own application is the owner that you confirm;
what is not confirmed within ten minutes is revoked.

Examples:
  attache session create github --owner alice --return-url https://app.example.com/connected
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
    /// A parameter that the connector can read; again for each further value, where it may have several
    #[arg(long = "set", value_name = "K=V", value_parser = given::pair)]
    set: Vec<(String, String)>,
    /// A private address that this connection may reach
    #[arg(long, value_name = "HOST:PORT")]
    allow_private: Vec<String>,
    /// Which of your apps to sign in through, where the connector has several
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Ask for this scope too, beside those that every connection needs
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Make a connection that there is good again, rather than a new one
    #[arg(long)]
    again: bool,
}

impl Session {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let environment = context.environment().to_owned();
        let caller = context.caller.clone();
        match self {
            Session::Create(create) => {
                let request = OpenSession {
                    environment,
                    name: create.name.unwrap_or_else(|| create.connector.clone()),
                    connector: create.connector,
                    option: create.auth,
                    parameters: given::parameters(create.set),
                    private: create.allow_private,
                    app: create.app,
                    scopes: create.scope,
                    again: create.again,
                    owner: create.owner,
                    return_url: create.return_url,
                    state: create.state,
                    caller,
                };
                let opened = ask(context, SESSIONS, &json!(request)).await?;
                let text = opened["link"].as_str().unwrap_or_default().to_owned();
                Ok(Answer::new(opened, text))
            }
            Session::Confirm { code, owner } => {
                let made = ask(context, CONFIRM, &json!(Confirm { environment, code, owner, caller })).await?;
                let part = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
                let text = format!("Connected `{}`: {}.", part("name"), part("account"));
                Ok(Answer::new(made, text))
            }
        }
    }
}

/// Asks the host that runs on this data directory.
async fn ask(context: &Context, path: &str, body: &Value) -> Result<Value> {
    let socket = socket(&context.settings.data_dir.value);
    let silent =
        |_| Kind::NotFound.error("No host runs on this data directory.").hint("Start it with `attache serve`.");
    let client = reqwest::Client::builder().no_proxy().unix_socket(socket).build().map_err(silent)?;
    let request = client.post(format!("http://localhost{path}")).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.map_err(silent)?;
    let garbled = || Kind::Internal.error("What the host answered is not understood; it may be of another version.");
    let bytes = answer.bytes().await.map_err(|_| garbled())?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|_| garbled())?;
    match json.get("error") {
        Some(error) => Err(Error::from_json(error).unwrap_or_else(garbled)),
        None => Ok(json),
    }
}
