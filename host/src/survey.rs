//! How all connections of an environment stand, for whoever watches: the console's overview, and metrics. It is looked at again
//! when something was written or time has passed, and never for more than a small part of the time, however many there are and
//! however often somebody asks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    consent::{Approval, Book, Connection, Consent, standing},
    error::{Error, Kind, Result},
    host::Host,
    sync::lock,
};

/// Connections that are read at a time.
const SOME: usize = 500;
/// Of those that need attention, so many are named; the others are counted.
pub(crate) const NAMED: usize = 20;
/// A look is as good for so many times the time that it took, so that looking takes a twentieth of one processor at most.
const LASTS: u32 = 20;
/// And no longer than so, where that is longer: a consent runs out without anything being written.
const LASTS_AT_MOST: Duration = Duration::from_secs(15);

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// How many there are.
    pub(crate) connections: usize,
    /// How many of them have a consent that is over, or were refused by their provider.
    pub(crate) need_reconnect: usize,
    /// How many cannot be used as they are.
    pub(crate) unusable: usize,
    /// The first of those, by name.
    pub(crate) first_unusable: Vec<Unusable>,
    /// How many have a consent to another version of their connector than the approved one.
    pub(crate) changed: usize,
    /// The first of those consents, by name.
    pub(crate) first_changed: Vec<Consent>,
}

/// One that cannot be used as it is.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) why: String,
}

/// What was seen last, by environment.
#[derive(Default)]
pub(crate) struct Surveys(Mutex<HashMap<String, Arc<Mutex<Option<Seen>>>>>);

struct Seen {
    survey: Arc<Survey>,
    revision: u64,
    at: Instant,
    took: Duration,
}

impl Seen {
    fn still_counts(&self, revision: u64) -> bool {
        let age = self.at.elapsed();
        age < self.took * LASTS || (self.revision == revision && age < LASTS_AT_MOST)
    }
}

impl Host {
    /// How the connections of an environment stand. It may read all of them: for a thread that holds nobody up.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub(crate) fn survey(&self, environment: &str) -> Result<Arc<Survey>> {
        let book = self.book(environment)?;
        let last = lock(&self.surveys.0).entry(environment.to_owned()).or_default().clone();
        // Whoever asks meanwhile waits, and is told the same.
        let mut last = lock(&last);
        // Before anything is read, so that what changes meanwhile is seen the next time.
        let (revision, began) = (self.vault.revision(), Instant::now());
        if let Some(seen) = last.as_ref().filter(|seen| seen.still_counts(revision)) {
            return Ok(seen.survey.clone());
        }
        let survey = Arc::new(self.look(&book)?);
        *last = Some(Seen { survey: survey.clone(), revision, at: Instant::now(), took: began.elapsed() });
        Ok(survey)
    }

    fn look(&self, book: &Book<'_>) -> Result<Survey> {
        let approvals = book.approvals()?.into_iter().map(|it| (it.connector.clone(), it)).collect::<HashMap<_, _>>();
        let (mut survey, mut after) = (Survey::default(), String::new());
        loop {
            let some = book.connections_after(&after, SOME)?;
            let Some(last) = some.last() else { return Ok(survey) };
            after.clone_from(&last.name);
            for connection in some {
                let approval = approvals.get(&connection.connector);
                self.look_at(book, connection, approval, &mut survey)?;
            }
        }
    }

    fn look_at(
        &self,
        book: &Book<'_>,
        connection: Connection,
        approval: Option<&Approval>,
        survey: &mut Survey,
    ) -> Result<()> {
        survey.connections += 1;
        let captured = book.captured(connection.id)?;
        let consent = book.consent(connection.id)?;
        let live = consent.as_ref().filter(|consent| consent.is_live());
        if let Some(changed) = live.filter(|it| approval.is_none_or(|approval| approval.digest != it.digest)) {
            survey.changed += 1;
            if survey.first_changed.len() < NAMED {
                survey.first_changed.push(changed.clone());
            }
        }
        let (is_live, is_captured) = (live.is_some(), captured.is_some());
        let refused = captured.and_then(|captured| captured.refused);
        let needs_reconnect = !is_live || refused.is_some();
        survey.need_reconnect += usize::from(needs_reconnect);
        let against = match refused {
            Some(why) => Some(why),
            None => self.against(book, &connection, consent, approval, is_captured)?,
        };
        if let Some(why) = against {
            survey.unusable += 1;
            if survey.first_unusable.len() < NAMED {
                let state = if needs_reconnect { "needs reconnect" } else { "consent needed" };
                survey.first_unusable.push(Unusable { name: connection.name, state, why });
            }
        }
        Ok(())
    }

    /// What stands against using a connection.
    fn against(
        &self,
        book: &Book<'_>,
        connection: &Connection,
        consent: Option<Consent>,
        approval: Option<&Approval>,
        is_captured: bool,
    ) -> Result<Option<String>> {
        let (name, words) = (&connection.name, |error: Error| error.message().to_owned());
        let consent = match standing(connection, consent) {
            Ok(consent) => consent,
            Err(over) => return Ok(Some(words(over))),
        };
        // What was agreed to, with nothing that somebody else may have changed since, is what it was.
        let is_as_agreed = approval.is_some_and(|it| it.digest == consent.digest && self.loaded(it).is_ok());
        if is_as_agreed && !is_captured && connection.app.is_none() && connection.gateway.is_none() {
            return Ok(None);
        }
        match self.make_ready(book.environment(), name, self.vault.revision()) {
            Ok(_) => Ok(None),
            // It was removed since it was read.
            Err(gone) if gone.kind() == Kind::NotFound && book.find_connection(name)?.is_none() => Ok(None),
            Err(against) => Ok(Some(words(against))),
        }
    }
}
