//! `attache webhook add|list|show|test|enable|messages|redeliver|rotate|remove`: the endpoints that are told what happens to
//! connections, and how links end.

use serde_json::json;

use super::{Answer, Context, given, print};
use crate::{
    error::{Error, Kind, Result},
    outbox::EventType,
    server::api::{
        MadeWebhook, MessageView, NewSecret, NewWebhook, Redeliver, RedeliveredView, WebhookTested, WebhookView,
    },
    text,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Webhook {
    /// Add an endpoint; the secret that its messages are signed with is printed once
    #[command(after_help = HELP)]
    Add(Add),
    /// List the endpoints, and what came of the last attempt
    List,
    /// Show an endpoint; its secret is shown nowhere
    Show {
        /// Its name
        name: String,
    },
    /// Send a message of type `ping` now, and tell what the receiver made of it
    Test {
        /// Its name
        name: String,
    },
    /// Send messages again to an endpoint that said that it is gone; what was given up stays so, until it is redelivered
    Enable {
        /// Its name
        name: String,
    },
    /// List the messages that wait for an endpoint, and those that were given up and can be sent again
    Messages {
        /// Its name
        name: String,
    },
    /// Send messages again that were given up, and at once those that wait
    #[command(after_help = REDELIVER_HELP)]
    Redeliver {
        /// Its name
        name: String,
        /// Messages by their ids; all that are kept unless given
        #[arg(value_name = "MESSAGE")]
        messages: Vec<String>,
    },
    /// Give an endpoint another secret; for a day its messages are signed with the one before too
    Rotate {
        /// Its name
        name: String,
        /// Where the secret is: env:NAME, file:PATH, or - for standard input; made and printed once unless given
        #[arg(long, value_name = "SOURCE")]
        secret: Option<String>,
    },
    /// Remove an endpoint: nothing more is sent there
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Where messages are sent: https, or http to a private address that is allowed
    url: String,
    /// What to call it; the URL's host unless given
    #[arg(long)]
    name: Option<String>,
    /// Where the secret is: env:NAME, file:PATH, or - for standard input; made and printed once unless given
    #[arg(long, value_name = "SOURCE")]
    secret: Option<String>,
    /// What it is told of; everything unless given
    #[arg(long = "event", value_name = "NAME")]
    events: Vec<EventType>,
    /// A private address that it may be at
    #[arg(long, value_name = "HOST:PORT")]
    allow_private: Vec<String>,
}

const HELP: &str = "\
Messages are sent by `attache serve`, signed as Standard Webhooks says (https://www.standardwebhooks.com): libraries for many
languages check them. What happens while no host runs is sent by the next one. A message comes at least once, always under the
same `webhook-id`; one that nobody takes is tried for five days.

Examples:
  attache webhook add https://app.example.com/hooks/attache
  attache webhook add https://app.example.com/hooks --name app --event connection.needs-reconnect --event connection.revoked
  attache webhook add http://10.0.0.7:8080/hooks --name inside --allow-private 10.0.0.7:8080 --secret env:HOOK_SECRET";

const REDELIVER_HELP: &str = "\
A message that was given up is kept for two weeks from what it tells of, 1,000 of an endpoint at most. It is sent under the same
`webhook-id` as before, and tried for five days again. What was delivered is not kept.

Examples:
  attache webhook messages app
  attache webhook redeliver app msg_2f0c4e6f7b0d4a3f9a6f0d1b7c8e9f00
  attache webhook redeliver app";

impl Webhook {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let client = context.client()?;
        match self {
            Webhook::Add(add) => {
                let asked = NewWebhook {
                    url: add.url,
                    name: add.name,
                    events: add.events.into_iter().collect(),
                    private: add.allow_private,
                    secret: secret(add.secret)?,
                };
                Ok(made(client.post(&["webhooks"], &asked).await?, "is told from now on"))
            }
            Webhook::List => {
                let all: Vec<WebhookView> = client.list(&["webhooks"]).await?;
                let rows: Vec<_> = all.iter().map(row).collect();
                Ok(Answer::new(json!(all), print::table(&["NAME", "URL", "STATE", "WAITING", "LAST"], &rows)))
            }
            Webhook::Show { name } => Ok(shown(&client.get(&["webhooks", &name], &[]).await?)),
            Webhook::Test { name } => tested(&name, client.post(&["webhooks", &name, "test"], &json!({})).await?),
            Webhook::Enable { name } => {
                let it: WebhookView = client.post(&["webhooks", &name, "enable"], &json!({})).await?;
                Ok(Answer::new(json!(it), format!("The webhook `{name}` is told what happens from now on.")))
            }
            Webhook::Messages { name } => {
                let all: Vec<MessageView> = client.list(&["webhooks", &name, "messages"]).await?;
                let rows: Vec<_> = all.iter().map(message_row).collect();
                let headings = ["MESSAGE", "TYPE", "HAPPENED", "STATE", "TRIED", "NEXT"];
                Ok(Answer::new(json!(all), print::table(&headings, &rows)))
            }
            Webhook::Redeliver { name, messages } => {
                let asked = Redeliver { messages: messages.into_iter().collect() };
                Ok(redelivered(&name, &client.post(&["webhooks", &name, "redeliver"], &asked).await?))
            }
            Webhook::Rotate { name, secret: source } => {
                let asked = NewSecret { secret: secret(source)? };
                let path = ["webhooks", &name, "secret"];
                Ok(made(
                    client.post(&path, &asked).await?,
                    "signs with another secret, and for a day with the one before",
                ))
            }
            Webhook::Remove { name } => {
                client.delete::<()>(&["webhooks", &name]).await?;
                Ok(Answer::new(json!({ "removed": name }), format!("The webhook `{name}` is told nothing any longer.")))
            }
        }
    }
}

fn secret(source: Option<String>) -> Result<Option<String>> {
    let sources = source.map(|source| ("secret".to_owned(), source)).into_iter().collect();
    Ok(given::texts(given::secrets(sources)?)?.remove("secret"))
}

/// A secret that was made is all that is printed, so that a script takes it from there.
fn made(made: MadeWebhook, what: &str) -> Answer {
    let text = match &made.secret {
        Some(secret) => secret.clone(),
        None => format!("The webhook `{}` {what}.", made.webhook.name),
    };
    Answer::new(json!(made), text)
}

fn state(it: &WebhookView) -> &'static str {
    if it.disabled.is_some() { "disabled" } else { "enabled" }
}

fn row(it: &WebhookView) -> Vec<String> {
    let last = it.last.as_ref().map_or_else(|| "none yet".to_owned(), |last| format!("{} {}", last.at, last.what));
    vec![it.name.clone(), it.url.clone(), state(it).to_owned(), it.waiting.to_string(), last]
}

fn message_row(it: &MessageView) -> Vec<String> {
    let next = it.due.clone().unwrap_or_else(|| "never".to_owned());
    let tried = it.attempts.to_string();
    vec![it.id.clone(), it.r#type.to_string(), it.happened.clone(), it.state.clone(), tried, next]
}

fn redelivered(name: &str, it: &RedeliveredView) -> Answer {
    let mut text = match it.messages {
        0 => format!("Nothing waits for `{name}`, and nothing that was given up is kept."),
        1 => format!("1 message is sent to `{name}` again."),
        messages => format!("{messages} messages are sent to `{name}` again."),
    };
    if it.left > 0 {
        text += &format!(" {} more find no room among those that wait: redeliver them once these were sent.", it.left);
    }
    Answer::new(json!(it), text)
}

fn shown(it: &WebhookView) -> Answer {
    let mut text = format!("{}: {}\n", it.name, it.url);
    text += &print::section("it is told of", it.events.iter().map(|event| event.name()));
    text += &print::section("it may be at", it.private.as_array().into_iter().flatten().filter_map(|it| it.as_str()));
    text += &print::section(
        &format!(
            "nothing is sent there, since the receiver said that it is gone; `attache webhook enable {}` once it is not",
            it.name
        ),
        &it.disabled,
    );
    text += &print::section("the last attempt", it.last.as_ref().map(|last| format!("{} {}", last.at, last.what)));
    text += &format!("  {} wait, {} were given up\n", it.waiting, it.dropped);
    if it.kept > 0 {
        text += &format!("  {} of them can be sent again: `attache webhook redeliver {}`\n", it.kept, it.name);
    }
    text += &format!("  added {} by {}\n", it.created, it.created_by);
    Answer::new(json!(it), text)
}

fn tested(name: &str, it: WebhookTested) -> Result<Answer> {
    let said = it.said.as_ref().map(|said| text::says(said, 200)).unwrap_or_default();
    if it.delivered {
        let status = it.status.unwrap_or_default();
        let text = format!("The receiver of `{name}` took the message: it answered with status {status}.{said}");
        return Ok(Answer::new(json!(it), text));
    }
    let failed = |status: u16| -> Error {
        Kind::ServiceFailed
            .error(format!(
                "The receiver of `{name}` did not take the message: it answered with status {status}.{said}"
            ))
            .hint(match status {
                300..400 => "Redirects are not followed; add the webhook with the URL that it leads to.",
                _ => "A receiver answers with a status of 200 to 299 once it has a message.",
            })
    };
    Err(match (it.failure, it.status) {
        (Some(failure), _) => failure.error(),
        (None, status) => failed(status.unwrap_or_default()),
    })
}
