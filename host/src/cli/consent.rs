//! `attache consent list|show|revoke`.

use serde_json::json;

use super::{Answer, Context, print};
use crate::{consent, error::Result, server::api::EndedView};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Consent {
    /// List the consents, those that were revoked too
    List,
    /// Show what was agreed to for a connection
    Show { connection: String },
    /// Take a consent back: the connection's secrets are deleted, and calls are refused
    Revoke { connection: String },
}

impl Consent {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let client = context.client()?;
        match self {
            Consent::List => {
                let all: Vec<consent::Consent> = client.list(&["consents"]).await?;
                let row = |it: &consent::Consent| {
                    let (origins, state) = (it.origins.join(" "), state(it));
                    vec![it.name.clone(), it.account.clone(), state, origins, it.given.clone(), it.caller.clone()]
                };
                let rows: Vec<_> = all.iter().map(row).collect();
                let table = print::table(&["CONNECTION", "ACCOUNT", "STATE", "ORIGINS", "GIVEN", "BY"], &rows);
                Ok(Answer::new(json!(all), table))
            }
            Consent::Show { connection } => {
                let consent: consent::Consent = client.get(&["consents", &connection], &[]).await?;
                Ok(Answer::new(json!(consent), shown(&consent)))
            }
            Consent::Revoke { connection } => {
                let ended: EndedView = client.delete(&["consents", &connection]).await?;
                Ok(print::ended(
                    json!({ "revoked": connection }),
                    &format!("The consent to `{connection}` is revoked, and its secrets are deleted here."),
                    &ended,
                ))
            }
        }
    }
}

fn state(consent: &consent::Consent) -> String {
    match &consent.revoked {
        Some(_) => "revoked".into(),
        None if consent.is_live() => "live".into(),
        None => "over".into(),
    }
}

fn shown(consent: &consent::Consent) -> String {
    let mut text = format!("{}: {} ({})\n", consent.name, consent.account, state(consent));
    text += &print::section("the credential goes to", &consent.origins);
    text += &print::section("as", &consent.placements);
    text += &print::section("signs in at", &consent.sign_in);
    text += &print::section("called without it", &consent.open_hosts);
    text += &print::section("scopes", &consent.scopes);
    text +=
        &format!("  given {} by {}, for the connector's digest {}\n", consent.given, consent.caller, consent.digest);
    if let Some(until) = &consent.until {
        text += &format!("  until {until}\n");
    }
    if let Some(when) = &consent.revoked {
        text += &format!("  revoked {when}\n");
    }
    text
}
