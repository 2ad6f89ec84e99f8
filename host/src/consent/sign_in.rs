//! Keeps what a sign-in gave good: signs in when there is nothing, renews ahead of expiry and after a refusal, one at a
//! time for each connection, and never hands out what is not on the disk yet. Where a renewal spends what it is asked with,
//! that it is asked for is on the disk before the request leaves: an answer that was lost is never asked for again.

mod renewal;
mod when;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

pub(crate) use self::renewal::Kept;
use self::renewal::Renewal;
use super::{
    CameBack, Captured,
    elsewhere::{Brought, Elsewhere, Errand, Fruitless, SentAway},
    oauth2::Given,
    source::Source,
    step::Way,
    turn::Turns,
    visit::Visiting,
};
use crate::{
    audit::Subject,
    egress::{Credentials, Held, Stands},
    error::{Kind, Result},
    manifest::{Login, Parameter, Values},
    sync::lock,
};

/// What was got because a service refused the one before, and that something was spent for, is not replaced again for so long,
/// whatever the service says.
const REFUSED_ANEW: Duration = Duration::from_secs(60);

/// The credentials of a connection that signs in.
pub struct SignIn(Arc<Renewal>);

impl SignIn {
    pub(crate) fn new(
        source: Source,
        typed: Values,
        (way, elsewhere): (Way, Option<Arc<dyn Elsewhere>>),
        turns: &Turns,
        connection: Uuid,
        kept: Option<Kept>,
    ) -> Self {
        // Nobody else signs in for a connection that is not there yet.
        let turn = if kept.is_some() { turns.of(connection) } else { Arc::default() };
        Self(Arc::new(Renewal { source, typed, way, elsewhere, connection, turn, kept, held: Mutex::default() }))
    }

    /// Takes a first token, which the account's owner just agreed to.
    pub(crate) async fn begin(&self, given: &Given, subject: &Subject) -> Result<()> {
        let Renewal { source, way, typed, .. } = &*self.0;
        let Source::Oauth2(client) = source else {
            return Err(Kind::Internal.error("Only an authorization server takes a code."));
        };
        let obtained = client.obtain(way, typed, given, subject).await;
        self.take_first(obtained.map_err(|failure| self.0.came_to_nothing(failure, subject))?, subject)
    }

    /// Goes on with a login where a person comes back from the page that they were sent to.
    pub(crate) async fn come_back(&self, visiting: &Visiting, came: &CameBack, subject: &Subject) -> Result<()> {
        let Renewal { source, way, .. } = &*self.0;
        let Source::Login(login @ Login { visit: Some(visit), .. }) = source else {
            return Err(Kind::Internal.error("Only a login with a visit sends a person away."));
        };
        let obtained = visiting.finish(login, visit, way, came, subject).await;
        self.take_first(obtained.map_err(|failure| self.0.came_to_nothing(failure, subject))?, subject)
    }

    /// Takes what a gateway got for somebody whose browser came back.
    pub(crate) async fn bring(&self, away: &SentAway, came: &CameBack, subject: &Subject) -> Result<()> {
        let elsewhere = self.0.elsewhere.as_ref();
        let elsewhere = elsewhere.ok_or_else(|| Kind::Internal.error("Nobody else signs in for this connection."))?;
        let CameBack { below, query } = came.clone();
        let errand = Errand::ComeBack { trip: away.trip.clone(), below, query };
        let brought = elsewhere.run(errand, subject, None).await.map_err(|Fruitless { failure, .. }| failure);
        let obtained = brought.and_then(Brought::captured);
        self.take_first(obtained.map_err(|failure| self.0.came_to_nothing(failure, subject))?, subject)
    }

    /// Takes what a person agreed to on another device.
    pub(crate) fn take_first(&self, captured: Captured, subject: &Subject) -> Result<()> {
        self.0.take(captured, None, subject).map(drop)
    }

    /// What was captured last.
    pub(crate) fn captured(&self) -> Option<Captured> {
        self.0.captured()
    }

    /// Signs in, or renews, in a task of its own that holds the turn to the end.
    async fn sign_in(&self, turn: OwnedMutexGuard<()>, subject: &Subject) -> Result<Arc<Held>> {
        let (renewal, subject) = (self.0.clone(), subject.clone());
        let renewing = tokio::spawn(async move {
            let signed_in = renewal.sign_in(&subject).await;
            drop(turn);
            signed_in
        });
        renewing.await.unwrap_or_else(|_| Err(Kind::Internal.error("The renewal was ended with the host.")))
    }
}

#[async_trait]
impl Credentials for SignIn {
    async fn current(&self, subject: &Subject) -> Result<Arc<Held>> {
        let it = &*self.0;
        it.turn.stand(subject)?;
        if let Some(held) = it.good() {
            return Ok(held);
        }
        // Read anew, it has looked at nothing yet; and another may have kept something since it did.
        it.look()?;
        // What is good for a little while yet is good enough while somebody else renews it.
        let turn = match (it.turn.one.clone().try_lock_owned(), it.still_good()) {
            (Ok(turn), _) => turn,
            (Err(_), Some(held)) => return Ok(held),
            (Err(_), None) => it.turn.one.clone().lock_owned().await,
        };
        it.turn.stand(subject)?;
        it.look()?;
        if let Some(held) = it.good() {
            return Ok(held);
        }
        let held = match self.sign_in(turn, subject).await {
            // A sign-in that fails for now takes nothing away that is still good.
            Err(error) => it.still_good().ok_or(error)?,
            Ok(held) => held,
        };
        // It may have been ended while this was waited for.
        it.turn.stand(subject)?;
        Ok(held)
    }

    fn at_hand(&self) -> Option<Arc<Held>> {
        if let Err(error) = self.0.look() {
            tracing::warn!(%error, "what was captured cannot be read");
        }
        lock(&self.0.held).as_ref().filter(|(_, captured)| captured.refused.is_none()).map(|(held, _)| held.clone())
    }

    fn known(&self) -> Option<Arc<Held>> {
        let held = |held: &Mutex<Option<(Arc<Held>, Captured)>>| lock(held).as_ref().map(|(held, _)| held.clone());
        held(&self.0.held).or_else(|| {
            // At hand or not, it is held afterwards.
            self.at_hand();
            held(&self.0.held)
        })
    }

    fn are_bearer(&self) -> bool {
        matches!(self.0.source, Source::Oauth2(_))
    }

    async fn keep_alive(&self, idle: Duration, subject: &Subject) -> Result<bool> {
        let it = &*self.0;
        let turn = it.turn.one.clone().lock_owned().await;
        it.turn.stand(subject)?;
        it.look()?;
        let idle = i64::try_from(idle.as_secs()).unwrap_or(i64::MAX);
        let due = it.captured().is_some_and(|captured| {
            let renews = captured.refused.is_none() && it.source.renews(&captured);
            let now = Timestamp::now().as_second();
            // One of the future was noted by a clock that was wrong.
            let is_idle = captured.obtained.saturating_add(idle) <= now || captured.obtained > now;
            renews && (is_idle || (it.source.trades_the_token(&captured) && !it.is_good_for_a_while(&captured)))
        });
        if due {
            self.sign_in(turn, subject).await?;
        }
        Ok(due)
    }

    async fn renewed(&self, refused: &Held, subject: &Subject) -> Result<Option<Arc<Held>>> {
        let it = &*self.0;
        let turn = it.turn.one.clone().lock_owned().await;
        it.turn.stand(subject)?;
        it.look()?;
        // Without anything to renew it with, it stays: one refusal proves nothing, and it is all there is.
        if it.captured().is_none_or(|captured| captured.refused.is_none() && !it.source.can_renew(&captured)) {
            return Ok(None);
        }
        // Somebody else was quicker.
        let newer = lock(&it.held).as_ref().filter(|(held, _)| held.generation > refused.generation).cloned();
        if let Some((held, _)) = newer.filter(|(_, captured)| captured.refused.is_none()) {
            return Ok(Some(held));
        }
        // A service that refuses what was got for it a moment ago refuses something else than the token.
        let useless = lock(&it.turn.after_refusal)
            .is_some_and(|(generation, when)| generation == refused.generation && when.elapsed() < REFUSED_ANEW);
        if useless {
            return Ok(None);
        }
        let before = it.captured();
        let is_once =
            it.source.spends(before.as_ref()) || before.is_some_and(|before| it.source.trades_the_token(&before));
        let held = self.sign_in(turn, subject).await?;
        if is_once {
            *lock(&it.turn.after_refusal) = Some((held.generation, Instant::now()));
        }
        it.turn.stand(subject)?;
        Ok(Some(held))
    }
}

/// What was typed, and what was captured.
///
/// # Errors
/// `reconnect-needed` where what was captured before does not look as this version of the connector says.
pub(crate) fn with_captured(parameters: &[Parameter], mut values: Values, captured: &Captured) -> Result<Values> {
    for parameter in parameters {
        if let Some(value) = captured.values.get(&parameter.name) {
            values.put(parameter, value.clone()).map_err(|error| Kind::ReconnectNeeded.error(error.message()))?;
        }
    }
    Ok(values)
}
