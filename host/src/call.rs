//! The way of a call, from a caller's words to the connector's answer.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use async_trait::async_trait;
use serde_json::Value;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    audit::{About, Event, Subject},
    consent::{Connection, Isolation},
    digest::Digest,
    egress::{Access, Preview, Request, Session},
    error::{Error, Kind, Result},
    host::{Host, Ready},
    manifest::{Effect, Effects, Manifest, Operation},
    runtime::{Component, Failure, GuestRequest, GuestResponse, Invoked, SendError, Tenant, WayOut},
    sync::lock,
    text, trace,
};

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct Call {
    /// The environment's name.
    pub environment: String,
    /// The connection's name.
    pub connection: String,
    /// Its id, where it is known which one is meant: another that took its name is then not called.
    pub id: Option<Uuid>,
    /// The operation's id.
    pub operation: String,
    /// The operation's input.
    pub input: Value,
    /// Who asks, for the audit.
    pub caller: String,
}

/// How much of a service's or connector's own words is repeated in an error.
const FOREIGN_WORDS: usize = 1_000;

impl Host {
    /// Calls an operation of a connection.
    ///
    /// # Errors
    /// Every kind: what is missing or refused on the way, what the service or the connector failed with.
    pub async fn call(&self, call: &Call) -> Result<Value> {
        self.call_within(call, Effects::all()).await
    }

    /// The same for a caller who may only call operations of these effects.
    ///
    /// # Errors
    /// As for [`Host::call`], and `denied` for an operation of another effect.
    pub async fn call_within(&self, call: &Call, allowed: Effects) -> Result<Value> {
        self.go(self.prepare(call, allowed)?).await
    }

    /// Runs what may be run, and writes down how it ended.
    pub(crate) async fn go(&self, prepared: Prepared) -> Result<Value> {
        let _underway = self.underway.begin();
        let mut ending = Ending::of(self, &prepared);
        let span = trace::call(&prepared.subject);
        let result = self.run(prepared).instrument(span.clone()).await;
        let outcome = result.as_ref().map_or_else(|error| error.kind().name(), |_| "done");
        span.record("attache.outcome", outcome);
        ending.note(outcome)?;
        result
    }

    /// Runs an operation up to its first request, which is shown and not sent.
    ///
    /// # Errors
    /// As for [`Host::call_within`]; `connector-failed` where the operation ends without a request.
    pub async fn dry_run(&self, call: &Call, allowed: Effects) -> Result<Preview> {
        let prepared = self.prepare(call, allowed)?;
        let ready = &prepared.ready;
        let component = self.component(&ready.loaded, ready.digest).await?;
        let session = self.session(&prepared)?.dry_run();
        let (preview, fault) = (session.preview(), session.fault());
        let way_out = Box::new(ToService::new(session, ready));
        let ended =
            component.invoke(&ready.connection.connector, way_out, prepared.operation.id.clone(), prepared.input).await;
        if let Some(preview) = preview.and_then(|preview| lock(&preview).take()) {
            return Ok(preview);
        }
        finish(ended, &fault, &prepared.operation)?;
        // A refusal that the connector got over is still why there is nothing to show.
        if let Some(refused) = lock(&fault).take() {
            return Err(refused);
        }
        Err(Kind::ConnectorFailed.error("The operation ended without sending a request, so there is nothing to show."))
    }

    /// Consent, then the manifest: everything that can be refused before the connector runs.
    pub(crate) fn prepare(&self, call: &Call, allowed: Effects) -> Result<Prepared> {
        let ready = self.ready_as(&call.environment, &call.connection, call.id)?;
        let operation = operation(&ready.loaded.manifest, &call.operation)?.clone();
        allowed.permit(&operation)?;
        ready.grants(&operation)?;
        let input = accept_input(&operation, &call.input, self.settings.limits.value.input_bytes)?;
        let subject = subject(&call.environment, &ready.connection, ready.digest, &call.operation, &call.caller);
        Ok(Prepared { ready, operation, input, subject })
    }

    async fn run(&self, prepared: Prepared) -> Result<Value> {
        let session = self.session(&prepared)?;
        let fault = session.fault();
        let Prepared { ready, operation, input, subject } = prepared;
        let component = self.component(&ready.loaded, ready.digest).await?;
        let connector = &ready.connection.connector;
        let way_out = Box::new(ToService::new(session, &ready));
        let ended = match ready.isolation {
            // In places of their own, so that they are moved as a pointer.
            Isolation::Call => Box::pin(component.invoke(connector, way_out, operation.id.clone(), input)).await,
            Isolation::Connection => {
                let tenant = Tenant {
                    connection: ready.connection.id,
                    generation: ready.connection.generation,
                    digest: ready.digest,
                    caller: subject.caller().to_owned(),
                };
                let operation = operation.id.clone();
                let ended =
                    Box::pin(component.invoke_reusing(&self.resting, &tenant, connector, way_out, operation, input))
                        .await;
                // All that rested for it was let go when it ended, which this one may have come after.
                if ready.is_over() {
                    self.resting.forget(tenant.connection);
                }
                ended
            }
        };
        finish(ended, &fault, &operation)
    }

    fn session(&self, prepared: &Prepared) -> Result<Session> {
        Ok(Session::new(
            prepared.ready.access.clone(),
            self.transport()?.clone(),
            self.audit.clone(),
            prepared.subject.clone(),
            prepared.operation.effect,
        )
        .until(tokio::time::Instant::now() + self.settings.limits.value.wall()))
    }

    /// Runs a connector's `check` with an access that need not be stored yet. The answer names the account.
    pub(crate) async fn check_access(
        &self,
        component: &Component,
        connection: &Connection,
        access: Arc<Access>,
        subject: Subject,
    ) -> Result<String> {
        // Whether a connection is good is a question.
        let (transport, audit) = (self.transport()?.clone(), self.audit.clone());
        let session = Session::new(access.clone(), transport, audit, subject, Effect::Read);
        let fault = session.fault();
        let way_out = Box::new(ToService { session, option: connection.option.clone(), scopes: Vec::new(), access });
        match component.check(&connection.connector, way_out).await? {
            Invoked::Returned(Ok(account)) => Ok(text::foreign(account.trim(), 200)),
            Invoked::Returned(Err(failure)) => Err(report(failure, &fault)),
            Invoked::Stopped => Err(stopped(&fault)),
        }
    }
}

/// Writes down how a call ended, also where whoever asked has gone: then it is dropped in the middle.
struct Ending<'a> {
    host: &'a Host,
    ready: Arc<Ready>,
    subject: Subject,
    started: Instant,
    noted: bool,
}

impl<'a> Ending<'a> {
    fn of(host: &'a Host, Prepared { ready, subject, .. }: &Prepared) -> Self {
        Self { host, ready: ready.clone(), subject: subject.clone(), started: Instant::now(), noted: false }
    }

    fn note(&mut self, outcome: &'static str) -> Result<()> {
        self.noted = true;
        let (subject, took) = (&self.subject, self.started.elapsed());
        self.host.uses.note(&subject.about().environment, &self.ready.connection);
        self.host.metrics.call_ended(subject.connector(), subject.operation(), outcome, took);
        self.host.audit.note(&Event::call_ended(subject, outcome, took))
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.noted
            && let Err(unwritable) = self.note("cancelled")
        {
            // Nobody is there to be told; the next call will not pass the audit.
            tracing::error!(error = %unwritable, "the audit cannot be written");
        }
    }
}

/// What the first half of the way found out.
pub(crate) struct Prepared {
    ready: Arc<Ready>,
    operation: Arc<Operation>,
    /// As JSON text.
    input: String,
    subject: Subject,
}

/// Who and what the audit's lines of one call are about.
pub(crate) fn subject(
    environment: &str,
    connection: &Connection,
    digest: Digest,
    operation: &str,
    caller: &str,
) -> Subject {
    Subject::new(About {
        environment: environment.to_owned(),
        connection: connection.name.clone(),
        connector: connection.connector.clone(),
        digest,
        operation: operation.to_owned(),
        call: Uuid::new_v4(),
        caller: caller.to_owned(),
    })
}

/// Finds an operation.
///
/// # Errors
/// `not-found`, with the operations that there are.
pub(crate) fn operation<'a>(manifest: &'a Manifest, id: &str) -> Result<&'a Arc<Operation>> {
    manifest.operation(id).ok_or_else(|| {
        let known: Vec<_> = manifest.operations.iter().map(|operation| operation.id.as_str()).collect();
        Kind::NotFound
            .error(format!("The connector `{}` has no operation `{}`.", manifest.name, text::foreign(id, 64)))
            .hint(format!("It has {}.", known.join(", ")))
    })
}

/// Checks an input and gives it as JSON text.
fn accept_input(operation: &Operation, input: &Value, limit: u64) -> Result<String> {
    let text = input.to_string();
    let bytes = text.len() as u64;
    if bytes > limit {
        return Err(Kind::InvalidInput
            .error(format!("The input has {bytes} bytes; it may have {limit}."))
            .hint("Raise `limits.input-bytes` in attache.toml."));
    }
    match operation.input.faults(input)? {
        None => Ok(text),
        Some(faults) => Err(Kind::InvalidInput
            .error(format!("The input does not fit `{}`: {}.", operation.id, text::foreign(&faults, FOREIGN_WORDS)))
            .hint(format!("`attache call CONNECTION {} --help` shows what it takes.", operation.id))),
    }
}

fn finish(ended: Result<Invoked>, fault: &Mutex<Option<Error>>, operation: &Operation) -> Result<Value> {
    let output = match ended? {
        Invoked::Returned(Ok(output)) => output,
        Invoked::Returned(Err(failure)) => return Err(report(failure, fault)),
        Invoked::Stopped => return Err(stopped(fault)),
    };
    let wrong = |why: String| {
        Kind::ConnectorOutput.error(format!("The connector's answer {why}.")).hint("This is a defect of the connector.")
    };
    let output: Value = serde_json::from_str(&output).map_err(|error| wrong(format!("is not JSON ({error})")))?;
    match operation.output.faults(&output)? {
        None => Ok(output),
        Some(faults) => Err(wrong(format!("does not fit its own schema: {}", text::foreign(&faults, FOREIGN_WORDS)))),
    }
}

/// Why a call ended in the middle.
fn stopped(fault: &Mutex<Option<Error>>) -> Error {
    lock(fault).take().unwrap_or_else(|| Kind::Internal.error("The call was stopped."))
}

/// What a caller is told of a connector's failure. Where the host refused a request on the way, that is the cause, in the
/// host's own words; the connector's are labelled as its own.
fn report(failure: Failure, fault: &Mutex<Option<Error>>) -> Error {
    if let Some(cause) = lock(fault).take() {
        return cause;
    }
    let quoted = |words: &str| text::says(words, FOREIGN_WORDS);
    match failure {
        Failure::InvalidInput(words) => Kind::InvalidInput.error(format!("The connector refuses the input.{}", quoted(&words))),
        Failure::NotFound(words) => Kind::NotFound.error(format!("The service has no such thing.{}", quoted(&words))),
        Failure::Unauthorized(words) => Kind::ServiceFailed
            .error(format!("The service refuses the credential.{}", quoted(&words)))
            .hint("`attache connection check NAME` tells whether it is still good; `attache connection reconnect NAME` replaces it."),
        Failure::RateLimited(Some(seconds)) => {
            Kind::RateLimited.error(format!("The service says to wait {seconds} s.")).hint("Call again after that.").retry_after(seconds.into())
        }
        Failure::RateLimited(None) => Kind::RateLimited.error("The service says that there were too many calls."),
        Failure::Upstream(status, words) => {
            Kind::ServiceFailed.error(format!("The service answered with status {status}.{}", quoted(&words)))
        }
        Failure::Other(words) => Kind::ConnectorFailed.error(format!("The connector failed.{}", quoted(&words))),
    }
}

/// The way out of one call: the connection as the connector may see it, and `egress` behind `send`.
struct ToService {
    session: Session,
    option: String,
    scopes: Vec<String>,
    access: Arc<Access>,
}

impl ToService {
    fn new(session: Session, ready: &Ready) -> Self {
        let (option, scopes) = (ready.connection.option.clone(), ready.granted.clone());
        Self { session, option, scopes, access: ready.access.clone() }
    }
}

#[async_trait]
impl WayOut for ToService {
    fn parameter(&self, name: &str) -> Option<String> {
        self.access.readable.get(name).cloned()
    }

    fn audience(&self) -> Vec<String> {
        self.access.reachable.audience.iter().map(ToString::to_string).collect()
    }

    fn auth_option(&self) -> String {
        self.option.clone()
    }

    fn scopes(&self) -> Vec<String> {
        self.scopes.clone()
    }

    async fn send(&mut self, request: GuestRequest) -> std::result::Result<GuestResponse, SendError> {
        let GuestRequest { method, url, headers, body, attach } = request;
        match self.session.send(Request { method, url, headers, body, attach }).await {
            Ok(response) => {
                Ok(GuestResponse { status: response.status, headers: response.headers, body: response.body })
            }
            Err(error) => Err(for_guest(&error)),
        }
    }

    fn stop(&self) -> bool {
        self.session.is_over()
    }
}

/// What the connector is told: what became of its request, with what would allow it. What is the matter with the host itself
/// is for its operator, who is told as the one who called; such a sentence may name files of this machine.
fn for_guest(error: &Error) -> SendError {
    let sentence = match error.mend() {
        Some(mend) => format!("{} {mend}", error.message()),
        None => error.message().to_owned(),
    };
    match error.kind() {
        Kind::Timeout => SendError::Timeout(sentence),
        Kind::TooLarge => SendError::TooLarge(sentence),
        Kind::Unreachable | Kind::ServiceFailed | Kind::RateLimited => SendError::Unreachable(sentence),
        Kind::InvalidInput => SendError::InvalidRequest(sentence),
        Kind::ReconnectNeeded | Kind::ConsentNeeded => SendError::NeedsReconnect(sentence),
        Kind::Denied => SendError::Denied(sentence),
        _ => SendError::Denied("The host cannot send requests now; its operator is told why.".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_is_told_what_became_of_its_request_and_what_would_allow_it() {
        let told = |kind: Kind| for_guest(&kind.error("What.").hint("Do this."));
        let sentence = || "What. Do this.".to_owned();
        for (kind, expected) in [
            (Kind::Denied, SendError::Denied(sentence())),
            (Kind::InvalidInput, SendError::InvalidRequest(sentence())),
            (Kind::ReconnectNeeded, SendError::NeedsReconnect(sentence())),
            (Kind::ConsentNeeded, SendError::NeedsReconnect(sentence())),
            (Kind::Timeout, SendError::Timeout(sentence())),
            (Kind::TooLarge, SendError::TooLarge(sentence())),
            (Kind::Unreachable, SendError::Unreachable(sentence())),
            (Kind::ServiceFailed, SendError::Unreachable(sentence())),
            (Kind::RateLimited, SendError::Unreachable(sentence())),
        ] {
            assert_eq!(told(kind), expected, "{kind:?}");
        }
        assert_eq!(for_guest(&Kind::Timeout.error("Late.")), SendError::Timeout("Late.".into()));
        // When it may be asked again is in the sentence, where a service said so; the number is the caller's.
        let wait = Kind::RateLimited.error("Wait.").retry_after(7);
        assert_eq!(for_guest(&wait), SendError::Unreachable("Wait.".into()));
    }

    #[test]
    fn a_connector_is_told_nothing_of_what_is_the_matter_with_the_host() {
        for kind in [
            Kind::Internal,
            Kind::StoreLocked,
            Kind::WrongKey,
            Kind::StoreDamaged,
            Kind::StoreUnavailable,
            Kind::NotFound,
            Kind::ApprovalNeeded,
            Kind::Usage,
        ] {
            let error = kind.error("/home/jo/.local/share/attache/audit.log is full.").hint("Look at /home/jo.");
            let expected = "The host cannot send requests now; its operator is told why.";
            assert_eq!(for_guest(&error), SendError::Denied(expected.into()), "{kind:?}");
        }
    }
}
