//! Connections that somebody signed in for on behalf of a caller, and that the caller confirms. Whoever is sent a link by
//! another signs in with their own account, and would hand it over: only the caller knows who really came back, so nothing is a
//! connection before the caller says so.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::{ConnectProposal, Ended, Made, SignedIn, end::Given};
use crate::{
    audit::{Event, Subject},
    call,
    consent::{Book, Connection, Drafted, Pending},
    digest::Digest,
    error::{Kind, Result},
    host::Host,
    outbox::{How, SessionEnded},
    sync::lock,
    text,
};

/// How long a connection waits to be confirmed, at most; then it is revoked.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(10 * 60);

impl Host {
    /// Signs in for a connection that `owner` is to have, and gives the code that confirms it, once and `within` a time. What
    /// comes of that is the end of the session, if it is one that was begun.
    ///
    /// # Errors
    /// As for [`Host::connect`].
    pub async fn connect_pending(
        &self,
        proposal: &ConnectProposal,
        signed_in: SignedIn,
        owner: &str,
        session: Option<&str>,
        within: Duration,
    ) -> Result<String> {
        let mut drafted = self.draft(proposal, signed_in).await?;
        drafted.connection.owner = Some(owner.to_owned());
        let captured = drafted.captured.clone();
        let put = self.put_pending(proposal, drafted, owner, session, within);
        if put.is_err() {
            self.give_back_all(proposal, captured.as_ref()).await;
        }
        put
    }

    fn put_pending(
        &self,
        proposal: &ConnectProposal,
        drafted: Drafted,
        owner: &str,
        session: Option<&str>,
        within: Duration,
    ) -> Result<String> {
        let mut code = [0; 32];
        getrandom::fill(&mut code)
            .map_err(|error| Kind::Internal.error(format!("There are no random bytes: {error}.")))?;
        // Not base64, which may begin with a hyphen: it is an argument of commands.
        let code = hex::encode(code);
        let (within, since) = (within.min(CONFIRM_WITHIN), Timestamp::now().as_second());
        let until = since.saturating_add(i64::try_from(within.as_secs()).unwrap_or(i64::MAX));
        let book = self.book(&proposal.environment)?;
        self.audit.write(&Event::pending(&proposal.subject("connect"), owner))?;
        // Only the code's digest is kept: who reads the store cannot confirm.
        let kept_as = Digest::of(code.as_bytes());
        let (owner, session) = (owner.to_owned(), session.map(str::to_owned));
        let pending = Pending { drafted, owner, key: proposal.key, session, since, until };
        self.keep_pending(&book, kept_as, &pending)?;
        lock(&self.confirmable).insert(kept_as, Instant::now() + within);
        Ok(code)
    }

    /// Makes a connection that somebody signed in for. `owner` is whom the caller has authenticated, who is the one that had
    /// the link made: another knows nothing of whoever is at the other end. `key` is the caller key that asks, by its id; none
    /// for an operator.
    ///
    /// # Errors
    /// `not-found` for a code that was used, has run out, never was or is another caller's; `denied` where it is for another
    /// owner: then what the provider gave is revoked, and the code is used up.
    pub async fn confirm(
        &self,
        environment: &str,
        code: &str,
        owner: &str,
        caller: &str,
        key: Option<Uuid>,
    ) -> Result<Made> {
        let book = self.book(environment)?;
        // One that another brings is left to whose it is.
        let is_theirs = |pending: &Pending| pending.drafted.consent.caller == caller && pending.key == key;
        let code = Digest::of(code.as_bytes());
        let waited_too_long = self.has_waited_too_long(code);
        let pending = self.take_pending(&book, code, is_theirs)?.ok_or_else(|| {
            Kind::NotFound.error("There is nothing to confirm with this code: it was used, or nobody has it.").hint(
                "Only the caller that had the link made confirms; else let the person connect again, with a new link.",
            )
        })?;
        let subject = subject_of(environment, &pending, caller);
        if pending.owner != owner {
            let refused = Kind::Denied
                .error(format!(
                    "That link was made for `{}`, and `{}` came back with it: nothing is connected.",
                    text::foreign(&pending.owner, 100),
                    text::foreign(owner, 100)
                ))
                .hint(
                    "Somebody may have been sent a link that was not theirs. Make a new one for whoever is to connect.",
                );
            self.drop_pending(&book, &pending, "another owner", &subject, How::Failed(refused.clone())).await?;
            return Err(refused);
        }
        if waited_too_long || pending.is_over(Timestamp::now().as_second()) {
            self.drop_pending(&book, &pending, "too late", &subject, How::RanOut).await?;
            return Err(Kind::NotFound
                .error("It is too late to confirm this; what the provider gave is revoked.")
                .hint("Let the person connect again, with a new link."));
        }
        let Connection { name, id, .. } = &pending.drafted.connection;
        let ended = ended(environment, &pending, How::Connected { connection: name.clone(), id: *id });
        match self.keep(environment, pending.drafted.clone(), &subject, ended).await {
            Ok(made) => Ok(made),
            Err(error) => {
                let how = How::Failed(error.clone());
                self.drop_pending(&book, &pending, "it could not be kept", &subject, how).await?;
                Err(error)
            }
        }
    }

    /// Revokes what was not confirmed in time, and gives how much that was.
    ///
    /// # Errors
    /// Those of the store. What a provider answers is no error.
    pub async fn end_unconfirmed(&self, environment: &str, now: Timestamp) -> Result<usize> {
        let book = self.book(environment)?;
        let mut ended = 0;
        for (code, pending) in book.pending()? {
            let is_over = self.has_waited_too_long(code) || pending.is_over(now.as_second());
            if is_over && self.take_pending(&book, code, |_| true)?.is_some() {
                let subject = subject_of(environment, &pending, "host");
                self.drop_pending(&book, &pending, "nobody confirmed it", &subject, How::RanOut).await?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Whether somebody who signed in since this host started has not been confirmed in time, whatever the clock was set to.
    fn has_waited_too_long(&self, code: Digest) -> bool {
        lock(&self.confirmable).get(&code).is_some_and(|until| *until <= Instant::now())
    }

    fn take_pending(
        &self,
        book: &Book<'_>,
        code: Digest,
        may_be: impl FnOnce(&Pending) -> bool,
    ) -> Result<Option<Pending>> {
        let taken = book.take_pending(code, may_be)?;
        if taken.is_some() {
            lock(&self.confirmable).remove(&code);
        }
        Ok(taken)
    }

    async fn drop_pending(
        &self,
        book: &Book<'_>,
        pending: &Pending,
        why: &str,
        subject: &Subject,
        how: How,
    ) -> Result<Ended> {
        self.audit.write(&Event::not_confirmed(subject, why))?;
        self.tell_sessions_ended(ended(book.environment(), pending, how));
        let drafted = &pending.drafted;
        let Some(captured) = &drafted.captured else { return Ok(Ended { upstream: None }) };
        let given = Given {
            connection: &drafted.connection,
            credential: Some(drafted.credential.clone()),
            captured,
            agreed: &drafted.consent.sign_in,
            subject,
        };
        self.end_upstream(book, given).await
    }
}

/// That the session is over which somebody came back in.
fn ended(environment: &str, pending: &Pending, how: How) -> Option<SessionEnded> {
    let (environment, owner) = (environment.to_owned(), pending.owner.clone());
    pending.session.clone().map(|session| SessionEnded { environment, session, owner, how })
}

fn subject_of(environment: &str, pending: &Pending, caller: &str) -> Subject {
    let drafted = &pending.drafted;
    call::subject(environment, &drafted.connection, drafted.consent.digest, "connect", caller)
}
