//! How a connection signs in, or renews: asked by one at a time, written down before it leaves where it spends something, and
//! kept before anybody uses it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    super::{
        Captured,
        elsewhere::{Elsewhere, Errand, Fruitless},
        sending::{Leaving, Sending},
        source::Source,
        step::{Failure, Way},
        turn::{Failed, Turn},
    },
    when::{ahead, is_good, next_pause},
    with_captured,
};
use crate::{
    audit::{Event, Obtaining, Subject},
    egress::{Held, Stands},
    error::{Error, Kind, Result},
    manifest::{Values, login::ACCESS_TOKEN},
    outbox::{About, EventType, Happened, Outbox, Reason},
    pause,
    store::{Changes, Place, Vault},
    sync::lock,
    transport::Before,
};

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

/// What renews for as long as it takes, whoever waits for it: a caller that goes away takes no answer with it.
pub(super) struct Renewal {
    pub(super) source: Source,
    pub(super) typed: Values,
    pub(super) way: Way,
    /// Who asks, where it is not this host.
    pub(super) elsewhere: Option<Arc<dyn Elsewhere>>,
    pub(super) connection: Uuid,
    pub(super) turn: Arc<Turn>,
    /// Where what was captured is kept; none while connecting, when there is no connection yet.
    pub(super) kept: Option<Kept>,
    pub(super) held: Mutex<Option<(Arc<Held>, Captured)>>,
}

impl Renewal {
    pub(super) fn captured(&self) -> Option<Captured> {
        lock(&self.held).as_ref().map(|(_, captured)| captured.clone())
    }

    /// Takes what is kept, if it is newer than what is held.
    pub(super) fn look(&self) -> Result<()> {
        let Some(Kept { vault, place, .. }) = &self.kept else { return Ok(()) };
        let Some(captured) = vault.get::<Captured>(place)? else { return Ok(()) };
        let newer = lock(&self.held)
            .as_ref()
            .is_none_or(|(held, known)| held.generation < captured.generation || known.sending != captured.sending);
        if newer { self.hold(captured).map(drop) } else { Ok(()) }
    }

    pub(super) fn hold(&self, captured: Captured) -> Result<Arc<Held>> {
        let values = with_captured(&self.source.captured(), self.typed.clone(), &captured)?;
        let sealed = captured.sealed.as_ref().map(|sealed| sealed.text.clone());
        let held = Arc::new(Held::new(values, captured.generation).sealed(sealed));
        *lock(&self.held) = Some((held.clone(), captured));
        Ok(held)
    }

    /// What is held, if it is good for a while yet.
    pub(super) fn good(&self) -> Option<Arc<Held>> {
        let held = lock(&self.held);
        let (held, captured) = held.as_ref()?;
        self.is_good_for_a_while(captured).then(|| held.clone())
    }

    pub(super) fn is_good_for_a_while(&self, captured: &Captured) -> bool {
        let [.., a, b, c] = *self.connection.as_bytes();
        let who = u32::from_be_bytes([0, a, b, c]).wrapping_add(captured.generation as u32);
        let ahead = ahead(captured, self.source.trades_the_token(captured), who);
        is_good(captured, ahead, Timestamp::now())
    }

    /// What is held, if it is good at all.
    pub(super) fn still_good(&self) -> Option<Arc<Held>> {
        let held = lock(&self.held);
        let (held, captured) = held.as_ref()?;
        is_good(captured, Duration::ZERO, Timestamp::now()).then(|| held.clone())
    }

    /// Signs in, or renews. Called by one at a time.
    pub(super) async fn sign_in(&self, subject: &Subject) -> Result<Arc<Held>> {
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
        if spends && is_unspent {
            // Nothing was spent, so the same may be presented again; or what it brought is kept already.
            self.unmark(asking)?;
        }
        match outcome {
            Ok(captured) => self.take(captured, before.as_ref(), subject),
            Err(Failure::Refused(error)) => Err(self.refused(error, Reason::Refused, subject)?),
            Err(Failure::Lost(error)) if spends => match (&before, self.still_good()) {
                // What is good yet is served; when it has run out, the mark on the disk says why there is nothing better.
                (Some(before), Some(_)) => {
                    self.hold(Captured { sending: Some(Sending::new(asking)), ..before.clone() })?;
                    let error = lost(Some(&error));
                    self.failed(&error, subject);
                    Err(error)
                }
                _ => Err(self.refused(lost(Some(&error)), Reason::AnswerLost, subject)?),
            },
            Err(Failure::Unsent(error)) => {
                self.failed(&error, subject);
                Err(error)
            }
            Err(failure) => {
                let wait = if let Failure::Later(_, wait) | Failure::OfApp(_, wait) = &failure { *wait } else { None };
                let error = failure.into_error();
                self.failed(&error, subject);
                let mut failed = lock(&self.turn.failed);
                let pause = next_pause(failed.as_ref().map(|failed| failed.pause));
                let again = Instant::now() + wait.unwrap_or_else(|| pause::spread(pause));
                *failed = Some(Failed { error: error.clone(), again, pause });
                Err(error)
            }
        }
    }

    /// Keeps what was given, and hands it out.
    pub(super) fn take(&self, captured: Captured, before: Option<&Captured>, subject: &Subject) -> Result<Arc<Held>> {
        *lock(&self.turn.failed) = None;
        let generation = before.map_or(0, |before| before.generation) + 1;
        let obtained = Timestamp::now().as_second();
        let lifetime = self.source.lifetime().and_then(|lifetime| i64::try_from(lifetime.as_secs()).ok());
        let expires = captured.expires.or_else(|| lifetime.map(|lifetime| obtained.saturating_add(lifetime)));
        let captured = Captured { generation, obtained, expires, sending: None, refused: None, ..captured };
        // On the disk before anybody uses it: a service may take the old ones back as it hands out new ones.
        self.keep(&captured, &self.renewed(&captured))?;
        self.way.audit.write(&Event::obtained(obtaining(before), subject, generation))?;
        if expires.is_some_and(|expires| expires <= obtained) {
            return Err(Kind::ServiceFailed.error("The sign-in gave something that has run out already."));
        }
        // New, it is used at least once, however soon it runs out.
        self.hold(captured)
    }

    /// Writes down that nobody is to be asked again before the account's owner is.
    fn refused(&self, error: Error, reason: Reason, subject: &Subject) -> Result<Error> {
        let before = self.captured();
        self.way.audit.write(&Event::obtaining_refused(obtaining(before.as_ref()), subject, error.message()))?;
        // What there is stays, the newest renewal token too, so that the provider can be told to end it; nothing of it is used
        // any longer.
        let before = before.unwrap_or_default();
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

    /// Writes down that nothing was given, and that the next time something may be.
    fn failed(&self, error: &Error, subject: &Subject) {
        let obtaining = obtaining(self.captured().as_ref());
        self.way.audit.write_over(&Event::obtaining_failed(obtaining, subject, error.message()));
    }

    /// Writes down that somebody came back from a page for nothing, and gives why. There is nothing kept yet.
    pub(super) fn came_to_nothing(&self, failure: Failure, subject: &Subject) -> Error {
        let is_refused = matches!(failure, Failure::Refused(_));
        let error = failure.into_error();
        let event = if is_refused { Event::obtaining_refused } else { Event::obtaining_failed };
        self.way.audit.write_over(&event(Obtaining::SignIn, subject, error.message()));
        error
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
            vault.commit_beside(|| {
                // This may have waited for the gateway, which got another key meanwhile: what it is asked with opens no longer.
                let kept = vault.get::<Captured>(&place)?;
                if kept.is_none_or(|kept| kept.sealed != marked.sealed) {
                    return Err(Kind::Unreachable
                        .error("The gateway got another key while this waited for it.")
                        .hint("Call again."));
                }
                Changes::new().put(&place, &marked)
            })?;
            leaving.mark(&sending)
        }))
    }

    /// Takes the mark away again: nothing came of it. What is kept is left as it is otherwise, as it may have been sealed to
    /// another key since it was read.
    fn unmark(&self, asking: u64) -> Result<()> {
        let Some(Kept { vault, place, leaving, .. }) = &self.kept else { return Ok(()) };
        vault.commit_beside(|| match vault.get::<Captured>(place)? {
            Some(kept) if kept.generation < asking && kept.sending.is_some() => {
                Changes::new().put(place, &Captured { sending: None, ..kept })
            }
            _ => Ok(Changes::new()),
        })?;
        leaving.clear(&Sending::new(asking));
        Ok(())
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

fn obtaining(before: Option<&Captured>) -> Obtaining {
    if before.is_some() { Obtaining::Renewal } else { Obtaining::SignIn }
}

/// Whether the provider was seen to leave the renewal token as it is.
fn accepts_it_again(before: &Captured) -> bool {
    before.rotates == Some(false)
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
