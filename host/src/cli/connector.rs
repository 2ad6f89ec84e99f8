//! `attache connector add|list|show|remove`.

use std::{
    fs,
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{Answer, Context, print, prompt};
use crate::{
    consent::Isolation,
    digest::Digest,
    error::{Kind, Result},
    manifest::{Manifest, declared::Connector as Declared, login::is_readable},
    server::api::{Approve, ConnectorDetail, ConnectorProposal, ConnectorView, Isolate},
    text,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Connector {
    /// Look at a connector, show what it may do, and add it once you agree
    #[command(after_help = ADD_HELP)]
    Add {
        /// The connector's .wasm
        file: PathBuf,
        /// Agree without being asked; never to a connector that may do more than the one that is there
        #[arg(long)]
        yes: bool,
        /// Agree to exactly these bytes, whatever they may do
        #[arg(long, value_name = "SHA256")]
        digest: Option<Digest>,
        /// How its instances are kept apart; unless given, as before, and `call` for a new one
        #[arg(long, value_name = "ISOLATION")]
        isolation: Option<Isolation>,
    },
    /// Choose how a connector's instances are kept apart
    Isolate { connector: String, isolation: Isolation },
    /// List the connectors that are approved here
    List,
    /// Show what a connector may do
    Show { connector: String },
    /// Remove a connector that no connection uses
    Remove { connector: String },
}

const ADD_HELP: &str = "\
Examples:
  attache connector add weather.wasm
  attache connector add weather.wasm --digest 5f2c…   (in a script: these bytes and no others)";

impl Connector {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let client = context.client()?;
        match self {
            Connector::Add { file, yes, digest, isolation } => add(context, file, yes, digest, isolation).await,
            Connector::Isolate { connector, isolation } => {
                let view: ConnectorView = client.patch(&["connectors", &connector], &Isolate { isolation }).await?;
                let text = match isolation {
                    Isolation::Call => format!("Every call of `{connector}` has an instance of its own."),
                    Isolation::Connection => {
                        format!("Instances of `{connector}` are used again, for the same connection and caller only.")
                    }
                };
                Ok(Answer::new(json!(view), text))
            }
            Connector::List => {
                let all: Vec<ConnectorView> = client.list(&["connectors"]).await?;
                let row = |it: &ConnectorView| {
                    vec![
                        it.connector.clone(),
                        it.version.clone(),
                        it.digest.short(),
                        it.approved.clone(),
                        it.approved_by.clone(),
                    ]
                };
                let rows: Vec<_> = all.iter().map(row).collect();
                Ok(Answer::new(json!(all), print::table(&["CONNECTOR", "VERSION", "DIGEST", "APPROVED", "BY"], &rows)))
            }
            Connector::Show { connector } => {
                let it: ConnectorDetail = client.get(&["connectors", &connector], &[]).await?;
                let shown = describe(&manifest_of(&it.manifest)?, it.approval.digest, &imports_of(&it.approval.terms));
                Ok(Answer::new(json!(it), shown))
            }
            Connector::Remove { connector } => {
                client.delete::<()>(&["connectors", &connector]).await?;
                Ok(Answer::new(json!({ "removed": connector }), format!("The connector `{connector}` is gone.")))
            }
        }
    }
}

/// What a connector said of itself when it was approved.
pub(super) fn manifest_of(declared: &Value) -> Result<Manifest> {
    let declared: Declared = serde_json::from_value(declared.clone())
        .map_err(|_| Kind::Internal.error("What the host says of the connector is not understood."))?;
    Manifest::reload(&declared)
}

fn imports_of(terms: &Value) -> Vec<String> {
    terms["imports"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn add(
    context: &Context,
    file: PathBuf,
    yes: bool,
    digest: Option<Digest>,
    isolation: Option<Isolation>,
) -> Result<Answer> {
    let bytes = read(context, &file)?;
    if let Some(pinned) = digest {
        let actual = Digest::of(&bytes);
        if actual != pinned {
            return Err(Kind::Denied.error(format!("{} has the digest {actual}, not {pinned}.", file.display())).hint(
                "It is not the file that was agreed to; get the right one, or look at this one without --digest.",
            ));
        }
    }
    let working = progress("Compiling and looking at the connector");
    let client = context.client()?;
    let proposal = client.post_wasm::<ConnectorProposal>(&["connectors", "proposals"], bytes).await;
    working.finish_and_clear();
    let proposal = proposal?;
    let shown = shown(&proposal)?;
    agree(&proposal, &shown, yes, digest.is_some())?;
    let approve = Approve { proposal: proposal.proposal.clone(), isolation };
    let approval: ConnectorView = client.post(&["connectors", "approvals"], &approve).await?;
    let text = format!("Added {} {} (sha256:{}).", approval.connector, approval.version, approval.digest);
    // What was agreed to unseen belongs in the record of whoever reads the output.
    Ok(Answer::new(json!(approval), if yes || digest.is_some() { format!("{shown}{text}") } else { text }))
}

fn agree(proposal: &ConnectorProposal, shown: &str, yes: bool, pinned: bool) -> Result<()> {
    let name = &proposal.connector;
    if pinned || (yes && !proposal.widens()) {
        return Ok(());
    }
    let pin = format!("In a script, pin what was read: `--digest {}`.", proposal.digest);
    if !prompt::has_person() || yes {
        let why = match proposal.widens() {
            true => format!("This version of `{name}` may do more than the one that is there:\n{}", widened(proposal)),
            false => format!("The connector `{name}` needs approval:\n{shown}"),
        };
        return Err(Kind::ApprovalNeeded.error(why.trim_end()).hint(pin));
    }
    prompt::show(shown);
    match prompt::confirm("Add it?")? {
        true => Ok(()),
        false => Err(Kind::ApprovalNeeded.error(format!("The connector `{name}` was not added."))),
    }
}

fn read(context: &Context, file: &PathBuf) -> Result<Vec<u8>> {
    let unreadable = |error: io::Error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Usage };
        kind.error(format!("{} cannot be read: {error}.", file.display()))
    };
    // A file over the limit is refused by its size, before it is in memory.
    let (size, limit) = (fs::metadata(file).map_err(unreadable)?.len(), context.settings.limits.value.component_bytes);
    if size > limit {
        return Err(Kind::Denied
            .error(format!("{} has {size} bytes; a connector may have {limit}.", file.display()))
            .hint("Build it in release mode and stripped, or raise `limits.component-bytes` in attache.toml."));
    }
    fs::read(file).map_err(unreadable)
}

pub(super) fn progress(what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn shown(proposal: &ConnectorProposal) -> Result<String> {
    let mut text = describe(&manifest_of(&proposal.manifest)?, proposal.digest, &imports_of(&proposal.terms));
    if let Some(upgrade) = &proposal.upgrade {
        text += &format!("\n  replaces version {} ({})\n", upgrade.from_version, upgrade.from_digest.short());
        text += &print::section("MAY DO MORE THAN BEFORE", &upgrade.widened);
        text += &print::section("other changes", &upgrade.other);
        if upgrade.widened.is_empty() && upgrade.other.is_empty() {
            text += "    what it may do is the same\n";
        }
    }
    Ok(text + "\n")
}

fn widened(proposal: &ConnectorProposal) -> String {
    let upgrade = proposal.upgrade.as_ref();
    upgrade.map(|upgrade| print::section("new", &upgrade.widened)).unwrap_or_default()
}

/// Everything that an operator agrees to, in the connector's own words where they are its own.
fn describe(manifest: &Manifest, digest: Digest, imports: &[String]) -> String {
    let foreign = |words: &str| text::foreign(words, 500);
    let mut shown = format!("{} {} — it says: “{}”\n", manifest.name, manifest.version, foreign(&manifest.title));
    if !manifest.description.is_empty() {
        shown += &format!("  “{}”\n", foreign(&manifest.description));
    }
    shown += &format!("  sha256:{digest}\n\n");
    for option in &manifest.options {
        shown += &format!("auth option {} — “{}”\n", option.id, foreign(&option.title));
        let (secret, readable): (Vec<_>, Vec<_>) =
            option.parameters.iter().partition(|parameter| parameter.is_secret());
        let named = |parameters: &[&crate::manifest::Parameter]| -> Vec<String> {
            parameters
                .iter()
                .map(|it| {
                    format!(
                        "{} ({}){} — “{}”",
                        it.name,
                        it.kind.name(),
                        match (it.several, it.optional) {
                            (true, true) => ", several or none",
                            (true, false) => ", several",
                            (false, true) => ", optional",
                            (false, false) => "",
                        },
                        foreign(&it.title)
                    )
                })
                .collect()
        };
        shown += &print::section("asks for, and never shows the connector", named(&secret));
        shown += &print::section("asks for, and the connector can read", named(&readable));
        let reaches = if option.attach.is_empty() { "calls, with no credential" } else { "sends the credential to" };
        shown += &print::section(reaches, option.audience.iter().map(|origin| origin.describe()));
        shown += &print::section("as", option.attach.iter().map(|attachment| attachment.place()));
        shown += &print::section("signs in at", option.scheme.urls().iter().map(|(what, url)| format!("{what} {url}")));
        if let Some(oauth2) = option.scheme.oauth2() {
            let scopes = oauth2.scopes.iter().map(|scope| {
                let about =
                    scope.description.as_deref().map(|words| format!(" — “{}”", foreign(words))).unwrap_or_default();
                format!("{}{}{about}", scope.name, if scope.required { "" } else { ", if wanted" })
            });
            shown += &print::section("asks the provider for", scopes);
        }
        let captured = option.scheme.captured().into_iter().map(|value| match is_readable(&value) {
            true => format!("{} (the connector can read it)", value.name),
            false => value.name,
        });
        shown += &print::section("keeps of the answers", captured);
        shown.push('\n');
    }
    shown += &print::section("calls without a credential", manifest.open_hosts.iter().map(ToString::to_string));
    let operations = manifest.operations.iter().map(|it| {
        let needs = match it.scopes.as_slice() {
            [] => String::new(),
            scopes => format!(", needs {}", print::scopes(scopes)),
        };
        format!("{:<12} {}{needs} — “{}”", it.effect.name(), it.id, foreign(&it.title))
    });
    shown += &print::section("operations", operations);
    shown + &print::section("imports", imports)
}
