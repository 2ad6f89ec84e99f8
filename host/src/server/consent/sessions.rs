//! Connect sessions: each is one person's way from a link to a connection. It is used once, does not last, and belongs to the
//! browser that begins it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::sync::Notify;
use url::Url;

use crate::{
    connect::{ConnectProposal, Trip},
    consent::CameBack,
    digest::Digest,
    error::{Error, Kind, Result},
    sync::lock,
};

/// How long a link is good for, and how long a person may take at the provider.
pub const LASTS: Duration = Duration::from_secs(10 * 60);
/// Sessions that are under way at a time; a link costs its caller nothing, so their number is bounded. Where it is reached,
/// whoever has the most makes room for others.
const MOST: usize = 10_000;
/// How often one may be begun: each time may make calls to the service.
const MOST_BEGINNINGS: usize = 20;

/// What time it is for sessions.
pub(super) type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// What somebody asks a person for.
pub struct Asked {
    /// What the connection would be.
    pub proposal: Arc<ConnectProposal>,
    /// Whose it is to be, in the caller's own words; the caller authenticates that person.
    pub owner: Option<String>,
    /// Where the browser goes afterwards, with a code that confirms.
    pub return_url: Option<Url>,
}

/// Which session it is, and whose.
#[derive(Debug, Clone)]
pub struct Whose {
    /// The environment's name.
    pub environment: String,
    /// What it is called by those who may not use its link.
    pub session: String,
    /// As in [`Asked`].
    pub owner: Option<String>,
}

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

struct Session {
    /// What it is called by those who may not use its link.
    public_name: String,
    asked: Asked,
    ends: Instant,
    beginnings: usize,
    /// Who began it, and where they were sent.
    begun: Option<Begun>,
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

/// How far a session is.
#[derive(Debug)]
pub enum Progress {
    /// Nobody agreed yet.
    Open,
    /// Somebody agreed, and is on their way.
    Begun,
    /// They came back, with what is to be confirmed.
    CameBack,
    /// They came back, and nothing came of it.
    Failed(Error),
    /// It ran out, or never was.
    Gone,
}

impl Progress {
    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Begun => "begun",
            Self::CameBack => "came-back",
            Self::Failed(_) => "failed",
            Self::Gone => "gone",
        }
    }
}

struct Begun {
    browser: String,
    trip: Trip,
    /// Of the trip's state: what a callback brings is looked for among all trips.
    state: Digest,
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
    pub(super) fn open(&self, asked: Asked) -> Result<String> {
        let name = random_name()?;
        let mut all = lock(&self.all);
        let now = (self.now)();
        self.end_late(&mut all, now);
        let (holder, environment) = asked.proposal.asked_by();
        if all.len() >= MOST {
            let ended = make_room(&mut all, holder, environment).ok_or_else(|| {
                Kind::RateLimited
                    .error("Too many people are on their way to connect something.")
                    .hint("Try again in some minutes.")
            })?;
            lock(&self.lost).push(ended.whose());
        }
        all.insert(
            name.clone(),
            Session { public_name: public_name(&name), asked, ends: now + LASTS, beginnings: 0, begun: None },
        );
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
        let late = all.extract_if(|_, session| session.ends <= now);
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
                && session.ends > (self.now)()
                && session.asked.proposal.is_of(holder, environment)
        };
        match all.values().find(is_it) {
            Some(Session { begun: Some(_), .. }) => Progress::Begun,
            Some(_) => Progress::Open,
            None => Progress::Gone,
        }
    }

    /// Looks at what is asked, for a browser that comes with this name of its own.
    pub(super) fn look<T>(&self, name: &str, browser: &str, look: impl FnOnce(&Asked) -> T) -> Result<T> {
        let all = lock(&self.all);
        let session = all.get(name).filter(|session| session.ends > (self.now)()).ok_or_else(gone)?;
        session.belongs_to(browser)?;
        Ok(look(&session.asked))
    }

    /// What a form must carry to show that this browser was shown the page.
    pub(super) fn token(&self, name: &str, browser: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{name}\n{browser}").as_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref())
    }

    /// What a browser that was shown the page agrees to.
    pub(super) fn agreed(&self, name: &str, browser: &str, token: &str) -> Result<Arc<ConnectProposal>> {
        if verify_slices_are_equal(token.as_bytes(), self.token(name, browser).as_bytes()).is_err() {
            return Err(another_browser());
        }
        let mut all = lock(&self.all);
        let session = all.get_mut(name).filter(|session| session.ends > (self.now)()).ok_or_else(gone)?;
        session.belongs_to(browser)?;
        session.beginnings += 1;
        if session.beginnings > MOST_BEGINNINGS {
            return Err(Kind::RateLimited
                .error("This sign-in was begun too often.")
                .hint("Ask for a new link where you got it."));
        }
        Ok(session.asked.proposal.clone())
    }

    /// Sends it on its way: from now on the session is its own. Whoever comes back and begins anew is sent with a new state.
    pub(super) fn send(&self, name: &str, browser: &str, trip: Trip) -> Result<Url> {
        let mut all = lock(&self.all);
        let session = all.get_mut(name).filter(|session| session.ends > (self.now)()).ok_or_else(gone)?;
        session.belongs_to(browser)?;
        let url = trip.url.clone();
        // However often it is begun, it ends.
        if session.begun.is_none() {
            session.ends = (self.now)() + LASTS;
        }
        let state = Digest::of(trip.state().as_bytes());
        session.begun = Some(Begun { browser: browser.to_owned(), trip, state });
        drop(all);
        self.changed.notify_waiters();
        Ok(url)
    }

    /// Ends the session that this callback belongs to, and gives its name, what was asked and where the person was sent.
    pub(super) fn end(&self, came: &CameBack, browser: &str) -> Result<(String, Asked, Trip)> {
        // Read once, and not for each session: anybody may bring anything.
        let brought: HashSet<Digest> = came.texts().iter().map(|text| Digest::of(text.as_bytes())).collect();
        let mut all = lock(&self.all);
        let now = (self.now)();
        let on_trip = all.iter().find(|(_, session)| session.ends > now && session.is_on_trip(came, &brought));
        let name = on_trip.map(|(name, _)| name.clone()).ok_or_else(gone)?;
        let session = all.get(&name).ok_or_else(gone)?;
        session.belongs_to(browser)?;
        let Session { asked, begun, .. } = all.remove(&name).ok_or_else(gone)?;
        let begun = begun.ok_or_else(gone)?;
        self.keep(&name, &asked.proposal, asked.owner.clone(), None);
        Ok((name, asked, begun.trip))
    }
}

impl Session {
    fn belongs_to(&self, browser: &str) -> Result<()> {
        match &self.begun {
            Some(begun) if verify_slices_are_equal(begun.browser.as_bytes(), browser.as_bytes()).is_err() => {
                Err(another_browser())
            }
            _ => Ok(()),
        }
    }

    fn is_on_trip(&self, came: &CameBack, brought: &HashSet<Digest>) -> bool {
        self.begun.as_ref().is_some_and(|begun| brought.contains(&begun.state) && begun.trip.is_named_by(came))
    }

    fn asked_by(&self) -> (&str, &str) {
        self.asked.proposal.asked_by()
    }

    fn whose(self) -> Whose {
        let environment = self.asked_by().1.to_owned();
        Whose { environment, session: self.public_name, owner: self.asked.owner }
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
    let theirs = all.iter().filter(|(_, session)| session.asked_by() == (busiest, of));
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

fn another_browser() -> Error {
    Kind::Denied
        .error("This sign-in was begun in another browser.")
        .hint("Go on there, or ask for a new link. If somebody sent you this link, do not use it.")
}
