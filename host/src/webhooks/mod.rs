//! Webhooks: endpoints that an operator adds to an environment, and that are told what happens to its connections and how its
//! connect sessions end. What is told waits in the [`crate::outbox`]; a host that serves delivers it, at least once each, and
//! gives up in a defined way.
//!
//! | file | one thought |
//! |---|---|
//! | `signature` | by which a receiver knows who sent it |
//! | `attempt` | one message on its way, and what the receiver made of it |
//! | `deliver` | who is told next, and when again |
//!
//! What must never happen here: a message sent anywhere but to the endpoint's own URL, judged like every other; anything sent to
//! an endpoint that was removed; one receiver that waits for another.

mod attempt;
mod deliver;
mod signature;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use url::Url;
use uuid::Uuid;

use self::attempt::Answer;
use crate::{
    audit::Event,
    consent::{now, proper_name},
    error::{Error, Kind, Result},
    host::Host,
    origin::Origin,
    outbox::{Endpoint, EventType, Kept, MOST_ENDPOINTS, Message, Redelivered},
    secret::Secret,
    text,
    transport::{PrivateAllowed, Reach},
};

/// How long the secret before signs beside a new one: a day, for receivers that are given the new one by hand.
const ROTATION: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Longer URLs than this meet proxies that refuse them.
const LONGEST_URL: usize = 2_000;

/// The type of a message that only tries an endpoint.
const PING: &str = "ping";

/// What an endpoint is to be. URL and secret are not for everybody, so it has no `Debug`.
#[derive(Default)]
pub struct NewEndpoint {
    /// The environment's name.
    pub environment: String,
    /// Where messages go.
    pub url: String,
    /// For people; the URL's host unless given.
    pub name: Option<String>,
    /// What it is told of; everything unless given.
    pub events: BTreeSet<EventType>,
    /// Private addresses that the operator allows.
    pub private: PrivateAllowed,
    /// What signs, as it is written; made unless given.
    pub secret: Option<String>,
    /// Who adds it.
    pub caller: String,
}

/// What a receiver made of a message that tried it.
#[derive(Debug)]
pub struct Tested {
    /// The status that it answered with.
    pub status: u16,
    /// The beginning of what it said, in its own words.
    pub said: String,
}

impl Tested {
    /// Whether it took the message.
    pub fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Host {
    /// Adds an endpoint, and gives its secret as it is written, this once.
    ///
    /// # Errors
    /// `invalid-input` or `usage` for a URL, name or secret that is none; `already-exists`; `denied` for an address that is
    /// private and was not allowed, and where there are too many endpoints.
    pub async fn add_webhook(&self, new: NewEndpoint) -> Result<(Endpoint, String)> {
        self.book(&new.environment)?;
        let url = checked_url(&new.url)?;
        let origin = Origin::of(&url)?;
        let name = new.name.unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned());
        proper_name(&name).map_err(|error| error.hint("Give it another with `--name`."))?;
        let (secret, private) = (secret(new.secret.as_deref())?, new.private);
        let events = if new.events.is_empty() { EventType::ALL.into() } else { new.events };
        self.judge_webhook(&origin, &private).await?;
        let endpoint = Endpoint::new(&new.environment, name, url, events, private, secret.clone(), now(), new.caller);
        self.outbox.change(|| {
            // It may have been removed while the address was looked up; from here on it stays.
            self.book(&endpoint.environment)?;
            let all = self.outbox.endpoints(&endpoint.environment)?;
            if all.iter().any(|other| other.name == endpoint.name) {
                return Err(Kind::AlreadyExists
                    .error(format!("There is a webhook `{}` already.", endpoint.name))
                    .hint("Choose another name with `--name`, or remove it first."));
            }
            if all.len() >= MOST_ENDPOINTS {
                return Err(Kind::Denied
                    .error(format!("An environment has {MOST_ENDPOINTS} webhooks at most."))
                    .hint("Remove one that is not used: `attache webhook list` shows them."));
            }
            let events: Vec<String> = endpoint.events.iter().map(ToString::to_string).collect();
            self.audit.write(&Event::webhook_added(
                &endpoint.environment,
                &endpoint.name,
                &origin.to_string(),
                &events,
                &endpoint.created_by,
            ))?;
            self.outbox.put(&endpoint)
        })?;
        Ok((endpoint, signature::written(&secret)))
    }

    /// The endpoints of an environment, by name.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn webhooks(&self, environment: &str) -> Result<Vec<Endpoint>> {
        self.book(environment)?;
        self.outbox.endpoints(environment)
    }

    /// An endpoint.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn webhook(&self, environment: &str, name: &str) -> Result<Endpoint> {
        self.book(environment)?;
        let found = match proper_name(name) {
            Ok(()) => self.outbox.endpoint(environment, name)?,
            // A name that could not have been given cannot be there.
            Err(_) => None,
        };
        found.ok_or_else(|| {
            Kind::NotFound
                .error(format!("There is no webhook `{}`.", text::foreign(name, 64)))
                .hint("`attache webhook list` shows them.")
        })
    }

    /// How many messages wait for an endpoint.
    ///
    /// # Errors
    /// Those of the store.
    pub fn waiting_for(&self, endpoint: &Endpoint) -> Result<usize> {
        self.outbox.waiting(endpoint)
    }

    /// How many messages were given up for an endpoint and can be sent again.
    ///
    /// # Errors
    /// Those of the store.
    pub fn given_up_for(&self, endpoint: &Endpoint) -> Result<usize> {
        self.outbox.given_up(endpoint)
    }

    /// The messages that wait for an endpoint, and those that were given up and can be sent again, in the order in which they
    /// came.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn webhook_messages(&self, environment: &str, name: &str) -> Result<Vec<Kept>> {
        self.outbox.kept(&self.webhook(environment, name)?)
    }

    /// Has messages sent again that were given up, as if they were new, and at once those that wait: these by their ids, or all
    /// where none is named.
    ///
    /// # Errors
    /// `not-found`, also for an id that is not kept; `denied` where the receiver said that it is gone; those of the store.
    pub fn redeliver_webhook(
        &self,
        environment: &str,
        name: &str,
        ids: &BTreeSet<String>,
        caller: &str,
    ) -> Result<Redelivered> {
        self.outbox.redeliver(&self.webhook(environment, name)?, ids, caller)
    }

    /// Forgets what was given up and is kept no longer ([`GIVEN_UP_FOR`](crate::outbox::GIVEN_UP_FOR)).
    ///
    /// # Errors
    /// Those of the store.
    pub fn forget_given_up(&self, now: Timestamp) -> Result<()> {
        self.all_webhooks()?.iter().try_for_each(|endpoint| self.outbox.forget_given_up(endpoint, now))
    }

    /// Removes an endpoint: from now on nothing is sent there, and what waited or was given up is gone.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn remove_webhook(&self, environment: &str, name: &str, caller: &str) -> Result<()> {
        let endpoint = self.webhook(environment, name)?;
        self.audit.write(&Event::webhook_removed(environment, name, caller))?;
        self.outbox.remove(&endpoint)?;
        // What is on its way is ended.
        self.transport()?.close(&endpoint.pool());
        Ok(())
    }

    /// Has an endpoint told again that said that it is gone. What was given up stays so, until it is redelivered. One that is told
    /// already stays as it is.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn enable_webhook(&self, environment: &str, name: &str, caller: &str) -> Result<Endpoint> {
        self.outbox.change(|| {
            let mut endpoint = self.webhook(environment, name)?;
            if endpoint.disabled.take().is_some() {
                self.audit.write(&Event::webhook_enabled(environment, name, caller))?;
                self.outbox.put(&endpoint)?;
            }
            Ok(endpoint)
        })
    }

    /// Gives an endpoint another secret, which is given as it is written, this once. For a day the one before signs too.
    ///
    /// # Errors
    /// `not-found`; `invalid-input` for a secret that is none; those of the store.
    pub fn rotate_webhook(
        &self,
        environment: &str,
        name: &str,
        given: Option<&str>,
        caller: &str,
    ) -> Result<(Endpoint, String)> {
        let secret = secret(given)?;
        let endpoint = self.outbox.change(|| {
            let mut endpoint = self.webhook(environment, name)?;
            self.audit.write(&Event::webhook_secret_rotated(environment, name, caller))?;
            endpoint.take_secret(secret.clone(), Timestamp::now() + ROTATION);
            self.outbox.put(&endpoint)?;
            Ok(endpoint)
        })?;
        Ok((endpoint, signature::written(&secret)))
    }

    /// Sends a message of type `ping` to an endpoint, now and once.
    ///
    /// # Errors
    /// `not-found`; `denied`, `unreachable` or `timeout` where the receiver was not reached.
    pub async fn test_webhook(&self, environment: &str, name: &str, caller: &str) -> Result<Tested> {
        let endpoint = self.webhook(environment, name)?;
        let payload = Message::new(PING, json!({ "environment": environment, "webhook": name })).written()?;
        let id = format!("msg_{}", Uuid::new_v4().simple());
        let answer = self.send_message(&endpoint, &id, &payload).await;
        let outcome = match &answer {
            Ok(answer) if answer.is_taken() => "done",
            Ok(_) => Kind::ServiceFailed.name(),
            Err(fault) => Error::from(fault.clone()).kind().name(),
        };
        self.audit.write(&Event::webhook_tested(environment, name, outcome, caller))?;
        let Answer { status, said, .. } = answer?;
        Ok(Tested { status: status.as_u16(), said })
    }

    /// Says before anything is kept that an endpoint's address is one that is not reached. It is judged again with each message.
    async fn judge_webhook(&self, origin: &Origin, private: &PrivateAllowed) -> Result<()> {
        match self.transport()?.would_reach(origin, private, &attempt::limits()).await {
            Ok(Reach::Public | Reach::Private(_)) => Ok(()),
            Ok(Reach::Never(why)) => {
                Err(Kind::Denied.error(format!("{origin} is an address that is never reached: {why}.")))
            }
            Err(fault) => match Error::from(fault) {
                error if error.kind() == Kind::Denied => Err(error),
                // A receiver that is not there today may be tomorrow.
                error => {
                    tracing::debug!(%origin, %error, "the receiver does not resolve now");
                    Ok(())
                }
            },
        }
    }
}

fn secret(given: Option<&str>) -> Result<Secret> {
    given.map_or_else(signature::generate, signature::read)
}

/// https, or http where the transport finds that it was allowed. What is wrong is said without the URL, which may hold a secret.
fn checked_url(text: &str) -> Result<Url> {
    let refused = |why: &str| Kind::InvalidInput.error(format!("That cannot be the URL of a webhook: {why}."));
    if text.len() > LONGEST_URL {
        return Err(refused("it is longer than 2,000 bytes"));
    }
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    Origin::of(&url).map_err(|_| refused("it is neither https nor http"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            refused("it has a user name or a password").hint("A receiver knows by the signature who sent a message.")
        );
    }
    if url.fragment().is_some() {
        return Err(refused("it has a fragment, which is never sent"));
    }
    Ok(url)
}
