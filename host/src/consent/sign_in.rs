//! Keeps what a sign-in gave good: signs in when there is nothing, renews ahead of expiry and after a refusal, one at a
//! time for each connection, and never hands out what is not on the disk yet. Where a renewal spends what it is asked with,
//! that it is asked for is on the disk before the request leaves: an answer that was lost is never asked for again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::{
    CameBack, Captured,
    elsewhere::{Elsewhere, Errand, Fruitless, SentAway},
    oauth2::Given,
    sending::{Leaving, Sending},
    source::Source,
    step::{Failure, Way},
    turn::{Failed, Turn, Turns},
    visit::Visiting,
};
use crate::{
    audit::{Event, Subject},
    egress::{Credentials, Held, Stands},
    error::{Error, Kind, Result},
    manifest::{Login, Parameter, Values, login::ACCESS_TOKEN},
    outbox::{About, EventType, Happened, Outbox, Reason},
    pause,
    store::{Changes, Place, Vault},
    sync::lock,
    transport::Before,
};

/// Renewed so long before it runs out: a request may take a while to arrive, and clocks differ.
const AHEAD: Duration = Duration::from_secs(60);
/// Of a short lifetime, this part is kept ahead instead.
const AHEAD_PART: u32 = 10;
/// After a failure that may pass, the next try waits: first so long, then twice as long each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What was got because a service refused the one before, and that something was spent for, is not replaced again for so long,
/// whatever the service says.
const REFUSED_ANEW: Duration = Duration::from_secs(60);

/// Where what was captured is kept, where it is noted that something leaves, and who is told of it.
pub(crate) struct Kept {
    pub(crate) vault: Arc<Vault>,
    pub(crate) place: Place,
    pub(crate) leaving: Leaving,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) about: About,
    /// Whether a connection with these values does what its owner agreed to.
    pub(crate) agreed: Agreed,
}

/// See [`Kept::agreed`].
pub(crate) type Agreed = Box<dyn Fn(&Values) -> Result<()> + Send + Sync>;

/// The credentials of a connection that signs in.
pub struct SignIn(Arc<Renewal>);

/// What renews for as long as it takes, whoever waits for it: a caller that goes away takes no answer with it.
struct Renewal {
    source: Source,
    typed: Values,
    way: Way,
    /// Who asks, where it is not this host.
    elsewhere: Option<Arc<dyn Elsewhere>>,
    turn: Arc<Turn>,
    /// Where what was captured is kept; none while connecting, when there is no connection yet.
    kept: Option<Kept>,
    held: Mutex<Option<(Arc<Held>, Captured)>>,
}

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
        Self(Arc::new(Renewal { source, typed, way, elsewhere, turn, kept, held: Mutex::default() }))
    }

    /// Takes a first token, which the account's owner just agreed to.
    pub(crate) async fn begin(&self, given: &Given, subject: &Subject) -> Result<()> {
        let Renewal { source, way, typed, .. } = &*self.0;
        let Source::Oauth2(client) = source else {
            return Err(Kind::Internal.error("Only an authorization server takes a code."));
        };
        let captured = client.obtain(way, typed, given, subject).await.map_err(Failure::into_error)?;
        self.take_first(captured, subject)
    }

    /// Goes on with a login where a person comes back from the page that they were sent to.
    pub(crate) async fn come_back(&self, visiting: &Visiting, came: &CameBack, subject: &Subject) -> Result<()> {
        let Renewal { source, way, .. } = &*self.0;
        let Source::Login(login @ Login { visit: Some(visit), .. }) = source else {
            return Err(Kind::Internal.error("Only a login with a visit sends a person away."));
        };
        let captured = visiting.finish(login, visit, way, came, subject).await.map_err(Failure::into_error)?;
        self.take_first(captured, subject)
    }

    /// Takes what a gateway got for somebody whose browser came back.
    pub(crate) async fn bring(&self, away: &SentAway, came: &CameBack, subject: &Subject) -> Result<()> {
        let elsewhere = self.0.elsewhere.as_ref();
        let elsewhere = elsewhere.ok_or_else(|| Kind::Internal.error("Nobody else signs in for this connection."))?;
        let CameBack { below, query } = came.clone();
        let errand = Errand::ComeBack { trip: away.trip.clone(), below, query };
        let brought = elsewhere.run(errand, subject, None).await.map_err(Fruitless::into_error)?;
        self.take_first(brought.captured().map_err(Failure::into_error)?, subject)
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

impl Renewal {
    fn captured(&self) -> Option<Captured> {
        lock(&self.held).as_ref().map(|(_, captured)| captured.clone())
    }

    /// Takes what is kept, if it is newer than what is held.
    fn look(&self) -> Result<()> {
        let Some(Kept { vault, place, .. }) = &self.kept else { return Ok(()) };
        let Some(captured) = vault.get::<Captured>(place)? else { return Ok(()) };
        let newer = lock(&self.held)
            .as_ref()
            .is_none_or(|(held, known)| held.generation < captured.generation || known.sending != captured.sending);
        if newer { self.hold(captured).map(drop) } else { Ok(()) }
    }

    fn hold(&self, captured: Captured) -> Result<Arc<Held>> {
        let values = with_captured(&self.source.captured(), self.typed.clone(), &captured)?;
        let sealed = captured.sealed.as_ref().map(|sealed| sealed.text.clone());
        let held = Arc::new(Held::new(values, captured.generation).sealed(sealed));
        *lock(&self.held) = Some((held.clone(), captured));
        Ok(held)
    }

    /// What is held, if it is good for a while yet.
    fn good(&self) -> Option<Arc<Held>> {
        let held = lock(&self.held);
        let (held, captured) = held.as_ref()?;
        is_good(captured, ahead(captured), Timestamp::now()).then(|| held.clone())
    }

    /// What is held, if it is good at all.
    fn still_good(&self) -> Option<Arc<Held>> {
        let held = lock(&self.held);
        let (held, captured) = held.as_ref()?;
        is_good(captured, Duration::ZERO, Timestamp::now()).then(|| held.clone())
    }

    /// Signs in, or renews. Called by one at a time.
    async fn sign_in(&self, subject: &Subject) -> Result<Arc<Held>> {
        self.turn.stand(subject)?;
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
        let spends = self.source.spends(before.as_ref());
        if let Some(before) = before.as_ref().filter(|before| spends && self.may_have_left(before)) {
            let (error, reason) = match before.sending.as_ref().and_then(Sending::restored) {
                Some(moment) => (restored(moment, subject), Reason::Restored),
                None => (lost(None), Reason::AnswerLost),
            };
            // What is good yet is served; nothing better comes after it.
            return Err(match self.still_good() {
                Some(_) => error,
                None => self.refused(error, reason, subject)?,
            });
        }
        let asking = before.as_ref().map_or(0, |before| before.generation) + 1;
        // On the disk before the request leaves: whoever finds it there later knows that the answer was lost.
        let left = Arc::new(AtomicBool::new(false));
        let sending = before.as_ref().filter(|_| spends).and_then(|before| self.mark(asking, before, left.clone()));
        let outcome = match self.ask(before.as_ref(), subject, sending).await {
            // Whatever stood in its way, it did not get so far as to be marked: nothing left.
            Err(Failure::Lost(error)) if spends && !left.load(Ordering::Acquire) => Err(Failure::Later(error, None)),
            // One that was seen to accept the same token again may be asked with it again.
            Err(Failure::Lost(error)) if before.as_ref().is_some_and(accepts_it_again) => {
                Err(Failure::Later(error, None))
            }
            outcome => outcome,
        };
        let is_unspent = matches!(
            outcome,
            Err(Failure::Later(..) | Failure::OfApp(..) | Failure::Unsent(_) | Failure::Undecided { .. })
        );
        if let (Some(before), true) = (&before, spends && is_unspent) {
            // Nothing was spent, so the same may be presented again; or what it brought is kept already.
            if self.captured().is_none_or(|held| held.generation < asking) {
                self.keep(&Captured { sending: None, ..before.clone() }, &[])?;
            }
            if let Some(kept) = &self.kept {
                kept.leaving.clear(&Sending::new(asking));
            }
        }
        match outcome {
            Ok(captured) => self.take(captured, before.as_ref(), subject),
            Err(Failure::Refused(error)) => Err(self.refused(error, Reason::Refused, subject)?),
            Err(Failure::Lost(error)) if spends => match (&before, self.still_good()) {
                // What is good yet is served; when it has run out, the mark on the disk says why there is nothing better.
                (Some(before), Some(_)) => {
                    self.hold(Captured { sending: Some(Sending::new(asking)), ..before.clone() })?;
                    Err(lost(Some(&error)))
                }
                _ => Err(self.refused(lost(Some(&error)), Reason::AnswerLost, subject)?),
            },
            Err(Failure::Unsent(error)) => Err(error),
            Err(failure) => {
                let wait = if let Failure::Later(_, wait) | Failure::OfApp(_, wait) = &failure { *wait } else { None };
                let error = failure.into_error();
                let mut failed = lock(&self.turn.failed);
                let pause = next_pause(failed.as_ref().map(|failed| failed.pause));
                let again = Instant::now() + wait.unwrap_or_else(|| pause::spread(pause));
                *failed = Some(Failed { error: error.clone(), again, pause });
                Err(error)
            }
        }
    }

    /// Keeps what was given, and hands it out.
    fn take(&self, captured: Captured, before: Option<&Captured>, subject: &Subject) -> Result<Arc<Held>> {
        *lock(&self.turn.failed) = None;
        let generation = before.map_or(0, |before| before.generation) + 1;
        let obtained = Timestamp::now().as_second();
        let lifetime = self.source.lifetime().and_then(|lifetime| i64::try_from(lifetime.as_secs()).ok());
        let expires = captured.expires.or_else(|| lifetime.map(|lifetime| obtained.saturating_add(lifetime)));
        let captured = Captured { generation, obtained, expires, sending: None, refused: None, ..captured };
        // On the disk before anybody uses it: a service may take the old ones back as it hands out new ones.
        self.keep(&captured, &self.renewed(&captured))?;
        self.way.audit.write(&Event::signed_in(subject, generation))?;
        if expires.is_some_and(|expires| expires <= obtained) {
            return Err(Kind::ServiceFailed.error("The sign-in gave something that has run out already."));
        }
        // New, it is used at least once, however soon it runs out.
        self.hold(captured)
    }

    /// Writes down that nobody is to be asked again before the account's owner is.
    fn refused(&self, error: Error, reason: Reason, subject: &Subject) -> Result<Error> {
        self.way.audit.write(&Event::sign_in_refused(subject, error.message()))?;
        // What there is stays, the newest renewal token too, so that the provider can be told to end it; nothing of it is used
        // any longer.
        let before = self.captured().unwrap_or_default();
        let refused = Captured {
            generation: before.generation + 1,
            refused: Some(error.message().to_owned()),
            sending: None,
            ..before
        };
        let needed = self.kept.as_ref().map(|kept| kept.about.happened(EventType::NeedsReconnect, Some(reason)));
        self.keep(&refused, needed.as_slice())?;
        self.hold(refused)?;
        Ok(error)
    }

    /// Here, or where only what was typed can be opened.
    async fn ask(
        &self,
        before: Option<&Captured>,
        subject: &Subject,
        sending: Option<Before>,
    ) -> Result<Captured, Failure> {
        // On the disk before the access token that came with it is used.
        let keep = |renewed: &Captured| before.map_or(Ok(()), |before| self.keep_renewed(renewed, before));
        let Some(elsewhere) = &self.elsewhere else {
            return self.source.ask(&self.way, &self.typed, before, subject, sending, &keep).await;
        };
        let errand = before.map_or(Errand::Begin, |before| Errand::Renew(before.clone()));
        match elsewhere.run(errand, subject, sending).await {
            Ok(brought) => brought.captured(),
            Err(Fruitless { failure, kept }) => {
                if let Some(kept) = kept {
                    keep(&kept).map_err(Failure::Lost)?;
                }
                Err(failure)
            }
        }
    }

    /// Keeps what a renewal brought while there is still something to do before it can be used: should that fail, the next one
    /// goes on from there.
    fn keep_renewed(&self, renewed: &Captured, before: &Captured) -> Result<()> {
        let mut kept =
            Captured { generation: before.generation + 1, sending: None, expires: Some(0), ..renewed.clone() };
        kept.values.remove(ACCESS_TOKEN);
        self.keep(&kept, &[])?;
        self.hold(kept).map(drop)
    }

    /// What writes down that this generation is being asked for.
    fn mark(&self, asking: u64, before: &Captured, left: Arc<AtomicBool>) -> Option<Before> {
        let Kept { vault, place, leaving, .. } = self.kept.as_ref()?;
        let (vault, place, leaving, sending) = (vault.clone(), place.clone(), leaving.clone(), Sending::new(asking));
        let marked = Captured { sending: Some(sending.clone()), ..before.clone() };
        Some(Box::new(move || {
            left.store(true, Ordering::Release);
            vault.commit(Changes::new().put(&place, &marked)?)?;
            leaving.mark(&sending)
        }))
    }

    /// Whether an earlier renewal may have arrived, whose answer never came, and may have replaced what it was asked with.
    fn may_have_left(&self, before: &Captured) -> bool {
        if accepts_it_again(before) {
            return false;
        }
        match (&before.sending, &self.kept) {
            (Some(sending), Some(kept)) => !kept.leaving.never_left(sending),
            (sending, _) => sending.is_some(),
        }
    }

    /// What is told of a renewal: that there was one, and that it leads where the owner did not agree to, if it does.
    fn renewed(&self, captured: &Captured) -> Vec<Happened> {
        let Some(Kept { about, agreed, .. }) = &self.kept else { return Vec::new() };
        let refreshed = about.happened(EventType::Refreshed, None);
        let values = with_captured(&self.source.captured(), self.typed.clone(), captured);
        match values.and_then(|values| agreed(&values)) {
            Ok(()) => vec![refreshed],
            Err(_) => vec![refreshed, about.happened(EventType::NeedsReconnect, Some(Reason::NotAgreed))],
        }
    }

    fn keep(&self, captured: &Captured, happened: &[Happened]) -> Result<()> {
        let Some(Kept { outbox, place, leaving, .. }) = &self.kept else { return Ok(()) };
        outbox.commit(Changes::new().put(place, captured)?, happened)?;
        leaving.clear(&Sending::new(captured.generation));
        Ok(())
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
            renews && (captured.obtained.saturating_add(idle) <= now || captured.obtained > now)
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
        let spends = it.source.spends(it.captured().as_ref());
        let held = self.sign_in(turn, subject).await?;
        if spends {
            *lock(&it.turn.after_refusal) = Some((held.generation, Instant::now()));
        }
        it.turn.stand(subject)?;
        Ok(Some(held))
    }
}

/// Whether the provider was seen to leave the renewal token as it is.
fn accepts_it_again(before: &Captured) -> bool {
    before.rotates == Some(false)
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

fn is_good(captured: &Captured, ahead: Duration, now: Timestamp) -> bool {
    let ahead = i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
    captured.refused.is_none() && captured.expires.is_none_or(|expires| now.as_second().saturating_add(ahead) < expires)
}

/// A tenth of a short lifetime, a minute of a long one; a little more for some, so that what was got together is not renewed
/// together.
fn ahead(captured: &Captured) -> Duration {
    let ahead = captured.lifetime().map_or(AHEAD, |lifetime| AHEAD.min(lifetime / AHEAD_PART));
    let some = u32::try_from(captured.obtained.rem_euclid(4)).unwrap_or(0);
    ahead + ahead * some / 8
}

fn next_pause(before: Option<Duration>) -> Duration {
    before.map_or(FIRST_PAUSE, |before| (before * 2).min(LONGEST_PAUSE))
}

fn lost(why: Option<&Error>) -> Error {
    let why = why.map_or("The host ended before the answer came.", Error::message);
    Kind::ReconnectNeeded
        .error(format!(
            "The last renewal was sent and its answer was lost: {why} The provider may have replaced the renewal token, which is therefore not presented again."
        ))
        .hint("`attache connection reconnect NAME` signs in again.")
}

fn restored(moment: &str, subject: &Subject) -> Error {
    Kind::ReconnectNeeded
        .error(format!(
            "The connection was restored from a backup of {moment}. The provider may have replaced the renewal token since, which is therefore not presented again."
        ))
        .hint(format!("`attache connection reconnect {}` signs in again.", subject.connection()))
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
        let lasting = |seconds: i64| Captured { obtained: 900, expires: Some(900 + seconds), ..Captured::default() };
        assert_eq!(ahead(&lasting(3_600)), AHEAD);
        assert_eq!(ahead(&lasting(100)), Duration::from_secs(10));
        assert_eq!(ahead(&Captured { obtained: 901, expires: Some(901 + 3_600), ..captured(None) }), AHEAD * 9 / 8);
    }

    #[test]
    fn pauses_double_and_are_spread() {
        let mut pauses = vec![next_pause(None)];
        while pauses.len() < 8 {
            pauses.push(next_pause(pauses.last().copied()));
        }
        let seconds: Vec<u64> = pauses.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        let spread: Vec<Duration> = (0..100).map(|_| pause::spread(LONGEST_PAUSE)).collect();
        assert!(spread.iter().all(|wait| (LONGEST_PAUSE / 2..=LONGEST_PAUSE * 3 / 2).contains(wait)), "{spread:?}");
        assert!(spread.iter().any(|wait| *wait != spread[0]));
    }
}
