//! The second step: sign in with what the owner agreed to, ask the service whose account it is, and keep all of it at once.

use std::sync::Arc;

use super::{ConnectProposal, Granted, Trip, changes::approved_still, find_option, provider::WayBack};
use crate::{
    audit::{Event, Subject},
    call,
    consent::{self, Book, CameBack, Captured, Connection, Consent, Drafted, SignIn, oauth2::Given},
    egress::{Access, Credentials, Through, Typed},
    error::{Error, Kind, Result},
    host::Host,
    manifest::Manifest,
    origin::Origin,
    outbox::{EventType, Happened, SessionEnded},
    sync::lock,
};

/// What a person did to sign in.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is moved once")]
pub enum SignedIn {
    /// Nothing but agree: what was typed, or the app's own credentials, are all that is needed.
    Agreed,
    /// Came back from the provider's page; the query is as the browser brought it.
    CameBack {
        /// Where the person was sent.
        trip: Trip,
        /// How they came back.
        came: CameBack,
    },
    /// Agreed on another device.
    Elsewhere(Granted),
}

/// A connection that was made.
pub struct Made {
    /// As it is kept.
    pub connection: Connection,
    /// Scopes that were asked for and that the provider says it did not grant.
    pub withheld: Vec<String>,
}

impl Host {
    /// Signs in, asks the service with the connector's `check`, and keeps the connection if that is good. What was got of a
    /// provider and is not kept is given back.
    ///
    /// # Errors
    /// What the sign-in or the check failed with; `reconnect-needed` where it is another account than before.
    pub async fn connect(&self, proposal: &ConnectProposal, signed_in: SignedIn) -> Result<Made> {
        let drafted = self.draft(proposal, signed_in).await?;
        let captured = drafted.captured.clone();
        let kept = self.keep(&proposal.environment, drafted, &proposal.subject("check"), None).await;
        if kept.is_err() {
            self.give_back_all(proposal, captured.as_ref()).await;
        }
        kept
    }

    /// Everything of a connection, as it would be kept.
    pub(super) async fn draft(&self, proposal: &ConnectProposal, signed_in: SignedIn) -> Result<Drafted> {
        let book = self.book(&proposal.environment)?;
        approved_still(&book, &proposal.approval.connector, proposal.approval.digest)?;
        let before = unchanged_before(&book, &proposal.connection, proposal.revoked_before.as_deref())?;
        let subject = proposal.subject("check");
        let mut consent = proposal.consent.clone();
        let credential = proposal.kept_credential()?;
        let not_made = |error: Error| {
            error.context(format!("The connection `{}` was not made, since its check failed", proposal.connection.name))
        };
        let first = match self.first_access(proposal, signed_in, &mut consent, &subject).await {
            Ok(first) => first,
            Err((error, captured)) => {
                self.give_back_all(proposal, captured.as_ref()).await;
                return Err(not_made(error));
            }
        };
        match self.check_first(proposal, &first, before.as_ref(), &subject).await {
            Ok(account) => {
                consent.account.clone_from(&account);
                Ok(Drafted {
                    connection: Connection { account, ..proposal.connection.clone() },
                    credential,
                    captured: first.captured(),
                    consent,
                    revoked_before: proposal.revoked_before.clone(),
                })
            }
            Err(error) => {
                // Where one token is ended some providers end them all, and the connection that there is may be good.
                let passes = matches!(error.kind(), Kind::Unreachable | Kind::Timeout | Kind::ServiceFailed);
                if before.is_none() || !passes {
                    self.give_back_all(proposal, first.captured().as_ref()).await;
                }
                Err(match error.kind() {
                    Kind::ReconnectNeeded => error,
                    _ => not_made(error),
                })
            }
        }
    }

    /// Keeps a connection, in place of what it was before, and with it that the session ended that it came of.
    pub(super) async fn keep(
        &self,
        environment: &str,
        drafted: Drafted,
        subject: &Subject,
        ended: Option<SessionEnded>,
    ) -> Result<Made> {
        let book = self.book(environment)?;
        let Drafted { connection, credential, captured, consent, revoked_before } = drafted;
        let before = unchanged_before(&book, &connection, revoked_before.as_deref())?;
        // What was used before is not given out any longer; a renewal of it that has left ends before it is replaced.
        let mut ending = before.as_ref().map(|before| self.close_pool(before));
        if let Some(ending) = &mut ending {
            ending.last().await;
        }
        let keep = || {
            let _keeping = lock(&self.keeping);
            // Somebody may have been faster while this was waited for.
            unchanged_before(&book, &connection, revoked_before.as_deref())?;
            approved_still(&book, &connection.connector, consent.digest)?;
            self.audit.write(&if before.is_some() {
                Event::reconnected(subject)
            } else {
                Event::connected(subject)
            })?;
            let connected = connection.about(environment).happened(EventType::Connected, None);
            let changes = book.connection_changes(&connection, &credential, captured.as_ref(), &consent)?;
            let happened: Vec<_> = [connected].into_iter().chain(ended.map(Happened::SessionEnded)).collect();
            self.outbox.commit(changes, &happened)
        };
        keep()?;
        let withheld = captured.map(|captured| captured.withheld(&consent.scopes)).unwrap_or_default();
        Ok(Made { connection, withheld })
    }

    async fn check_first(
        &self,
        proposal: &ConnectProposal,
        first: &First,
        before: Option<&Connection>,
        subject: &Subject,
    ) -> Result<String> {
        let component = self.component(&proposal.loaded, proposal.approval.digest).await?;
        let account = self.check_access(component, &proposal.connection, first.access.clone(), subject.clone()).await?;
        match before {
            Some(before) if before.account != account => Err(Kind::ReconnectNeeded
                .error(format!(
                    "That is another account: `{account}`, and the connection `{}` is for `{}`.",
                    before.name, before.account
                ))
                .hint("Make a new connection for it with `attache connect`.")),
            _ => Ok(account),
        }
    }

    /// What a connection that is not kept yet may do, and what signed in for it. An origin that the service itself names is
    /// one that its owner agreed to as a pattern: from now on it is this one, and another needs a new consent.
    async fn first_access(
        &self,
        proposal: &ConnectProposal,
        signed_in: SignedIn,
        consent: &mut Consent,
        subject: &Subject,
    ) -> Result<First, (Error, Option<Captured>)> {
        let ConnectProposal { loaded, values, connection, .. } = proposal;
        let manifest = &loaded.manifest;
        let option = find_option(manifest, &connection.option).map_err(nothing_yet)?;
        if option.scheme.is_direct() {
            let credentials = Arc::new(Typed::new(values.clone()));
            let mut access = self.access_of(manifest, proposal, values, consent, credentials).map_err(nothing_yet)?;
            access.through = self.proposed_through(proposal).map_err(nothing_yet)?;
            return Ok(First { access: Arc::new(access), sign_in: None });
        }
        let app = proposal.app.clone().map(Arc::new);
        let elsewhere = self.proposed_elsewhere(proposal).map_err(nothing_yet)?;
        let sign_in = self.sign_in(option, app, values.clone(), connection, consent, (None, elsewhere));
        let sign_in = Arc::new(sign_in.map_err(nothing_yet)?);
        let signed_in = self.signed_in(proposal, signed_in, consent, &sign_in, subject).await;
        signed_in.map_err(|error| (error, sign_in.captured()))
    }

    async fn signed_in(
        &self,
        proposal: &ConnectProposal,
        signed_in: SignedIn,
        consent: &mut Consent,
        sign_in: &Arc<SignIn>,
        subject: &Subject,
    ) -> Result<First> {
        let ConnectProposal { loaded, connection, .. } = proposal;
        let manifest = &loaded.manifest;
        let option = find_option(manifest, &connection.option)?;
        match signed_in {
            // A login, or the client's own credentials: asked for like any later renewal.
            SignedIn::Agreed => {}
            SignedIn::CameBack { trip, came } => match trip.arrive(&came)? {
                (WayBack::Code(authorization), came) => {
                    let callback = authorization.accept(&came)?;
                    sign_in.begin(&Given::Code { callback, authorization }, subject).await?;
                }
                (WayBack::Visit(visiting), came) => sign_in.come_back(&visiting, &came, subject).await?,
                (WayBack::Elsewhere(away), came) => sign_in.bring(&away, &came, subject).await?,
            },
            SignedIn::Elsewhere(granted) => sign_in.take_first(granted.0, subject)?,
        }
        let held = sign_in.current(subject).await?;
        let strings = |origins: Vec<Origin>| origins.iter().map(ToString::to_string).collect();
        let reachable = consent::resolve(manifest, option, &held.values, &connection.discovered, &connection.private)?;
        consent.origins = reachable.audience.iter().map(ToString::to_string).collect();
        consent.sign_in = strings(consent::sign_in_origins(option, &held.values, &connection.discovered)?);
        let mut access = self.access_of(manifest, proposal, &held.values, consent, sign_in.clone())?;
        access.through = self.proposed_through(proposal)?;
        Ok(First { access: Arc::new(access), sign_in: Some(sign_in.clone()) })
    }

    /// Who attaches and sends for it, if not this host.
    fn proposed_through(&self, proposal: &ConnectProposal) -> Result<Option<Arc<dyn Through>>> {
        let relayed = self.proposed_way_through(proposal)?;
        Ok(relayed.map(|relayed| Arc::new(relayed) as Arc<dyn Through>))
    }

    fn access_of(
        &self,
        manifest: &Manifest,
        proposal: &ConnectProposal,
        values: &crate::manifest::Values,
        consent: &Consent,
        credentials: Arc<dyn Credentials>,
    ) -> Result<Access> {
        let option = find_option(manifest, &proposal.connection.option)?;
        let limits = self.settings.transport_limits();
        let app = proposal.app.as_ref();
        consent::access(manifest, option, &proposal.connection, values, consent, credentials, app, limits)
    }
}

fn nothing_yet(error: Error) -> (Error, Option<Captured>) {
    (error, None)
}

/// A connection that was proposed replaces the one of its name as it was then, or none. Its consent had been revoked then, or
/// not; whoever takes it back meanwhile means this one too.
pub(super) fn unchanged_before(
    book: &Book<'_>,
    connection: &Connection,
    revoked_before: Option<&str>,
) -> Result<Option<Connection>> {
    let before = book.find_connection(&connection.name)?;
    let is_another = before.as_ref().is_some_and(|before| before.id != connection.id);
    if is_another || before.as_ref().map_or(0, |before| before.generation) + 1 != connection.generation {
        return Err(Kind::AlreadyExists
            .error(format!("The connection `{}` was changed by somebody else in the meantime.", connection.name)));
    }
    if let Some(before) = &before
        && book.consent(before.id)?.and_then(|consent| consent.revoked).as_deref() != revoked_before
    {
        return Err(Kind::ConsentNeeded
            .error(format!("The consent to the connection `{}` was revoked in the meantime.", connection.name))
            .hint("Connect again, if that is still wanted."));
    }
    Ok(before)
}

/// What a connection that is not kept yet works with.
struct First {
    access: Arc<Access>,
    sign_in: Option<Arc<SignIn>>,
}

impl First {
    fn captured(&self) -> Option<Captured> {
        self.sign_in.as_ref().and_then(|sign_in| sign_in.captured())
    }
}

impl ConnectProposal {
    /// What the audit's lines about it have in common.
    pub(super) fn subject(&self, what: &str) -> Subject {
        call::subject(&self.environment, &self.connection, self.approval.digest, what, &self.caller)
    }
}
