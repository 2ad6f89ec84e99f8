//! Keeps what a `login` gave good: signs in when there is nothing, renews ahead of expiry and after a refusal, one at a
//! time for each connection, and never hands out what is not on the disk yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Captured,
    step::{Failure, Way},
};
use crate::{
    audit::{Event, Subject},
    egress::{Credentials, Held},
    error::{Error, Kind, Result},
    manifest::{Login, Values},
    store::{Changes, Place, Vault},
    sync::lock,
};

/// Renewed so long before it runs out: a request may take a while to arrive, and clocks differ.
const AHEAD: Duration = Duration::from_secs(60);
/// Of a short lifetime, this part is kept ahead instead.
const AHEAD_PART: u32 = 10;
/// After a failure that may pass, the next try waits: first so long, then twice as long each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is shared by everything that signs in for one connection, however often its records are read again.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<Uuid, Arc<Turn>>>);

#[derive(Default)]
struct Turn {
    /// Held by whoever signs in.
    one: tokio::sync::Mutex<()>,
    failed: Mutex<Option<Failed>>,
}

/// A failure that may pass.
struct Failed {
    error: Error,
    again: Instant,
    pause: Duration,
}

impl Turns {
    fn of(&self, connection: Uuid) -> Arc<Turn> {
        lock(&self.0).entry(connection).or_default().clone()
    }

    /// Forgets a connection's: it was connected anew, or removed.
    pub fn forget(&self, connection: Uuid) {
        lock(&self.0).remove(&connection);
    }
}

/// The credentials of a connection that signs in.
pub struct SignIn {
    login: Login,
    typed: Values,
    way: Way,
    turn: Arc<Turn>,
    /// Where what was captured is kept; none while connecting, when there is no connection yet.
    kept: Option<(Arc<Vault>, Place)>,
    held: Mutex<Option<(Arc<Held>, Captured)>>,
}

impl SignIn {
    pub(crate) fn new(
        login: Login,
        typed: Values,
        way: Way,
        turns: &Turns,
        connection: Uuid,
        kept: Option<(Arc<Vault>, Place)>,
    ) -> Self {
        // Nobody else signs in for a connection that is not there yet.
        let turn = if kept.is_some() { turns.of(connection) } else { Arc::default() };
        Self { login, typed, way, turn, kept, held: Mutex::default() }
    }

    /// What was captured last.
    pub(crate) fn captured(&self) -> Option<Captured> {
        lock(&self.held).as_ref().map(|(_, captured)| captured.clone())
    }

    /// Takes what is kept, if it is newer than what is held.
    fn look(&self) -> Result<()> {
        let Some((vault, place)) = &self.kept else { return Ok(()) };
        let Some(captured) = vault.get::<Captured>(place)? else { return Ok(()) };
        let newer = lock(&self.held).as_ref().is_none_or(|(held, _)| held.generation < captured.generation);
        if newer { self.hold(captured).map(drop) } else { Ok(()) }
    }

    fn hold(&self, captured: Captured) -> Result<Arc<Held>> {
        let values = with_captured(&self.login, self.typed.clone(), &captured)?;
        let held = Arc::new(Held { values, generation: captured.generation });
        *lock(&self.held) = Some((held.clone(), captured));
        Ok(held)
    }

    /// What is held, if it is good for a while yet.
    fn good(&self) -> Option<Arc<Held>> {
        let held = lock(&self.held);
        let (held, captured) = held.as_ref()?;
        is_good(captured, ahead(captured.lifetime()), Timestamp::now()).then(|| held.clone())
    }

    /// What is held, if it is good at all.
    fn still_good(&self) -> Option<Arc<Held>> {
        let held = lock(&self.held);
        let (held, captured) = held.as_ref()?;
        is_good(captured, Duration::ZERO, Timestamp::now()).then(|| held.clone())
    }

    /// Signs in, or renews. Called by one at a time.
    async fn sign_in(&self, subject: &Subject) -> Result<Arc<Held>> {
        let before = self.captured();
        if let Some(why) = before.as_ref().and_then(|captured| captured.refused.clone()) {
            return Err(Kind::ReconnectNeeded.error(why).hint(format!(
                "`attache connection reconnect {}` asks for what was typed again.",
                subject.connection()
            )));
        }
        if let Some(failed) = &*lock(&self.turn.failed)
            && Instant::now() < failed.again
        {
            return Err(failed.error.clone());
        }
        match self.ask(before.as_ref(), subject).await {
            Ok(captured) => {
                *lock(&self.turn.failed) = None;
                let generation = before.as_ref().map_or(0, |before| before.generation) + 1;
                let obtained = Timestamp::now().as_second();
                let lifetime = self.login.lifetime.and_then(|lifetime| i64::try_from(lifetime.as_secs()).ok());
                let expires = captured.expires.or_else(|| lifetime.map(|lifetime| obtained.saturating_add(lifetime)));
                let captured = Captured { generation, obtained, expires, ..captured };
                // On the disk before anybody uses it: a service may take the old ones back as it hands out new ones.
                self.keep(&captured)?;
                self.way.audit.write(&Event::signed_in(subject, generation))?;
                if expires.is_some_and(|expires| expires <= obtained) {
                    return Err(Kind::ServiceFailed.error("The sign-in gave something that has run out already."));
                }
                // New, it is used at least once, however soon it runs out.
                self.hold(captured)
            }
            Err(Failure::Refused(error)) => {
                self.way.audit.write(&Event::sign_in_refused(subject, error.message()))?;
                let generation = before.as_ref().map_or(0, |before| before.generation) + 1;
                let refused = Captured { generation, refused: Some(error.message().to_owned()), ..Captured::default() };
                self.keep(&refused)?;
                self.hold(refused)?;
                Err(error)
            }
            Err(Failure::Later(error)) => {
                let mut failed = lock(&self.turn.failed);
                let pause = failed.as_ref().map_or(FIRST_PAUSE, |failed| (failed.pause * 2).min(LONGEST_PAUSE));
                *failed = Some(Failed { error: error.clone(), again: Instant::now() + pause, pause });
                Err(error)
            }
        }
    }

    /// The steps of a refresh where there are some and something to refresh, else those of the login.
    async fn ask(&self, before: Option<&Captured>, subject: &Subject) -> Result<Captured, Failure> {
        if let Some(before) = before.filter(|_| !self.login.refresh.is_empty()) {
            let values = with_captured(&self.login, self.typed.clone(), before).map_err(Failure::Refused)?;
            match self.way.run(&self.login.refresh, &values, subject).await {
                Ok(captured) => return Ok(captured.over(before)),
                // What was captured is no good any longer; what was typed may be.
                Err(Failure::Refused(_)) => {}
                Err(later) => return Err(later),
            }
        }
        self.way.run(&self.login.steps, &self.typed, subject).await
    }

    fn keep(&self, captured: &Captured) -> Result<()> {
        match &self.kept {
            Some((vault, place)) => vault.commit(Changes::new().put(place, captured)?),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Credentials for SignIn {
    async fn current(&self, subject: &Subject) -> Result<Arc<Held>> {
        if let Some(held) = self.good() {
            return Ok(held);
        }
        let _turn = self.turn.one.lock().await;
        self.look()?;
        if let Some(held) = self.good() {
            return Ok(held);
        }
        match self.sign_in(subject).await {
            // A sign-in that fails for now takes nothing away that is still good.
            Err(error) if error.kind() != Kind::ReconnectNeeded => self.still_good().ok_or(error),
            signed_in => signed_in,
        }
    }

    fn at_hand(&self) -> Option<Arc<Held>> {
        if let Err(error) = self.look() {
            tracing::warn!(%error, "what was captured cannot be read");
        }
        lock(&self.held).as_ref().filter(|(_, captured)| captured.refused.is_none()).map(|(held, _)| held.clone())
    }

    async fn renewed(&self, refused: &Held, subject: &Subject) -> Result<Option<Arc<Held>>> {
        let _turn = self.turn.one.lock().await;
        self.look()?;
        // Somebody else was quicker.
        let newer = lock(&self.held).as_ref().filter(|(held, _)| held.generation > refused.generation).cloned();
        match newer {
            Some((held, captured)) if captured.refused.is_none() => Ok(Some(held)),
            _ => self.sign_in(subject).await.map(Some),
        }
    }
}

/// What was typed, and what was captured.
///
/// # Errors
/// `reconnect-needed` where what was captured before does not look as this version of the connector says.
pub(crate) fn with_captured(login: &Login, mut values: Values, captured: &Captured) -> Result<Values> {
    for parameter in login.captured() {
        if let Some(value) = captured.values.get(&parameter.name) {
            values.put(parameter, value.clone()).map_err(|error| Kind::ReconnectNeeded.error(error.message()))?;
        }
    }
    Ok(values)
}

fn is_good(captured: &Captured, ahead: Duration, now: Timestamp) -> bool {
    let ahead = i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
    captured.refused.is_none() && captured.expires.is_none_or(|expires| now.as_second().saturating_add(ahead) < expires)
}

/// A tenth of a short lifetime, a minute of a long one.
fn ahead(lifetime: Option<Duration>) -> Duration {
    lifetime.map_or(AHEAD, |lifetime| AHEAD.min(lifetime / AHEAD_PART))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_captured_is_renewed_before_it_runs_out() {
        let now = Timestamp::from_second(1_000).unwrap();
        let captured = |expires| Captured { obtained: 900, expires, ..Captured::default() };
        assert!(is_good(&captured(None), AHEAD, now), "no word of an end: good until it is refused");
        assert!(is_good(&captured(Some(1_061)), AHEAD, now));
        assert!(!is_good(&captured(Some(1_060)), AHEAD, now));
        assert!(is_good(&captured(Some(1_060)), Duration::ZERO, now));
        assert!(!is_good(&captured(Some(1_000)), Duration::ZERO, now));
        assert!(!is_good(&Captured { refused: Some(String::new()), ..captured(None) }, Duration::ZERO, now));
        assert_eq!(ahead(Some(Duration::from_secs(3_600))), AHEAD);
        assert_eq!(ahead(Some(Duration::from_secs(100))), Duration::from_secs(10));
    }
}
