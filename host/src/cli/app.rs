//! `attache app set|list|show|remove`: the operator's registrations with providers.

use serde_json::{Value, json};

use super::{Answer, Context, given, print, prompt};
use crate::{
    apps::AppRequest,
    consent::{
        self,
        app::{CERTIFICATE, CLIENT_SECRET, PRIVATE_KEY},
    },
    error::{Kind, Result},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum App {
    /// Register what a provider gave you: client id, and secret, key or certificate
    #[command(after_help = HELP)]
    Set(Box<Set>),
    /// List the apps
    List,
    /// Show an app; its secrets are shown nowhere
    Show {
        connector: String,
        /// Which of them, where there are several
        #[arg(long)]
        name: Option<String>,
    },
    /// Remove an app and its secrets
    Remove {
        connector: String,
        /// Which of them, where there are several
        #[arg(long)]
        name: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const HELP: &str = "\
Examples:
  attache app set github --client-id Iv1.8a61f9b3a7aba766
  attache app set x --client-id abc --client-secret env:X_CLIENT_SECRET
  attache app set http --client-id abc --client-secret file:secret --origin https://login.example.com
  attache app set http --name signed --client-id abc --private-key file:key.pem --key-id 2026 --origin https://login.example.com

Client secrets, assertions, codes and refresh tokens go to the app's origins and nowhere else. A connector whose
endpoints are fixed gives them to the app; any other needs --origin. What is not given stays as it was.";

#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// The connector that it is for
    connector: String,
    /// What to call it; the connector's name unless given
    #[arg(long)]
    name: Option<String>,
    /// As the provider gave it
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Where the client secret is: env:NAME, file:PATH, or - for standard input
    #[arg(long, value_name = "SOURCE")]
    client_secret: Option<String>,
    /// Where a private key in PEM is, that the app proves itself with (RFC 7523)
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["client_secret", "client_certificate"])]
    private_key: Option<String>,
    /// Which key that is, as the provider calls it
    #[arg(long, value_name = "KID", requires = "private_key")]
    key_id: Option<String>,
    /// Where a certificate in PEM is, that the app proves itself with in the TLS handshake (RFC 8705)
    #[arg(long, value_name = "SOURCE", requires = "client_certificate_key", conflicts_with = "client_secret")]
    client_certificate: Option<String>,
    /// Where the certificate's private key is
    #[arg(long, value_name = "SOURCE", requires = "client_certificate")]
    client_certificate_key: Option<String>,
    /// An origin that the app's secrets may go to
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// Where the provider sends people back to, if it is not a free port of loopback
    #[arg(long, value_name = "URI")]
    redirect_uri: Option<String>,
    /// A parameter that belongs to the app
    #[arg(long = "set", value_name = "K=V", value_parser = given::pair)]
    set: Vec<(String, String)>,
    /// A secret parameter that belongs to the app, and where it is
    #[arg(long = "secret", value_name = "K=SOURCE", value_parser = given::pair)]
    secret: Vec<(String, String)>,
}

impl App {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            App::Set(set) => set.run(context).await,
            App::List => list(context).await,
            App::Show { connector, name } => show(context, &connector, name.as_deref()).await,
            App::Remove { connector, name, yes } => remove(context, &connector, name.as_deref(), yes).await,
        }
    }
}

impl Set {
    async fn run(self, context: &Context) -> Result<Answer> {
        let named = [
            (CLIENT_SECRET, self.client_secret),
            (PRIVATE_KEY, self.private_key),
            (CERTIFICATE[0], self.client_certificate),
            (CERTIFICATE[1], self.client_certificate_key),
        ];
        let proofs = named.into_iter().filter_map(|(name, source)| Some((name.to_owned(), source?)));
        let request = AppRequest {
            environment: context.environment().to_owned(),
            connector: self.connector,
            name: self.name,
            client_id: self.client_id,
            key_id: self.key_id,
            origins: self.origin,
            redirect_uri: self.redirect_uri,
            parameters: given::parameters(self.set),
            secrets: given::secrets(proofs.chain(self.secret).collect())?,
            caller: context.caller.clone(),
        };
        let app = context.with_host(async |host| host.set_app(request)).await?;
        let mut text = format!("The app `{}` of the connector `{}` is set.\n", app.name, app.connector);
        text += &print::section("its secrets may go to", app.origins.iter().map(ToString::to_string));
        Ok(Answer::new(summary(&app), text))
    }
}

async fn list(context: &Context) -> Result<Answer> {
    context
        .with_host(async |host| {
            let apps = host.apps(context.environment())?;
            let rows: Vec<Vec<String>> = apps
                .iter()
                .map(|app| {
                    let origins: Vec<String> = app.origins.iter().map(ToString::to_string).collect();
                    vec![
                        app.connector.clone(),
                        app.name.clone(),
                        app.client_id.clone(),
                        proof(app).into(),
                        origins.join(" "),
                    ]
                })
                .collect();
            let table = print::table(&["CONNECTOR", "APP", "CLIENT ID", "PROOF", "ORIGINS"], &rows);
            Ok(Answer::new(apps.iter().map(summary).collect(), table))
        })
        .await
}

async fn show(context: &Context, connector: &str, name: Option<&str>) -> Result<Answer> {
    let app = context.with_host(async |host| host.book(context.environment())?.app(connector, name)).await?;
    let mut text = format!("{}, for the connector {}: client id {}\n", app.name, app.connector, app.client_id);
    text += &print::section("it proves itself with", [proof(&app)]);
    text += &print::section("its secrets may go to", app.origins.iter().map(ToString::to_string));
    text += &print::section("people come back to", app.redirect_uri.iter().map(ToString::to_string));
    text += &print::section("parameters", app.parameters.iter().map(|(name, value)| print::parameter(name, value)));
    let by = if app.registered { "registered by Attaché itself" } else { "set" };
    text += &format!("  {by} {}\n", app.created);
    Ok(Answer::new(summary(&app), text))
}

async fn remove(context: &Context, connector: &str, name: Option<&str>, yes: bool) -> Result<Answer> {
    let app = context.with_host(async |host| host.book(context.environment())?.app(connector, name)).await?;
    if !yes {
        let question = format!("Remove the app `{}`? Connections made through it stop being renewed.", app.name);
        if !(prompt::has_person() && prompt::confirm(&question)?) {
            return Err(Kind::ConsentNeeded
                .error(format!("The app `{}` was not removed.", app.name))
                .hint("Without a terminal, `--yes` removes it."));
        }
    }
    context
        .with_host(async |host| host.remove_app(context.environment(), connector, &app.name, &context.caller))
        .await?;
    Ok(Answer::new(
        json!({ "removed": app.name }),
        format!("The app `{}` and its secrets are gone here. At the provider it is still registered.", app.name),
    ))
}

/// What programs are told of an app; its secrets are not in it.
fn summary(app: &consent::App) -> Value {
    json!({
        "connector": app.connector,
        "name": app.name,
        "client-id": app.client_id,
        "proof": proof(app),
        "key-id": app.key_id,
        "origins": app.origins,
        "redirect-uri": app.redirect_uri,
        "parameters": app.parameters,
        "registered": app.registered,
        "created": app.created,
    })
}

fn proof(app: &consent::App) -> &'static str {
    let has = |name: &str| app.secrets.contains_key(name);
    match () {
        () if has(PRIVATE_KEY) => "private key",
        () if has(CERTIFICATE[0]) => "client certificate",
        () if has(CLIENT_SECRET) => "client secret",
        () => "nothing (a public client)",
    }
}
