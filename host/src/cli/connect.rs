//! `attache connect`, and what reconnecting shares with it: asking for what is missing, showing what would be agreed to.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    Answer, Context,
    client::Client,
    connector::manifest_of,
    given, print, prompt,
    sealing::{self, Agreed},
    sign_in::{self, SignInArguments},
};
use crate::{
    connect::find_option,
    digest::Digest,
    error::{Kind, Result},
    manifest::{AuthOption, Manifest, Parameter},
    secret::Secret,
    server::api::{ConnectProposalView, ConnectorDetail, MadeView, NewConnection},
    text,
    transport::PrivateAllowed,
};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Connect {
    /// The connector
    connector: String,
    /// What to call the connection; the connector's name unless given
    #[arg(long)]
    name: Option<String>,
    /// Which of the connector's auth options to use
    #[arg(long, value_name = "OPTION")]
    auth: Option<String>,
    #[command(flatten)]
    values: ValueArguments,
}

const HELP: &str = "\
Examples:
  attache connect weather
  attache connect weather --name work --secret key=env:WEATHER_KEY --yes
  attache connect http --auth basic --set base-url=https://api.example.com --set username=jo --secret password=-
  attache connect github --device
  attache connect http --auth oauth2 --set base-url=https://api.example.com --set issuer=https://login.example.com
  attache connect http --auth none --set base-url=http://127.0.0.1:8080 --allow-private 127.0.0.1:8080
  attache connect http --auth basic --set base-url=https://erp.internal --set username=jo --gateway plant";

/// What is said of a connection wherever one is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct WantedArguments {
    /// A parameter that the connector can read; again for each further value, where it may have several
    #[arg(long = "set", value_name = "K=V", value_parser = given::pair)]
    pub(super) set: Vec<(String, String)>,
    /// A private address that this connection may reach
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) allow_private: Vec<String>,
    /// Which of your apps to sign in through, where the connector has several
    #[arg(long, value_name = "APP")]
    pub(super) app: Option<String>,
    /// Ask for this scope too, beside those that every connection needs
    #[arg(long, value_name = "SCOPE")]
    pub(super) scope: Vec<String>,
}

/// What `connect` and `connection reconnect` take alike.
#[derive(Debug, clap::Args)]
pub(super) struct ValueArguments {
    #[command(flatten)]
    wanted: WantedArguments,
    /// A secret parameter and where it is: env:NAME, file:PATH, or - for standard input
    #[arg(long = "secret", value_name = "K=SOURCE", value_parser = given::pair)]
    secret: Vec<(String, String)>,
    /// Reach the service through this gateway, which alone will be able to read the secrets
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// The fingerprint of the gateway's key, as `attache gateway join` printed it
    #[arg(long, value_name = "FINGERPRINT")]
    gateway_key: Option<Digest>,
    #[command(flatten)]
    sign_in: SignInArguments,
    /// Agree without being asked
    #[arg(long)]
    yes: bool,
}

/// What is kept of a connection that is made good again, by name.
#[derive(Default)]
pub(super) struct Known {
    pub(super) parameters: BTreeSet<String>,
    pub(super) secrets: BTreeSet<String>,
}

impl Connect {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let client = context.client()?;
        let it: ConnectorDetail = client.get(&["connectors", &self.connector], &[]).await?;
        let manifest = manifest_of(&it.manifest)?;
        let option = choose_option(&manifest, self.auth.as_deref())?;
        let asked = NewConnection {
            connector: it.approval.connector,
            name: self.name,
            auth_option: Some(option.id.clone()),
            ..NewConnection::default()
        };
        connect(context, &client, option, asked, &Known::default(), self.values).await
    }
}

/// Asks for what is missing, shows what would be agreed to, signs in, and keeps it.
pub(super) async fn connect(
    context: &Context,
    client: &Client,
    option: &AuthOption,
    mut asked: NewConnection,
    known: &Known,
    arguments: ValueArguments,
) -> Result<Answer> {
    let wanted = arguments.wanted;
    // What is no address is refused before anything is asked for.
    PrivateAllowed::parse(&wanted.allow_private)?;
    asked.private = wanted.allow_private;
    asked.parameters.extend(given::parameters(wanted.set));
    asked.app = wanted.app;
    asked.scopes = wanted.scope;
    asked.grant = arguments.sign_in.grant();
    asked.gateway = arguments.gateway.or(asked.gateway);
    asked.secrets.extend(given::texts(given::secrets(arguments.secret)?)?);
    ask_for_missing(option, &mut asked, known)?;
    // What goes through a gateway is not sent to the host.
    let to_be_sealed = asked.gateway.is_some().then(|| std::mem::take(&mut asked.secrets));
    let proposal: ConnectProposalView = client.post(&["connections", "proposals"], &asked).await?;
    if let Some(typed) = to_be_sealed {
        let agreed = Agreed { key: arguments.gateway_key, yes: arguments.yes };
        let (proposal, sealed) = sealing::seal_for(&asked, proposal, typed, &agreed)?;
        let signed_in = sign_in::connect(context, client, asked, proposal, Some(sealed), &arguments.sign_in);
        return Ok(connected(signed_in.await?));
    }
    // Where a browser takes part, its page shows all of it and asks.
    if !proposal.sends_away {
        agree(&proposal, None, arguments.yes)?;
    }
    Ok(connected(sign_in::connect(context, client, asked, proposal, None, &arguments.sign_in).await?))
}

fn connected(made: MadeView) -> Answer {
    let MadeView { connection, withheld } = made;
    let mut text = format!("Connected `{}`: {}.", connection.name, connection.account);
    if !withheld.is_empty() {
        text +=
            &format!("\nThe provider did not grant {}; operations that need it are refused.", print::scopes(&withheld));
    }
    Answer::new(json!(MadeView { connection, withheld }), text)
}

fn choose_option<'a>(manifest: &'a Manifest, named: Option<&str>) -> Result<&'a AuthOption> {
    if named.is_none() && manifest.options.len() > 1 && prompt::has_person() {
        let list =
            manifest.options.iter().map(|option| format!("{:<16} {}", option.id, text::foreign(&option.title, 100)));
        prompt::show(&print::section("ways to connect", list));
        return find_option(manifest, &prompt::line("Which one")?);
    }
    find_option(manifest, named.unwrap_or_default())
}

fn ask_for_missing(option: &AuthOption, asked: &mut NewConnection, known: &Known) -> Result<()> {
    if !prompt::has_person() {
        // What is missing is named by whoever checks the values.
        return Ok(());
    }
    for parameter in option.parameters.iter().filter(|parameter| !parameter.of_app) {
        let name = &parameter.name;
        let typed = asked.secrets.contains_key(name) || asked.parameters.contains_key(name);
        let kept = known.secrets.contains(name) || known.parameters.contains(name);
        if (typed || kept) && !(asked.again && parameter.is_secret()) {
            continue;
        }
        let kept = typed || kept;
        let typed = ask(parameter, kept)?;
        match typed {
            None => {}
            Some(value) if parameter.is_secret() => {
                asked.secrets.insert(name.clone(), String::from_utf8_lossy(value.expose()).into_owned());
            }
            Some(value) => {
                asked.parameters.insert(name.clone(), String::from_utf8_lossy(value.expose()).into_owned());
            }
        }
    }
    Ok(())
}

/// Asks until the answer fits; None where nothing was typed and nothing is needed.
fn ask(parameter: &Parameter, kept: bool) -> Result<Option<Secret>> {
    if let Some(description) = &parameter.description {
        prompt::show(&format!("  {}\n", text::foreign(description, 500)));
    }
    let title = text::foreign(&parameter.title, 200);
    let aside = match (&parameter.default, kept, parameter.optional) {
        (_, true, _) => "; Enter keeps the one that is stored".to_owned(),
        (Some(default), _, _) => format!("; Enter for {}", text::foreign(default, 200)),
        (None, _, true) => "; Enter for none".to_owned(),
        _ => String::new(),
    };
    let readable = format!("{title} ({}; the connector can read this{aside})", parameter.name);
    loop {
        let value = match (parameter.is_secret(), parameter.several) {
            (true, _) => prompt::secret(&format!("{title} ({}{aside})", parameter.name))?,
            (false, true) => Secret::new(prompt::lines(&readable, "and (Enter when there are no more)")?),
            (false, false) => Secret::new(prompt::line(&readable)?),
        };
        if value.is_empty() && !aside.is_empty() {
            return Ok(None);
        }
        let accepted = std::str::from_utf8(value.expose())
            .map_err(|_| Kind::InvalidInput.error("That is not text."))
            .and_then(|text| parameter.accept(text));
        match accepted {
            Ok(()) => return Ok(Some(value)),
            Err(error) => prompt::show(&format!("  {error}\n")),
        }
    }
}

/// Shows what would be agreed to, with the gateway and its key's fingerprint where it goes through one, and asks.
pub(super) fn agree(proposal: &ConnectProposalView, gateway: Option<(&str, Digest)>, yes: bool) -> Result<()> {
    let shown = shown(proposal, gateway);
    let name = &proposal.name;
    if yes {
        // Shown all the same: whoever reads the log sees what was agreed to.
        prompt::show(&shown);
        return Ok(());
    }
    if !prompt::has_person() {
        return Err(Kind::ConsentNeeded
            .error(format!("The connection `{name}` needs its owner's consent:\n{}", shown.trim_end()))
            .hint("Without a terminal, `--yes` gives it."));
    }
    prompt::show(&shown);
    match prompt::confirm("Connect?")? {
        true => Ok(()),
        false => Err(Kind::ConsentNeeded.error(format!("The connection `{name}` was not made."))),
    }
}

fn shown(proposal: &ConnectProposalView, gateway: Option<(&str, Digest)>) -> String {
    let mut text = format!(
        "{} {} ({}) asks to connect `{}`\n",
        proposal.connector,
        proposal.version,
        proposal.digest.short(),
        proposal.name
    );
    if let Some(account) = &proposal.account_before {
        text += &format!("  again, for the account {account}\n");
    }
    match proposal.placements.is_empty() {
        true => text += "  with no credential\n",
        false => {
            text += &print::section("the credential goes to", &proposal.origins);
            text +=
                &print::section("as", if proposal.places.is_empty() { &proposal.placements } else { &proposal.places });
        }
    }
    if proposal.placements.is_empty() {
        text += &print::section("it calls", &proposal.origins);
    }
    text += &print::section(
        "through the gateway that alone can read it",
        gateway.map(|(name, key)| format!("{name}, whose key is {key}")),
    );
    if let Some(app) = &proposal.app {
        text += &print::section("through the app", [app]);
    }
    text += &print::section(
        "it asks the provider for",
        proposal.scopes.iter().map(|scope| match &scope.about {
            Some(about) => format!("{} — the connector says: “{}”", scope.name, text::foreign(about, 200)),
            None => scope.name.clone(),
        }),
    );
    let signs_in = if proposal.grant.is_some() || proposal.sends_away {
        "to sign in and stay signed in, it calls"
    } else {
        "to sign in, what you type goes to"
    };
    text += &print::section(signs_in, &proposal.sign_in);
    text += &print::section("and to what the service names when it signs in", &proposal.named_later);
    text += &print::section("without the credential it may call", &proposal.open_hosts);
    text += &print::section("private addresses that were allowed", &proposal.private_origins);
    text += &print::section(
        "the connector can read",
        proposal.readable.iter().map(|(name, value)| print::parameter(name, value)),
    );
    text += &print::section("too short to be recognised if the service sends it back", &proposal.short_secrets);
    text
}
