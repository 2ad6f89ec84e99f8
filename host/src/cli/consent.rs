//! `attache consent list|show|revoke`.

use serde_json::json;

use super::{Answer, Context, print};
use crate::{
    consent,
    error::{Kind, Result},
};

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
        context
            .with_host(async |host| {
                let book = host.book(context.environment())?;
                match self {
                    Consent::List => {
                        let all = book.consents()?;
                        let rows: Vec<_> = all
                            .iter()
                            .map(|it| {
                                vec![
                                    it.name.clone(),
                                    it.account.clone(),
                                    state(it),
                                    it.origins.join(" "),
                                    it.given.clone(),
                                    it.caller.clone(),
                                ]
                            })
                            .collect();
                        let table = print::table(&["CONNECTION", "ACCOUNT", "STATE", "ORIGINS", "GIVEN", "BY"], &rows);
                        Ok(Answer::new(json!(all), table))
                    }
                    Consent::Show { connection } => {
                        let connection = book.connection(&connection)?;
                        let consent = book.consent(connection.id)?.ok_or_else(|| {
                            Kind::NotFound
                                .error(format!("There is no consent to the connection `{}`.", connection.name))
                        })?;
                        Ok(Answer::new(json!(consent), shown(&consent)))
                    }
                    Consent::Revoke { connection } => {
                        let ended = host.revoke_consent(context.environment(), &connection, &context.caller).await?;
                        Ok(print::ended(
                            json!({ "revoked": connection }),
                            &format!("The consent to `{connection}` is revoked, and its secrets are deleted here."),
                            &ended,
                        ))
                    }
                }
            })
            .await
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
