//! `attache gateway enroll|list|show|remove` on the host, and `join|run` on a machine of the private network.

use std::path::PathBuf;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::{Answer, Context, given, print, prompt};
use crate::{
    error::{Kind, Result},
    gateway::agent,
    server::api::{GatewayView, InvitedView, NewGateway},
    transport::PrivateAllowed,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Gateway {
    /// On the host: make a code with which one machine joins as a gateway, within 15 minutes
    #[command(after_help = ENROLL)]
    Enroll {
        /// What to call the gateway
        name: String,
        /// It is another machine of a gateway that there is, and joins with its recovery key
        #[arg(long)]
        another: bool,
    },
    /// On the private machine: make the keys, and be let in by the host
    #[command(after_help = JOIN)]
    Join {
        /// Where the host is, as browsers find it
        #[arg(long, value_name = "URL")]
        host: Url,
        /// Where the code is: env:NAME, file:PATH, or - for standard input; asked for unless given
        #[arg(long, value_name = "SOURCE")]
        code: Option<String>,
        /// Where the recovery key of another machine of this gateway is; without it a new key is made
        #[arg(long, value_name = "SOURCE")]
        recovery_key: Option<String>,
    },
    /// On the private machine: write the key that opens the gateway's credentials to a file, to be kept elsewhere
    #[command(after_help = RECOVERY)]
    RecoveryKey {
        /// A file that is not there yet
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// On the private machine: get another key, to which everything is sealed anew
    #[command(after_help = ROTATE)]
    RotateKey,
    /// On the private machine: check that no line of the gateway's audit was changed, dropped, swapped or cut off
    Verify,
    /// On the private machine: stay connected to the host, and do what it asks within what is allowed here
    #[command(after_help = RUN)]
    Run {
        /// What may be reached, by the very name and port that connections use; nothing else is
        #[arg(long, value_name = "HOST:PORT", required = true)]
        allow: Vec<String>,
    },
    /// On the host: list the gateways
    List,
    /// On the host: show a gateway, and when it was last heard of
    Show { name: String },
    /// On the host: remove a gateway; connections through it say what mends them
    Remove {
        name: String,
        /// Only this machine of it
        #[arg(long, value_name = "ID")]
        member: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const ENROLL: &str = "\
The code is good once, and only for the environment that it was made in. It names the host's own key, so that the gateway knows
whom to believe.

Several machines of one gateway stand in for each other, also in the middle of calls that may be made twice.

Examples:
  attache gateway enroll plant
  attache gateway enroll plant --another";

const JOIN: &str = "\
The keys stay on this machine, in its data directory, for its owner alone. What is printed is the fingerprint of the key that
secrets are sealed to: hand it to whoever connects, on another way than through the host, since it is what they compare.

Examples:
  attache gateway join --host https://attache.example.com
  attache gateway join --host https://attache.example.com --code file:code.txt
  attache gateway join --host https://attache.example.com --recovery-key file:plant.recovery";

const RECOVERY: &str = "\
Whoever has it opens whatever is sealed to the gateway, so keep it where the gateway's machine cannot be lost with it. Another
machine that joins with it takes the place of this one, or stands beside it, and no connection is made again.

Example:
  attache gateway recovery-key --to plant.recovery";

const ROTATE: &str = "\
While the gateway is stopped: it opens whatever is sealed to it and seals it to a new key, and the host puts all of it in place at
once. Nobody types anything again. The fingerprint that is printed is what whoever connects compares from now on; a recovery key
that was written before opens nothing of what the host has now, so write another. Other machines of the gateway are removed first,
and join again with that.

Example:
  attache gateway rotate-key";

const RUN: &str = "\
It dials out, through the proxy that HTTPS_PROXY names if there is one, and listens nowhere. Private addresses are reached where
their name and port are allowed; link-local and metadata addresses never. What it did is in gateway/audit.log of its data
directory. On SIGTERM or SIGINT it answers what is under way; told again, it does not wait.

Examples:
  attache gateway run --allow erp.internal:443
  attache gateway run --allow 10.0.0.7:8080 --allow nas:443";

impl Gateway {
    /// Whether it concerns this machine, and no host.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Join { .. } | Self::RecoveryKey { .. } | Self::RotateKey | Self::Verify | Self::Run { .. })
    }

    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Enroll { name, another } => {
                let made: InvitedView = context.client()?.post(&["gateways"], &NewGateway { name, another }).await?;
                let recovery = if another { " --recovery-key SOURCE" } else { "" };
                prompt::show(&format!(
                    "Until {}, on the gateway's machine: `attache gateway join --host URL{recovery}`, and there type\n",
                    made.until
                ));
                let code = made.code.clone();
                Ok(Answer::new(json!(made), code))
            }
            Self::Join { host, code, recovery_key } => join(context, host, code, recovery_key).await,
            Self::RecoveryKey { to } => {
                let key = agent::write_recovery_key(&context.settings.data_dir.value, &to)?;
                let text = format!("What is in {} opens whatever is sealed to the key {key}.", to.display());
                Ok(Answer::new(json!({ "file": to, "fingerprint": key }), text))
            }
            Self::RotateKey => rotate_key(context).await,
            Self::Verify => {
                let lines = agent::verify(&context.settings.data_dir.value)?;
                Ok(Answer::new(json!({ "lines": lines }), format!("The gateway's audit is whole: {lines} lines.")))
            }
            Self::Run { allow } => run(context, &allow).await,
            Self::List => {
                let all: Vec<GatewayView> = context.client()?.list(&["gateways"]).await?;
                let rows: Vec<_> = all.iter().map(row).collect();
                let table = print::table(&["NAME", "STATE", "LAST CONTACT", "MACHINES", "KEY"], &rows);
                Ok(Answer::new(json!(all), table))
            }
            Self::Show { name } => {
                let it: GatewayView = context.client()?.get(&["gateways", &name], &[]).await?;
                let members = it.members.iter().map(|member| {
                    let (id, since) = (&member.id, since(&member.state, member.last_contact.as_deref()));
                    format!("{id}: {since}; joined {}, let in by {}", member.joined, member.invited_by)
                });
                let text = format!(
                    "{}: {}\n  its key is {}\n{}",
                    it.name,
                    since(&it.state, it.last_contact.as_deref()),
                    it.fingerprint,
                    print::section("machines", members)
                );
                Ok(Answer::new(json!(it), text))
            }
            Self::Remove { name, member, yes } => remove(context, &name, member, yes).await,
        }
    }
}

fn since(state: &str, contact: Option<&str>) -> String {
    match (contact, state) {
        (Some(since), "connected") => format!("connected since {since}"),
        (Some(last), _) => format!("{state}, last heard of {last}"),
        (None, _) => format!("{state}, never heard of since it joined"),
    }
}

fn row(it: &GatewayView) -> Vec<String> {
    let last = it.last_contact.clone().unwrap_or_else(|| "never".to_owned());
    vec![it.name.clone(), it.state.clone(), last, it.members.len().to_string(), it.fingerprint.short()]
}

async fn remove(context: &Context, name: &str, member: Option<String>, yes: bool) -> Result<Answer> {
    let client = context.client()?;
    let _: GatewayView = client.get(&["gateways", name], &[]).await?;
    if !yes {
        let question = match &member {
            Some(member) => format!("Remove the machine `{member}` of the gateway `{name}`?"),
            None => format!("Remove the gateway `{name}`? Connections through it stop working."),
        };
        if !(prompt::has_person() && prompt::confirm(&question)?) {
            return Err(Kind::ConsentNeeded
                .error(format!("The gateway `{name}` was not removed."))
                .hint("Without a terminal, `--yes` removes it."));
        }
    }
    match &member {
        Some(member) => client.delete::<()>(&["gateways", name, "members", member]).await?,
        None => client.delete::<()>(&["gateways", name]).await?,
    }
    let text = "It is not let in any longer. What it holds still opens its connections' credentials: change them at the services \
                if its machine is lost.";
    Ok(Answer::new(json!({ "removed": name, "member": member }), text))
}

async fn join(context: &Context, host: Url, code: Option<String>, recovery_key: Option<String>) -> Result<Answer> {
    let named = [("code", code), ("recovery-key", recovery_key)];
    let sources = named.into_iter().filter_map(|(name, source)| Some((name.to_owned(), source?)));
    let mut read = given::secrets(sources.collect())?;
    let code = match read.remove("code") {
        Some(code) => code,
        None if prompt::has_person() => prompt::secret("The code that `attache gateway enroll` printed")?,
        None => {
            return Err(Kind::Usage
                .error("The code is missing.")
                .hint("Give it with `--code env:NAME`, `file:PATH` or `-`."));
        }
    };
    let settings = &context.settings;
    let joined = agent::join(agent::Join {
        host,
        code,
        recovery_key: read.remove("recovery-key"),
        data_dir: settings.data_dir.value.clone(),
        ca_file: settings.ca_file.as_ref().map(|it| it.value.clone()),
    })
    .await?;
    let (name, environment, key) = (joined.name, joined.environment, joined.key);
    let text = format!(
        "This machine is the gateway `{name}`, in the host's environment `{environment}`. The fingerprint of its key:\n{key}"
    );
    Ok(Answer::new(json!({ "name": name, "environment": environment, "fingerprint": key }), text))
}

async fn rotate_key(context: &Context) -> Result<Answer> {
    let settings = &context.settings;
    let data_dir = settings.data_dir.value.clone();
    let ca_file = settings.ca_file.as_ref().map(|it| it.value.clone());
    let rotated = agent::rotate(agent::Rotate { data_dir, ca_file }).await?;
    let (name, before, key, boxes) = (rotated.name, rotated.before, rotated.key, rotated.boxes);
    let text = format!(
        "The gateway `{name}` has another key, and {boxes} boxes are sealed to it. Its fingerprint:\n{key}\n\
         Write its recovery key anew: `attache gateway recovery-key --to FILE`."
    );
    Ok(Answer::new(json!({ "name": name, "before": before, "fingerprint": key, "boxes": boxes }), text))
}

async fn run(context: &Context, allow: &[String]) -> Result<Answer> {
    let settings = &context.settings;
    let how = agent::Run {
        data_dir: settings.data_dir.value.clone(),
        allowed: PrivateAllowed::parse_reachable(allow)?,
        ca_file: settings.ca_file.as_ref().map(|it| it.value.clone()),
        limits: settings.transport_limits(),
    };
    let unheard = |error: std::io::Error| Kind::Internal.error(format!("There are no signals: {error}."));
    let mut terminated = signal(SignalKind::terminate()).map_err(unheard)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(unheard)?;
    let told_to_stop = async || {
        tokio::select! { _ = terminated.recv() => {}, _ = interrupted.recv() => {} }
        context.tell("Stopping.");
    };
    agent::run(how, |told| context.tell(told), told_to_stop).await?;
    Ok(Answer::new(json!({ "stopped": true }), ""))
}
