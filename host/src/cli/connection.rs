//! `attache connection list|show|check|reconnect|remove`.

use serde_json::json;

use super::{
    Answer, Context,
    connect::{self, ValueArguments},
    print, prompt,
};
use crate::{
    connect::{ConnectRequest, find_option},
    error::{Kind, Result},
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
                let account = context
                    .with_host(async |host| host.check_connection(context.environment(), &name, &context.caller).await)
                    .await?;
                Ok(Answer::new(
                    json!({ "connection": name, "account": account }),
                    format!("`{name}` is good: {account}."),
                ))
            }
            Connection::Reconnect { name, values } => reconnect(context, &name, values).await,
            Connection::Remove { name, yes } => remove(context, &name, yes).await,
        }
    }
}

async fn list(context: &Context) -> Result<Answer> {
    context
        .with_host(async |host| {
            let book = host.book(context.environment())?;
            let mut rows = Vec::new();
            let mut json = Vec::new();
            for connection in book.connections()? {
                let refused = book.captured(connection.id)?.is_some_and(|captured| captured.refused.is_some());
                let state = match book.consent(connection.id)? {
                    Some(consent) if consent.is_live() && !refused => "connected",
                    _ => "needs reconnect",
                };
                rows.push(vec![
                    connection.name.clone(),
                    connection.connector.clone(),
                    connection.option.clone(),
                    connection.account.clone(),
                    state.to_owned(),
                ]);
                let mut summary = connect::summary(&connection);
                summary["state"] = state.into();
                json.push(summary);
            }
            Ok(Answer::new(json!(json), print::table(&["NAME", "CONNECTOR", "AUTH", "ACCOUNT", "STATE"], &rows)))
        })
        .await
}

async fn show(context: &Context, name: &str) -> Result<Answer> {
    context
        .with_host(async |host| {
            let book = host.book(context.environment())?;
            let connection = book.connection(name)?;
            let consent = book.consent(connection.id)?;
            let mut text = format!(
                "{}: {} by {} ({})\n",
                connection.name, connection.account, connection.connector, connection.option
            );
            let readable = connection.parameters.iter().map(|(name, value)| print::parameter(name, value));
            text += &print::section("the connector can read", readable);
            if let Some(consent) = &consent {
                text += &print::section("the credential goes to", &consent.origins);
                text += &print::section("as", &consent.placements);
                text += &print::section("asked the provider for", &consent.scopes);
            }
            let captured = book.captured(connection.id)?;
            if let Some(captured) = &captured {
                text += &print::section("the provider granted", &captured.scopes);
                text += &print::section("good until", captured.expires.map(print::time));
                text += &print::section("it was refused, and is not asked again", &captured.refused);
            }
            text += &format!("  made {}, connected {} time(s)\n", connection.created, connection.generation);
            let mut json = json!({ "connection": connect::summary(&connection), "consent": consent });
            if let Some(captured) = captured {
                json["granted"] = captured.scopes.into();
                json["expires"] = captured.expires.map(print::time).into();
                json["refused"] = captured.refused.into();
            }
            Ok(Answer::new(json, text))
        })
        .await
}

async fn reconnect(context: &Context, name: &str, values: ValueArguments) -> Result<Answer> {
    let (connection, secrets, manifest) = context
        .with_host(async |host| {
            let (connection, secrets) = host.reconnectable(context.environment(), name)?;
            let approval = host.book(context.environment())?.approval(&connection.connector)?;
            let manifest = host.manifest(&approval)?;
            Ok((connection, secrets, manifest))
        })
        .await?;
    let option = find_option(&manifest, &connection.option)?;
    // What the connector no longer asks for is not carried along.
    let known =
        |name: &str, secret: bool| option.parameter(name).is_some_and(|parameter| parameter.is_secret() == secret);
    let request = ConnectRequest {
        environment: context.environment().to_owned(),
        connector: connection.connector.clone(),
        name: connection.name.clone(),
        option: option.id.clone(),
        parameters: connection.parameters.into_iter().filter(|(name, _)| known(name, false)).collect(),
        secrets: secrets.into_iter().filter(|(name, _)| known(name, true)).collect(),
        private: connection.private,
        caller: context.caller.clone(),
        again: true,
        ..ConnectRequest::default()
    };
    connect::connect(context, option, request, values).await
}

async fn remove(context: &Context, name: &str, yes: bool) -> Result<Answer> {
    // Known before the question, so that nobody agrees to removing nothing.
    context.with_host(async |host| host.book(context.environment())?.connection(name).map(drop)).await?;
    if !yes {
        let sure =
            prompt::has_person() && prompt::confirm(&format!("Remove the connection `{name}` and its secrets?"))?;
        if !sure {
            return Err(Kind::ConsentNeeded
                .error(format!("The connection `{name}` was not removed."))
                .hint("Without a terminal, `--yes` removes it."));
        }
    }
    let ended = context
        .with_host(async |host| host.remove_connection(context.environment(), name, &context.caller).await)
        .await?;
    Ok(print::ended(
        json!({ "removed": name }),
        &format!("The connection `{name}` and its secrets are gone here."),
        &ended,
    ))
}
