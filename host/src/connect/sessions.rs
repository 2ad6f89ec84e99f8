//! What is told of connect sessions: that each is over, once, and how it ended.

use std::collections::BTreeSet;

use crate::{
    error::{Error, Result},
    host::Host,
    outbox::{Happened, How, SessionEnded},
    store::Changes,
};

/// Sessions whose end is written at a time: each is a message for every endpoint that wants to know.
const AT_A_TIME: usize = 100;

impl Host {
    /// Keeps that a session is under way, so that its end is told.
    ///
    /// # Errors
    /// Those of the store.
    pub fn begin_session(&self, environment: &str, session: &str, owner: &str) -> Result<()> {
        self.outbox.begin_session(environment, session, owner)
    }

    /// Tells that somebody came back in a session, and that nothing came of it.
    pub fn session_failed(&self, environment: &str, session: &str, owner: &str, error: &Error) {
        let (environment, session) = (environment.to_owned(), session.to_owned());
        let how = How::Failed(error.clone());
        self.tell_sessions_ended([SessionEnded { environment, session, owner: owner.to_owned(), how }]);
    }

    /// Tells that these ran out, each by its environment, its name and its owner.
    pub fn sessions_ran_out(&self, sessions: impl IntoIterator<Item = (String, String, String)>) {
        let ran_out = |(environment, session, owner)| SessionEnded { environment, session, owner, how: How::RanOut };
        self.tell_sessions_ended(sessions.into_iter().map(ran_out));
    }

    /// Tells that those are over which were under way in a host that ended, but for those that wait to be confirmed. Call it
    /// before any is begun.
    ///
    /// # Errors
    /// Those of the store.
    pub fn end_lost_sessions(&self) -> Result<()> {
        for environment in self.environments()?.into_iter().map(|it| it.name) {
            let lost = self.outbox.sessions(&environment)?;
            if lost.is_empty() {
                continue;
            }
            let pending = self.book(&environment)?.pending()?;
            let waiting: BTreeSet<String> = pending.into_iter().filter_map(|(_, pending)| pending.session).collect();
            let lost = lost.into_iter().filter(|(session, _)| !waiting.contains(session));
            self.sessions_ran_out(lost.map(|(session, kept)| (environment.clone(), session, kept.owner)));
        }
        Ok(())
    }

    /// What cannot be told now is told by the next host.
    pub(super) fn tell_sessions_ended(&self, ended: impl IntoIterator<Item = SessionEnded>) {
        let happened: Vec<_> = ended.into_iter().map(Happened::SessionEnded).collect();
        for some in happened.chunks(AT_A_TIME) {
            if let Err(error) = self.outbox.commit(Changes::new(), some) {
                tracing::error!(%error, "that sessions ended is not told yet");
            }
        }
    }
}
