//! Connect sessions: each is one person's way from a link to a connection. It is used once, does not last, and belongs to the
//! browser that begins it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Instant,
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::sync::{Notify, watch};
use url::Url;

use super::session::{Asked, Filled, LASTS, Making, Matter, OnTrip, Progress, Session, Step, Tokens, Whose};
use crate::{
    connect::{Blank, ConnectProposal, Trip},
    consent::CameBack,
    digest::Digest,
    error::{Error, Kind, Result},
    sync::lock,
};

/// Sessions that are under way at a time; a link costs its caller nothing, so their number is bounded. Where it is reached,
/// whoever has the most makes room for others.
const MOST: usize = 10_000;
/// How often one may be begun, or its form be sent: each time may make calls to the service.
const MOST_BEGINNINGS: usize = 20;
/// What people typed and have not agreed to yet, of one environment's sessions together.
const MOST_TYPED: usize = 16 << 20;

/// What time it is for sessions.
pub(super) type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// Sessions that are under way.
pub(super) struct Sessions {
    all: Mutex<HashMap<String, Session>>,
    /// Those that ended without anybody's doing, until they are asked for.
    lost: Mutex<Vec<Whose>>,
    /// Those that somebody came back with, for whoever opened them.
    over: Mutex<HashMap<String, Over>>,
    /// Ties a form to the browser that was shown it.
    key: hmac::Key,
    now: Clock,
    /// Whoever waits for somebody to get further looks again.
    pub(super) changed: Notify,
}

struct Over {
    holder: String,
    environment: String,
    /// Whose it is, while what they brought is looked at.
    owner: Option<String>,
    until: Instant,
    /// None while what they brought is looked at.
    outcome: Option<Result<()>>,
}

impl Sessions {
    pub(super) fn new(now: Clock) -> Result<Self> {
        let mut key = [0; 32];
        fill(&mut key)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let (all, lost, over) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { all, lost, over, key, now, changed: Notify::new() })
    }

    /// Opens one, and gives its name, which nobody can guess.
    pub(super) fn open(&self, matter: Matter, owner: Option<String>, return_url: Option<Url>) -> Result<String> {
        let name = random_name()?;
        let mut all = lock(&self.all);
        let now = (self.now)();
        self.end_late(&mut all, now);
        let (holder, environment) = matter.asked_by();
        if all.len() >= MOST {
            let ended = make_room(&mut all, holder, environment).ok_or_else(|| {
                Kind::RateLimited
                    .error("Too many people are on their way to connect something.")
                    .hint("Try again in some minutes.")
            })?;
            lock(&self.lost).push(ended.whose());
        }
        let session = Session {
            public_name: public_name(&name),
            matter,
            owner,
            return_url,
            ends: now + LASTS,
            beginnings: 0,
            browser: None,
            trip: None,
            making: None,
        };
        all.insert(name.clone(), session);
        Ok(name)
    }

    /// Those that ended, since this was last asked, before anybody came back, or with somebody who did not stay until it was looked
    /// at what they brought.
    pub(super) fn ran_out(&self) -> Vec<Whose> {
        let now = (self.now)();
        self.end_late(&mut lock(&self.all), now);
        self.forget_over(&mut lock(&self.over), now);
        std::mem::take(&mut *lock(&self.lost))
    }

    fn end_late(&self, all: &mut HashMap<String, Session>, now: Instant) {
        let late = all.extract_if(|_, session| session.is_over(now));
        lock(&self.lost).extend(late.map(|(_, session)| session.whose()));
    }

    fn forget_over(&self, over: &mut HashMap<String, Over>, now: Instant) {
        let old = over.extract_if(|_, over| over.until <= now).filter(|(_, over)| over.outcome.is_none());
        let whose = |(session, Over { environment, owner, .. })| Whose { environment, session, owner };
        lock(&self.lost).extend(old.map(whose));
    }

    /// Keeps what came of one, for whoever opened it.
    pub(super) fn note(&self, name: &str, proposal: &ConnectProposal, outcome: Result<()>) {
        self.keep(name, proposal, None, Some(outcome));
        self.changed.notify_waiters();
    }

    fn keep(&self, name: &str, proposal: &ConnectProposal, owner: Option<String>, outcome: Option<Result<()>>) {
        let mut over = lock(&self.over);
        let now = (self.now)();
        self.forget_over(&mut over, now);
        if over.len() < MOST {
            let (holder, environment) = proposal.asked_by();
            let (holder, environment) = (holder.to_owned(), environment.to_owned());
            over.insert(public_name(name), Over { holder, environment, owner, until: now + LASTS, outcome });
        }
    }

    /// How far one is that this holder opened. One that is foreign is gone.
    pub(super) fn progress(&self, public_name: &str, holder: &str, environment: &str) -> Progress {
        if let Some(over) = lock(&self.over).get(public_name)
            && over.holder == holder
            && over.environment == environment
            && over.until > (self.now)()
        {
            return match over.outcome.clone() {
                None => Progress::Begun,
                Some(outcome) => outcome.map_or_else(Progress::Failed, |()| Progress::CameBack),
            };
        }
        let all = lock(&self.all);
        let is_it = |session: &&Session| {
            session.public_name == public_name
                && !session.is_over((self.now)())
                && session.asked_by() == (holder, environment)
        };
        match all.values().find(is_it) {
            Some(Session { browser: Some(_), .. }) => Progress::Begun,
            Some(_) => Progress::Open,
            None => Progress::Gone,
        }
    }

    /// Looks at one, for a browser that comes with this name of its own. What is given with it is the token of the form, and
    /// that of the agreement where that is another.
    pub(super) fn look<T>(&self, name: &str, browser: &str, look: impl FnOnce(&Session, Tokens) -> T) -> Result<T> {
        let mut all = lock(&self.all);
        let session = self.of(&mut all, name, browser)?;
        let token = |of: &str| self.token(name, browser, of);
        let tokens = Tokens { form: token(""), agreement: token(session.shown()) };
        Ok(look(session, tokens))
    }

    /// What a form must carry to show that this browser was shown the page, and with it what was filled in.
    fn token(&self, name: &str, browser: &str, shown: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{name}\n{browser}\n{shown}").as_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref())
    }

    /// What is to be typed in one that is there, if anything is.
    pub(super) fn blank(&self, name: &str) -> Result<Option<Arc<Blank>>> {
        let all = lock(&self.all);
        let now = (self.now)();
        match &all.get(name).filter(|session| !session.is_over(now)).ok_or_else(gone)?.matter {
            Matter::Form(blank, _) => Ok(Some(blank.clone())),
            Matter::Terms(_) => Ok(None),
        }
    }

    /// What a browser does that was shown the page: it agrees to what that showed, or sends its form.
    pub(super) fn step(&self, name: &str, browser: &str, token: &str, agrees: bool) -> Result<Step> {
        let mut all = lock(&self.all);
        let session = self.of(&mut all, name, browser)?;
        let is_form = matches!(session.matter, Matter::Form(..)) && !agrees;
        let token_of = |shown: &str| self.token(name, browser, shown);
        let is = |known: String| verify_slices_are_equal(token.as_bytes(), known.as_bytes()).is_ok();
        if !is(token_of(if is_form { "" } else { session.shown() })) {
            // An agreement's token is good for what its page showed alone.
            let is_outdated = agrees && matches!(session.matter, Matter::Form(..)) && session.browser.is_some();
            return Err(if is_outdated { outdated() } else { another_browser() });
        }
        let step = match &session.matter {
            Matter::Terms(proposal) | Matter::Form(_, Some(Filled { proposal, .. })) if !is_form => {
                Step::Agree(proposal.clone())
            }
            Matter::Form(blank, _) if is_form => Step::FillIn(blank.clone()),
            Matter::Form(..) | Matter::Terms(_) => return Err(outdated()),
        };
        // Whoever pressed twice waits for what comes of the first time.
        if session.is_being_made() && !is_form {
            return Ok(step);
        }
        session.beginnings += 1;
        if session.beginnings > MOST_BEGINNINGS {
            return Err(Kind::RateLimited
                .error("This sign-in was begun too often.")
                .hint("Ask for a new link where you got it."));
        }
        Ok(step)
    }

    /// Keeps what a browser filled in, so many bytes, in place of what it did before: from now on the session is its own.
    pub(super) fn fill_in(
        &self,
        name: &str,
        browser: &str,
        proposal: Arc<ConnectProposal>,
        bytes: usize,
    ) -> Result<()> {
        let mut all = lock(&self.all);
        let (_, environment) = proposal.asked_by();
        let others = all.iter().filter(|(other, session)| *other != name && session.asked_by().1 == environment);
        if others.map(|(_, session)| session.typed_bytes()).sum::<usize>() + bytes > MOST_TYPED {
            return Err(Kind::RateLimited
                .error("Too much was typed that nobody has agreed to yet.")
                .hint("Try again in some minutes."));
        }
        let session = self.of(&mut all, name, browser)?;
        if session.is_being_made() {
            return Err(Kind::Denied.error("What you agreed to is being connected.").hint("Wait until it is."));
        }
        let Matter::Form(_, filled) = &mut session.matter else { return Err(gone()) };
        *filled = Some(Filled { proposal, id: random_name()?, bytes });
        session.trip = None;
        session.begin(browser, (self.now)());
        drop(all);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Has what a browser agreed to be made once, however often it says so.
    pub(super) fn make(&self, name: &str, browser: &str, agreed: &Arc<ConnectProposal>) -> Result<Making> {
        let mut all = lock(&self.all);
        let session = self.of(&mut all, name, browser)?;
        if let Some(making) = session.making.as_ref().filter(|_| session.is_being_made()) {
            return Ok(Making::Goes(making.clone()));
        }
        let is_there = |filled: &Filled| Arc::ptr_eq(&filled.proposal, agreed);
        match &session.matter {
            Matter::Form(_, filled) if !filled.as_ref().is_some_and(is_there) => return Err(outdated()),
            _ => {}
        }
        let (told, hears) = watch::channel(None);
        session.making = Some(hears.clone());
        session.begin(browser, (self.now)());
        Ok(Making::Begins(session.asked(agreed.clone()), told, hears))
    }

    /// Keeps what came of what somebody agreed to, and tells whether the session is over: a form that nothing came of is filled in
    /// anew.
    pub(super) fn made(&self, name: &str, proposal: &ConnectProposal, outcome: Result<()>) -> bool {
        let mut all = lock(&self.all);
        if outcome.is_err()
            && let Some(Session { matter: Matter::Form(_, filled), making, .. }) = all.get_mut(name)
        {
            (*filled, *making) = (None, None);
            return false;
        }
        all.remove(name);
        // Before anybody else looks, so that it is never gone.
        self.keep(name, proposal, None, Some(outcome));
        drop(all);
        self.changed.notify_waiters();
        true
    }

    /// Sends it on its way: from now on the session is its own. Whoever comes back and begins anew is sent with a new state.
    pub(super) fn send(&self, name: &str, browser: &str, proposal: Arc<ConnectProposal>, trip: Trip) -> Result<Url> {
        let mut all = lock(&self.all);
        let session = self.of(&mut all, name, browser)?;
        let url = trip.url.clone();
        session.begin(browser, (self.now)());
        let state = Digest::of(trip.state().as_bytes());
        session.trip = Some(OnTrip { proposal, trip, state });
        drop(all);
        self.changed.notify_waiters();
        Ok(url)
    }

    /// One that is there, where it is this browser's, or nobody's yet.
    fn of<'a>(&self, all: &'a mut HashMap<String, Session>, name: &str, browser: &str) -> Result<&'a mut Session> {
        let now = (self.now)();
        let session = all.get_mut(name).filter(|session| !session.is_over(now)).ok_or_else(gone)?;
        session.belongs_to(browser)?;
        Ok(session)
    }

    /// Ends the session that this callback belongs to, and gives its name, what was asked and where the person was sent.
    pub(super) fn end(&self, came: &CameBack, browser: &str) -> Result<(String, Asked, Trip)> {
        // Read once, and not for each session: anybody may bring anything.
        let brought: HashSet<Digest> = came.texts().iter().map(|text| Digest::of(text.as_bytes())).collect();
        let mut all = lock(&self.all);
        let now = (self.now)();
        let on_trip = all.iter().find(|(_, session)| session.ends > now && session.is_on_trip(came, &brought));
        let name = on_trip.map(|(name, _)| name.clone()).ok_or_else(gone)?;
        all.get(&name).ok_or_else(gone)?.belongs_to(browser)?;
        let Session { owner, return_url, trip, .. } = all.remove(&name).ok_or_else(gone)?;
        let OnTrip { proposal, trip, .. } = trip.ok_or_else(gone)?;
        self.keep(&name, &proposal, owner.clone(), None);
        Ok((name, Asked { proposal, owner, return_url }, trip))
    }
}

/// Ends the oldest session of whoever has the most: of the environment that has more than the asker's, else, in the asker's
/// own, of a holder who has more than they. None where nobody has.
fn make_room(all: &mut HashMap<String, Session>, holder: &str, environment: &str) -> Option<Session> {
    let crowded = most_of(all.values().map(|session| session.asked_by().1), environment).map(str::to_owned);
    let (of, own) = match &crowded {
        Some(other) => (other.as_str(), ""),
        None => (environment, holder),
    };
    let there = |session: &&Session| session.asked_by().1 == of;
    let busiest = most_of(all.values().filter(there).map(|session| session.asked_by().0), own)?;
    let theirs = all.iter().filter(|(_, session)| session.asked_by() == (busiest, of) && !session.is_being_made());
    let oldest = theirs.min_by_key(|(_, session)| session.ends).map(|(name, _)| name.clone());
    oldest.and_then(|name| all.remove(&name))
}

/// Whose there are the most of, where those are more than one's own.
fn most_of<'a>(all: impl Iterator<Item = &'a str>, own: &str) -> Option<&'a str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for whose in all {
        *counts.entry(whose).or_default() += 1;
    }
    let own = counts.get(own).copied().unwrap_or_default();
    counts.into_iter().filter(|(_, count)| *count > own).max_by_key(|(_, count)| *count).map(|(whose, _)| whose)
}

/// What a session is called by those who may not use its link.
pub(super) fn public_name(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()
}

/// 256 bits in a form that stands in a path and a cookie.
pub(in crate::server) fn random_name() -> Result<String> {
    let mut bytes = [0; 32];
    fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| Kind::Internal.error(format!("There are no random bytes: {error}.")))
}

fn gone() -> Error {
    Kind::NotFound
        .error("This link is not good any longer: it was used, or has run out.")
        .hint("Ask for a new one where you got it.")
}

fn outdated() -> Error {
    Kind::Usage
        .error("What was typed has changed since this page was shown, or was used already.")
        .hint("Open the link again, and look at what it shows.")
}

pub(super) fn another_browser() -> Error {
    Kind::Denied
        .error("This sign-in was begun in another browser.")
        .hint("Go on there, or ask for a new link. If somebody sent you this link, do not use it.")
}
