//! Connections that somebody signed in for on behalf of a caller, and that the caller confirms. Whoever is sent a link by
//! another signs in with their own account, and would hand it over: only the caller knows who really came back, so nothing is a
//! connection before the caller says so.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{ConnectProposal, Ended, Made, SignedIn, end::Given};
use crate::{
    audit::{Event, Subject},
    call,
    consent::{Book, Pending},
    digest::Digest,
    error::{Kind, Result},
    host::Host,
    text,
};

/// How long a connection waits to be confirmed, at most; then it is revoked.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(10 * 60);

impl Host {
    /// Signs in for a connection that `owner` is to have, and gives the code that confirms it, once and `within` a time.
    ///
    /// # Errors
    /// As for [`Host::connect`].
    pub async fn connect_pending(
        &self,
        proposal: &ConnectProposal,
        signed_in: SignedIn,
        owner: &str,
        within: Duration,
    ) -> Result<String> {
        let mut drafted = self.draft(proposal, signed_in).await?;
        drafted.connection.owner = Some(owner.to_owned());
        let mut code = [0; 32];
        getrandom::fill(&mut code)
            .map_err(|error| Kind::Internal.error(format!("There are no random bytes: {error}.")))?;
        // Not base64, which may begin with a hyphen: it is an argument of commands.
        let code = hex::encode(code);
        let until =
            Timestamp::now().as_second() + i64::try_from(within.min(CONFIRM_WITHIN).as_secs()).unwrap_or(i64::MAX);
        let book = self.book(&proposal.environment)?;
        self.audit.write(&Event::pending(&proposal.subject("connect"), owner))?;
        // Only the code's digest is kept: who reads the store cannot confirm.
        let captured = drafted.captured.clone();
        let pending = Pending { drafted, owner: owner.to_owned(), key: proposal.key, until };
        if let Err(error) = book.put_pending(Digest::of(code.as_bytes()), &pending) {
            self.give_back_all(proposal, captured.as_ref()).await;
            return Err(error);
        }
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
        let pending = book.take_pending(Digest::of(code.as_bytes()), is_theirs)?.ok_or_else(|| {
            Kind::NotFound.error("There is nothing to confirm with this code: it was used, or nobody has it.").hint(
                "Only the caller that had the link made confirms; else let the person connect again, with a new link.",
            )
        })?;
        let subject = subject_of(environment, &pending, caller);
        if pending.owner != owner {
            self.drop_pending(&book, &pending, "another owner", &subject).await?;
            return Err(Kind::Denied
                .error(format!(
                    "That link was made for `{}`, and `{}` came back with it: nothing is connected.",
                    text::foreign(&pending.owner, 100),
                    text::foreign(owner, 100)
                ))
                .hint(
                    "Somebody may have been sent a link that was not theirs. Make a new one for whoever is to connect.",
                ));
        }
        if pending.until <= Timestamp::now().as_second() {
            self.drop_pending(&book, &pending, "too late", &subject).await?;
            return Err(Kind::NotFound
                .error("It is too late to confirm this; what the provider gave is revoked.")
                .hint("Let the person connect again, with a new link."));
        }
        match self.keep(environment, pending.drafted.clone(), &subject).await {
            Ok(made) => Ok(made),
            Err(error) => {
                self.drop_pending(&book, &pending, "it could not be kept", &subject).await?;
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
            if pending.until <= now.as_second() && book.take_pending(code, |_| true)?.is_some() {
                let subject = subject_of(environment, &pending, "host");
                self.drop_pending(&book, &pending, "nobody confirmed it", &subject).await?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    async fn drop_pending(&self, book: &Book<'_>, pending: &Pending, why: &str, subject: &Subject) -> Result<Ended> {
        self.audit.write(&Event::not_confirmed(subject, why))?;
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

fn subject_of(environment: &str, pending: &Pending, caller: &str) -> Subject {
    let drafted = &pending.drafted;
    call::subject(environment, &drafted.connection, drafted.consent.digest, "connect", caller)
}
