//! `attache connect`, and what reconnecting shares with it: asking for what is missing, showing what would be agreed to.

use serde_json::json;

use super::{
    Answer, Context, given, print, prompt,
    sign_in::{self, SignInArguments},
};
use crate::{
    connect::{ConnectProposal, ConnectRequest, Made, find_option},
    consent::Connection,
    error::{Kind, Result},
    manifest::{AuthOption, Manifest, Parameter, oauth2::Grant},
    secret::Secret,
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
  attache connect http --auth none --set base-url=http://127.0.0.1:8080 --allow-private 127.0.0.1:8080";

/// What `connect` and `connection reconnect` take alike.
#[derive(Debug, clap::Args)]
pub(super) struct ValueArguments {
    /// A parameter that the connector can read; again for each further value, where it may have several
    #[arg(long = "set", value_name = "K=V", value_parser = given::pair)]
    set: Vec<(String, String)>,
    /// A secret parameter and where it is: env:NAME, file:PATH, or - for standard input
    #[arg(long = "secret", value_name = "K=SOURCE", value_parser = given::pair)]
    secret: Vec<(String, String)>,
    /// A private address that this connection may reach
    #[arg(long, value_name = "HOST:PORT")]
    allow_private: Vec<String>,
    /// Which of your apps to sign in through, where the connector has several
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Ask for this scope too, beside those that every connection needs
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    #[command(flatten)]
    sign_in: SignInArguments,
    /// Agree without being asked
    #[arg(long)]
    yes: bool,
}

impl Connect {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let (approval, manifest) = context
            .with_host(async |host| {
                let approval = host.book(context.environment())?.approval(&self.connector)?;
                let manifest = host.manifest(&approval)?;
                Ok((approval, manifest))
            })
            .await?;
        let option = choose_option(&manifest, self.auth.as_deref())?;
        let request = ConnectRequest {
            environment: context.environment().to_owned(),
            name: self.name.unwrap_or_else(|| approval.connector.clone()),
            connector: approval.connector,
            option: option.id.clone(),
            caller: context.caller.clone(),
            ..ConnectRequest::default()
        };
        connect(context, option, request, self.values).await
    }
}

/// Asks, shows, and connects; used for a new connection and for one that is made good again.
pub(super) async fn connect(
    context: &Context,
    option: &AuthOption,
    mut request: ConnectRequest,
    arguments: ValueArguments,
) -> Result<Answer> {
    let allowed = PrivateAllowed::parse(&arguments.allow_private)?;
    request.private = request.private.iter().chain(allowed.iter()).cloned().collect();
    request.parameters.extend(given::parameters(arguments.set));
    request.app = arguments.app;
    request.scopes = arguments.scope;
    request.grant = arguments.sign_in.grant();
    for (name, secret) in given::secrets(arguments.secret)? {
        request.secrets.insert(name, secret);
    }
    ask_for_missing(option, &mut request)?;
    let proposal = context.with_host(async |host| host.propose_connection(request).await).await?;
    // Where a browser takes part, its page shows all of it and asks.
    if proposal.grant != Some(Grant::AuthorizationCode) {
        agree(&proposal, arguments.yes)?;
    }
    let Made { connection, withheld } = sign_in::connect(context, proposal, &arguments.sign_in).await?;
    let mut text = format!("Connected `{}`: {}.", connection.name, connection.account);
    if !withheld.is_empty() {
        let withheld: Vec<String> = withheld.iter().map(|scope| text::foreign(scope, 200)).collect();
        text += &format!("\nThe provider did not grant {}; operations that need it are refused.", withheld.join(", "));
    }
    let mut json = summary(&connection);
    json["withheld"] = withheld.into();
    Ok(Answer::new(json, text))
}

/// What programs are told of a connection; its secrets are not in it.
pub(super) fn summary(connection: &Connection) -> serde_json::Value {
    json!({
        "id": connection.id,
        "name": connection.name,
        "connector": connection.connector,
        "auth-option": connection.option,
        "account": connection.account,
        "app": connection.app,
        "parameters": connection.parameters,
        "private": connection.private,
        "created": connection.created,
    })
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

fn ask_for_missing(option: &AuthOption, request: &mut ConnectRequest) -> Result<()> {
    if !prompt::has_person() {
        // What is missing is named by whoever checks the values.
        return Ok(());
    }
    for parameter in option.parameters.iter().filter(|parameter| !parameter.of_app) {
        let name = &parameter.name;
        let kept = request.secrets.contains_key(name) || request.parameters.contains_key(name);
        if kept && !(request.again && parameter.is_secret()) {
            continue;
        }
        let typed = ask(parameter, kept)?;
        match typed {
            None => {}
            Some(value) if parameter.is_secret() => {
                request.secrets.insert(name.clone(), value);
            }
            Some(value) => {
                request.parameters.insert(name.clone(), String::from_utf8_lossy(value.expose()).into_owned());
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

fn agree(proposal: &ConnectProposal, yes: bool) -> Result<()> {
    let shown = shown(proposal);
    let name = &proposal.connection.name;
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

fn shown(proposal: &ConnectProposal) -> String {
    let (approval, consent) = (&proposal.approval, &proposal.consent);
    let mut text = format!(
        "{} {} ({}) asks to connect `{}`\n",
        approval.connector,
        approval.version,
        approval.digest.short(),
        proposal.connection.name
    );
    if let Some(account) = &proposal.account_before {
        text += &format!("  again, for the account {account}\n");
    }
    match consent.placements.is_empty() {
        true => text += "  with no credential\n",
        false => {
            text += &print::section("the credential goes to", &consent.origins);
            text +=
                &print::section("as", if proposal.places.is_empty() { &consent.placements } else { &proposal.places });
        }
    }
    if consent.placements.is_empty() {
        text += &print::section("it calls", &consent.origins);
    }
    if let Some(app) = &proposal.connection.app {
        text += &print::section("through the app", [app]);
    }
    text += &print::section(
        "it asks the provider for",
        proposal.scopes.iter().map(|(scope, about)| match about {
            Some(about) => format!("{scope} — the connector says: “{}”", text::foreign(about, 200)),
            None => scope.clone(),
        }),
    );
    let signs_in = if proposal.grant.is_some() {
        "to sign in and stay signed in, it calls"
    } else {
        "to sign in, what you type goes to"
    };
    text += &print::section(signs_in, &consent.sign_in);
    text += &print::section("and to what the service names when it signs in", &proposal.named_later);
    text += &print::section("without the credential it may call", &consent.open_hosts);
    text += &print::section("private addresses that were allowed", &proposal.private_origins);
    text += &print::section(
        "the connector can read",
        proposal.readable.iter().map(|(name, value)| print::parameter(name, value)),
    );
    text += &print::section("too short to be recognised if the service sends it back", &proposal.short_secrets);
    text
}
