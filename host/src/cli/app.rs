//! `attache app set|list|show|remove`: the operator's registrations with providers.

use serde_json::json;

use super::{Answer, Context, client::Client, connector::manifest_of, given, print, prompt, sealing};
use crate::{
    apps::check_secrets,
    consent::app::{CERTIFICATE, CLIENT_SECRET, PRIVATE_KEY, SecretAuth},
    digest::Digest,
    error::{Kind, Result},
    server::api::{AppView, ConnectorDetail, NewApp},
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
  attache app set http --client-id abc --client-secret env:SECRET --client-auth client_secret_jwt --origin https://login.example.com
  attache app set http --gateway plant --client-id abc --client-secret env:SECRET --origin https://login.plant.internal
  attache app set http --name signed --client-id abc --private-key file:key.pem --key-id 2026 --origin https://login.example.com

Client secrets, assertions, codes and refresh tokens go to the app's origins and nowhere else. A connector whose
endpoints are fixed gives them to the app; any other needs --origin. What is not given stays as it was.

With --gateway they are sealed here to that gateway's key, so that this host keeps them without being able to read
them. They are given anew each time then, and belong to connections that go through that gateway.";

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
    /// How the app proves that it has the client secret; as connector and provider say unless given
    #[arg(long, value_name = "METHOD", conflicts_with_all = ["private_key", "client_certificate"])]
    client_auth: Option<SecretAuth>,
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
    /// Where the provider sends people back to, if it is not a free port of loopback or the host's own `/callback`; one below
    /// that is the app's alone
    #[arg(long, value_name = "URI")]
    redirect_uri: Option<String>,
    /// A parameter that belongs to the app
    #[arg(long = "set", value_name = "K=V", value_parser = given::pair)]
    set: Vec<(String, String)>,
    /// Give the secrets to this gateway alone, whose connections then sign in through the app
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// The fingerprint of the gateway's key, as `attache gateway join` printed it
    #[arg(long, value_name = "FINGERPRINT", requires = "gateway")]
    gateway_key: Option<Digest>,
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
        let mut secrets = given::secrets(proofs.chain(self.secret).collect())?;
        let client = context.client()?;
        let name = self.name.unwrap_or_else(|| self.connector.clone());
        let of_gateway = self.gateway.is_some().then(|| std::mem::take(&mut secrets));
        let mut asked = NewApp {
            client_id: self.client_id,
            key_id: self.key_id,
            client_auth: self.client_auth,
            origins: self.origin,
            redirect_uri: self.redirect_uri,
            parameters: given::parameters(self.set),
            secrets: given::texts(secrets)?,
            gateway: self.gateway,
            sealed: None,
        };
        if let Some(secrets) = of_gateway {
            let it: ConnectorDetail = client.get(&["connectors", &self.connector], &[]).await?;
            check_secrets(&manifest_of(&it.manifest)?, &secrets)?;
            let place = (self.connector.as_str(), name.as_str());
            asked.sealed = Some(sealing::seal_for_app(&client, place, &asked, secrets, self.gateway_key).await?);
        }
        let app: AppView = client.put(&["apps", &self.connector, &name], &asked).await?;
        let mut text = format!("The app `{}` of the connector `{}` is set.\n", app.name, app.connector);
        text += &print::section("its secrets may go to", &app.origins);
        Ok(Answer::new(json!(app), text))
    }
}

async fn list(context: &Context) -> Result<Answer> {
    let apps: Vec<AppView> = context.client()?.list(&["apps"]).await?;
    let row = |app: &AppView| {
        let origins = app.origins.join(" ");
        vec![app.connector.clone(), app.name.clone(), app.client_id.clone(), app.proof.clone(), origins]
    };
    let rows: Vec<Vec<String>> = apps.iter().map(row).collect();
    Ok(Answer::new(json!(apps), print::table(&["CONNECTOR", "APP", "CLIENT ID", "PROOF", "ORIGINS"], &rows)))
}

async fn one(client: &Client, connector: &str, name: Option<&str>) -> Result<AppView> {
    match name {
        Some(name) => client.get(&["apps", connector, name], &[]).await,
        None => client.get(&["apps", connector], &[]).await,
    }
}

async fn show(context: &Context, connector: &str, name: Option<&str>) -> Result<Answer> {
    let app = one(&context.client()?, connector, name).await?;
    let mut text = format!("{}, for the connector {}", app.name, app.connector);
    if !app.client_id.is_empty() {
        text += &format!(": client id {}", app.client_id);
    }
    text.push('\n');
    text += &print::section("it proves itself with", [&app.proof]);
    text += &print::section("its secrets may go to", &app.origins);
    text += &print::section("people come back to", &app.redirect_uri);
    text += &print::section("parameters", app.parameters.iter().map(|(name, value)| print::parameter(name, value)));
    text += &print::section("its client secret runs out", &app.secret_expires);
    text += &match &app.registered_at {
        Some(endpoint) => format!("  registered by Attaché itself at {endpoint}, {}\n", app.created),
        None => format!("  set {}\n", app.created),
    };
    Ok(Answer::new(json!(app), text))
}

async fn remove(context: &Context, connector: &str, name: Option<&str>, yes: bool) -> Result<Answer> {
    let client = context.client()?;
    let app = one(&client, connector, name).await?;
    if !yes {
        let question = format!("Remove the app `{}`? Connections made through it stop being renewed.", app.name);
        if !(prompt::has_person() && prompt::confirm(&question)?) {
            return Err(Kind::ConsentNeeded
                .error(format!("The app `{}` was not removed.", app.name))
                .hint("Without a terminal, `--yes` removes it."));
        }
    }
    client.delete::<()>(&["apps", connector, &app.name]).await?;
    Ok(Answer::new(
        json!({ "removed": app.name }),
        format!("The app `{}` and its secrets are gone here. At the provider it is still registered.", app.name),
    ))
}
