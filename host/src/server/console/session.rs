//! Who is signed in: one-time links, and the sessions that they open. All of it is in memory and ends with the host, and of
//! what somebody shows only the digest is kept.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    server::consent::random_name,
    sync::lock,
};

/// How long a link is good for: as long as it takes to click on it.
pub const LINK_LASTS: Duration = Duration::from_secs(5 * 60);
/// A browser that was left alone so long is somebody else's, perhaps.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// However busy somebody is: a working day.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// Links that nobody used yet, and sessions; each is printed for one person.
const MOST: usize = 64;
/// Wrong codes that are answered within [`LINK_LASTS`]; from then on nobody signs in for a while.
const MOST_WRONG: usize = 20;
/// Ways to a provider that one session has open.
const MOST_TRIPS: usize = 16;

/// Letters and digits that are not mistaken for each other: 32 of them, five bits each.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKMNPQRSTVWXYZ0123456789";

/// See the module.
#[derive(Default)]
pub(super) struct Sessions {
    links: Mutex<HashMap<Digest, Link>>,
    all: Mutex<HashMap<Digest, Session>>,
    wrong: Mutex<Vec<Instant>>,
}

struct Link {
    who: Who,
    until: Instant,
}

struct Session {
    who: Who,
    token: String,
    opened: Instant,
    used: Instant,
    /// What comes back from a provider belongs to a session that sent somebody there.
    trips: HashMap<Digest, Trip>,
}

struct Trip {
    connection: String,
    until: Instant,
}

/// For whom a link was printed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) environment: String,
    /// For consents and the audit.
    pub(super) caller: String,
}

/// A session, as a request sees it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) who: Who,
    /// What every form carries.
    pub(super) token: String,
    /// What the session is kept under.
    pub(super) key: Digest,
}

impl Sessions {
    /// Makes a link's code: 100 bits, short enough to be typed.
    pub(super) fn make_link(&self, who: Who, now: Instant) -> Result<String> {
        let mut bytes = [0; 20];
        getrandom::fill(&mut bytes)
            .map_err(|error| Kind::Internal.error(format!("There are no random bytes: {error}.")))?;
        let letters = bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        let code = letters.chunks(5).map(String::from_iter).collect::<Vec<_>>().join("-");
        let mut links = lock(&self.links);
        links.retain(|_, link| link.until > now);
        if links.len() >= MOST {
            return Err(Kind::RateLimited.error("Too many links wait to be used.").hint("Try again in some minutes."));
        }
        links.insert(digest_of(&code), Link { who, until: now + LINK_LASTS });
        Ok(code)
    }

    /// Opens a session with a code, which is used up, and gives what the browser shows from then on.
    pub(super) fn redeem(&self, code: &str, now: Instant) -> Result<String> {
        let mut wrong = lock(&self.wrong);
        wrong.retain(|at| *at + LINK_LASTS > now);
        if wrong.len() >= MOST_WRONG {
            return Err(Kind::RateLimited
                .error("Too many codes were wrong, so that nobody signs in for now.")
                .hint("Wait for five minutes, and print a new link with `attache console`."));
        }
        let link = lock(&self.links).remove(&digest_of(code)).filter(|link| link.until > now);
        let Some(Link { who, .. }) = link else {
            wrong.push(now);
            return Err(Kind::Denied
                .error("This link is not good: it was used, or has run out, or never was.")
                .hint("`attache console`, on the host's own machine, prints a new one."));
        };
        drop(wrong);
        let cookie = random_name()?;
        let session = Session { who, token: random_name()?, opened: now, used: now, trips: HashMap::new() };
        let mut all = lock(&self.all);
        all.retain(|_, session| session.is_open(now));
        if all.len() >= MOST {
            return Err(Kind::RateLimited.error("Too many browsers are signed in.").hint("Sign out in one of them."));
        }
        all.insert(Digest::of(cookie.as_bytes()), session);
        Ok(cookie)
    }

    /// The session of a browser. One that only looks by itself, without a person, does not make it last.
    pub(super) fn find(&self, cookie: &str, by_itself: bool, now: Instant) -> Option<Known> {
        let key = Digest::of(cookie.as_bytes());
        let mut all = lock(&self.all);
        let session = all.get_mut(&key)?;
        if !session.is_open(now) {
            all.remove(&key);
            return None;
        }
        if !by_itself {
            session.used = now;
        }
        Some(Known { who: session.who.clone(), token: session.token.clone(), key })
    }

    /// Whether a session that was found before is one still.
    pub(super) fn stands(&self, session: &Known, now: Instant) -> bool {
        lock(&self.all).get(&session.key).is_some_and(|session| session.is_open(now))
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &Known) {
        lock(&self.all).remove(&session.key);
    }

    /// Begins a way to a provider for a connection of that name, and gives what it comes back with.
    pub(super) fn begin_trip(&self, session: &Known, connection: &str, now: Instant) -> Result<String> {
        let state = random_name()?;
        let mut all = lock(&self.all);
        let trips = &mut all.get_mut(&session.key).ok_or_else(signed_out)?.trips;
        trips.retain(|_, trip| trip.until > now);
        if trips.len() >= MOST_TRIPS {
            return Err(Kind::RateLimited
                .error("Too many sign-ins are under way in this browser.")
                .hint("Try again in some minutes."));
        }
        let trip = Trip { connection: connection.to_owned(), until: now + TRIP_LASTS };
        trips.insert(Digest::of(state.as_bytes()), trip);
        Ok(state)
    }

    /// Which connection somebody comes back for, whom this very session sent.
    pub(super) fn trip(&self, session: &Known, state: &str, now: Instant) -> Result<String> {
        let all = lock(&self.all);
        let trip = all.get(&session.key).and_then(|session| session.trips.get(&Digest::of(state.as_bytes())));
        trip.filter(|trip| trip.until > now).map(|trip| trip.connection.clone()).ok_or_else(|| {
            Kind::Denied
                .error("You were not sent to sign in from here.")
                .hint("Begin in this browser. If somebody sent you this link, do not use it.")
        })
    }
}

/// A link, a sign-in at the provider, and a confirmation: each takes ten minutes at most.
const TRIP_LASTS: Duration = Duration::from_secs(30 * 60);

impl Session {
    fn is_open(&self, now: Instant) -> bool {
        self.used + IDLE > now && self.opened + LONGEST > now
    }
}

/// Nobody is signed in.
pub(super) fn signed_out() -> Error {
    Kind::Denied
        .error("You are not signed in here, or not any longer.")
        .hint("`attache console`, on the host's own machine, prints a link to sign in with; open this page again then.")
}

/// As it was typed: without regard to case, hyphens and spaces.
fn digest_of(code: &str) -> Digest {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    Digest::of(plain.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Who {
        Who { environment: "default".into(), caller: "console:test".into() }
    }

    fn signed_in(sessions: &Sessions, now: Instant) -> String {
        let code = sessions.make_link(who(), now).unwrap();
        sessions.redeem(&code, now).unwrap()
    }

    #[test]
    fn a_link_opens_one_session_and_for_five_minutes_only() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let code = sessions.make_link(who(), now).unwrap();
        let typed = code.to_lowercase().replace('-', " ");
        let cookie = sessions.redeem(&typed, now + LINK_LASTS / 2).unwrap();
        assert_eq!(sessions.find(&cookie, false, now + LINK_LASTS).unwrap().who, who());
        assert_eq!(sessions.redeem(&code, now).unwrap_err().kind(), Kind::Denied, "it was used");
        let late = sessions.make_link(who(), now).unwrap();
        assert_eq!(sessions.redeem(&late, now + LINK_LASTS).unwrap_err().kind(), Kind::Denied, "it ran out");
        assert_eq!(sessions.redeem(&late, now).unwrap_err().kind(), Kind::Denied, "and was shown once");
    }

    #[test]
    fn whoever_guesses_is_soon_answered_no_more_and_a_while_later_again() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for guess in 0..MOST_WRONG {
            assert_eq!(sessions.redeem(&guess.to_string(), now).unwrap_err().kind(), Kind::Denied);
        }
        let code = sessions.make_link(who(), now).unwrap();
        assert_eq!(sessions.redeem(&code, now).unwrap_err().kind(), Kind::RateLimited);
        let later = now + LINK_LASTS;
        let code = sessions.make_link(who(), later).unwrap();
        sessions.redeem(&code, later).unwrap();
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it_and_in_the_end_however_much_it_is_used() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let idle = signed_in(&sessions, now);
        assert!(sessions.find(&idle, false, now + IDLE).is_none());
        let busy = signed_in(&sessions, now);
        let mut at = now;
        while at + IDLE / 2 < now + LONGEST {
            at += IDLE / 2;
            assert_eq!(sessions.find(&busy, false, at).is_some(), at < now + LONGEST);
        }
        assert!(sessions.find(&busy, false, now + LONGEST).is_none());
    }

    #[test]
    fn a_page_that_looks_again_by_itself_does_not_keep_a_session_open() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let left_open = signed_in(&sessions, now);
        assert!(sessions.find(&left_open, true, now + IDLE / 2).is_some());
        assert!(sessions.find(&left_open, true, now + IDLE).is_none());
    }

    #[test]
    fn who_signed_out_is_signed_out_and_others_are_not() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (one, other) = (signed_in(&sessions, now), signed_in(&sessions, now));
        sessions.end(&sessions.find(&one, false, now).unwrap());
        assert!(sessions.find(&one, false, now).is_none());
        assert!(sessions.find(&other, false, now).is_some());
    }

    #[test]
    fn who_comes_back_was_sent_by_that_very_session() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let known = |cookie: &str| sessions.find(cookie, false, now).unwrap();
        let (one, other) = (known(&signed_in(&sessions, now)), known(&signed_in(&sessions, now)));
        let state = sessions.begin_trip(&one, "crm", now).unwrap();
        assert_eq!(sessions.trip(&one, &state, now).unwrap(), "crm");
        for refused in [(&other, state.as_str(), now), (&one, "", now), (&one, &state, now + TRIP_LASTS)] {
            assert_eq!(sessions.trip(refused.0, refused.1, refused.2).unwrap_err().kind(), Kind::Denied);
        }
    }
}
