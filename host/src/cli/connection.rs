//! `attache connection list|show|check|reconnect|remove`.

use serde_json::json;

use super::{
    Answer, Context,
    connect::{self, Known, ValueArguments},
    connector::manifest_of,
    print, prompt,
};
use crate::{
    connect::find_option,
    error::{Kind, Result},
    server::api::{Checked, ConnectionDetail, ConnectionView, ConnectorDetail, EndedView, NewConnection},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Connection {
    /// List the connections
    List,
    /// Show a connection; its secrets are shown nowhere
    Show { name: String },
    /// Ask the service whether the credential is still good, and whose it is
    Check { name: String },
    /// Replace the credential; the name and the account stay
    #[command(after_help = "Example:\n  attache connection reconnect weather --secret key=env:NEW_KEY --yes")]
    Reconnect {
        name: String,
        #[command(flatten)]
        values: ValueArguments,
    },
    /// Remove a connection and its secrets
    Remove {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Connection {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Connection::List => list(context).await,
            Connection::Show { name } => show(context, &name).await,
            Connection::Check { name } => {
                let Checked { connection, account } =
                    context.client()?.post(&["connections", &name, "check"], &json!({})).await?;
                let text = format!("`{connection}` is good: {account}.");
                Ok(Answer::new(json!({ "connection": connection, "account": account }), text))
            }
            Connection::Reconnect { name, values } => reconnect(context, &name, values).await,
            Connection::Remove { name, yes } => remove(context, &name, yes).await,
        }
    }
}

async fn list(context: &Context) -> Result<Answer> {
    let all: Vec<ConnectionView> = context.client()?.list(&["connections"]).await?;
    let row = |it: &ConnectionView| {
        let ConnectionView { name, connector, auth_option, account, state, .. } = it;
        [name, connector, auth_option, account, state, &last_used(it)].map(Clone::clone).to_vec()
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let table = print::table(&["NAME", "CONNECTOR", "AUTH", "ACCOUNT", "STATE", "LAST USED"], &rows);
    Ok(Answer::new(json!(all), table))
}

async fn show(context: &Context, name: &str) -> Result<Answer> {
    let it: ConnectionDetail = context.client()?.get(&["connections", name], &[]).await?;
    let connection = &it.connection;
    let mut text = format!(
        "{}: {} by {} ({})\n",
        connection.name, connection.account, connection.connector, connection.auth_option
    );
    let readable = connection.parameters.iter().map(|(name, value)| print::parameter(name, value));
    text += &print::section("the connector can read", readable);
    if let Some(consent) = &it.consent {
        text += &print::section("the credential goes to", &consent.origins);
        text += &print::section("as", &consent.placements);
        text += &print::section("asked the provider for", &consent.scopes);
    }
    text += &print::section("through the gateway that alone can read it", &connection.gateway);
    text += &print::section("the provider granted", &it.granted);
    text += &print::section("good until", &it.expires);
    text += &print::section("it was refused, and is not asked again", &it.refused);
    text += &format!("  made {}, connected {} time(s)\n", connection.created, it.generation);
    text += &format!("  last used {}\n", last_used(connection));
    Ok(Answer::new(json!(it), text))
}

fn last_used(it: &ConnectionView) -> String {
    it.last_used.clone().unwrap_or_else(|| "never".to_owned())
}

async fn reconnect(context: &Context, name: &str, values: ValueArguments) -> Result<Answer> {
    let client = context.client()?;
    let it: ConnectionDetail = client.get(&["connections", name], &[]).await?;
    let connector: ConnectorDetail = client.get(&["connectors", &it.connection.connector], &[]).await?;
    let manifest = manifest_of(&connector.manifest)?;
    let option = find_option(&manifest, &it.connection.auth_option)?;
    let known =
        Known { parameters: it.connection.parameters.into_keys().collect(), secrets: it.secrets.into_iter().collect() };
    let asked = NewConnection {
        connector: it.connection.connector,
        name: Some(it.connection.name),
        auth_option: Some(option.id.clone()),
        gateway: it.connection.gateway,
        again: true,
        ..NewConnection::default()
    };
    connect::connect(context, &client, option, asked, &known, values).await
}

async fn remove(context: &Context, name: &str, yes: bool) -> Result<Answer> {
    let client = context.client()?;
    // Known before the question, so that nobody agrees to removing nothing.
    let _: ConnectionDetail = client.get(&["connections", name], &[]).await?;
    if !yes {
        let sure =
            prompt::has_person() && prompt::confirm(&format!("Remove the connection `{name}` and its secrets?"))?;
        if !sure {
            return Err(Kind::ConsentNeeded
                .error(format!("The connection `{name}` was not removed."))
                .hint("Without a terminal, `--yes` removes it."));
        }
    }
    let ended: EndedView = client.delete(&["connections", name]).await?;
    Ok(print::ended(
        json!({ "removed": name }),
        &format!("The connection `{name}` and its secrets are gone here."),
        &ended,
    ))
}
