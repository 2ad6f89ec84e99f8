//! The host's side: which gateways are connected, and sending through them. A request goes through one line; where that broke, a
//! request that certainly was not worked on, or that may be made twice, goes once through another.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming as Body;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    Gateway, Member,
    line::{self, Line, Lost},
    wire::{self, Asked, Errands, Failed, Message, Missed, Told},
};
use crate::{
    audit::{Audit, Event, Subject},
    consent::{Brought, Elsewhere, Errand, Failure, Fruitless, SealedBox},
    credential::Existing,
    digest::Digest,
    egress::{Leaving, Returned, Through},
    error::{Error, Kind, Result},
    sync::lock,
    transport::{Before, Incoming, Limits},
};

/// How long a request waits for a gateway that was there a moment ago: one that is started again is back within that.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long ago a moment may be.
const MOMENT: Duration = Duration::from_secs(30);
/// What the way through a gateway may take beside what the service may.
const MARGIN: Duration = Duration::from_secs(10);

/// The lines there are.
#[derive(Default)]
pub(crate) struct Relay {
    lines: Mutex<Lines>,
    /// Counts whatever changes in them.
    changed: watch::Sender<u64>,
    /// Whether gateways can come in: only where a host runs.
    listening: AtomicBool,
    /// Whose turn it is where several lines lead to the same gateway.
    turn: AtomicUsize,
}

#[derive(Default)]
struct Lines {
    /// The newest last, by the gateway's key.
    open: HashMap<Digest, Vec<Arc<Line>>>,
    /// When the last line of one ended.
    lost: HashMap<Digest, Instant>,
}

impl Relay {
    /// From now on gateways can come in.
    pub(crate) fn listen(&self) {
        self.listening.store(true, Ordering::Release);
    }

    /// Ends every line.
    pub(crate) fn close(&self) {
        self.listening.store(false, Ordering::Release);
        lock(&self.lines).open.drain().flat_map(|(_, lines)| lines).for_each(|line| line.end());
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Since when a machine is connected, if it is; RFC 3339.
    pub(crate) fn connected_since(&self, member: &Member) -> Option<String> {
        let lines = lock(&self.lines);
        lines.open.get(&member.identity)?.iter().rev().find(|line| line.is_open()).map(|line| line.since.clone())
    }

    pub(super) fn add(&self, line: Arc<Line>) {
        lock(&self.lines).open.entry(line.identity).or_default().push(line);
        self.changed.send_modify(|changes| *changes += 1);
    }

    pub(super) fn remove(&self, line: &Arc<Line>) {
        let mut lines = lock(&self.lines);
        if let Some(open) = lines.open.get_mut(&line.identity) {
            open.retain(|other| !Arc::ptr_eq(other, line));
            if open.is_empty() {
                lines.open.remove(&line.identity);
                lines.lost.insert(line.identity, Instant::now());
            }
        }
        lines.lost.retain(|_, when| when.elapsed() < MOMENT);
        drop(lines);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Ends the lines of a gateway.
    pub(crate) fn disconnect(&self, identity: Digest) {
        let mut lines = lock(&self.lines);
        lines.lost.remove(&identity);
        let ended = lines.open.remove(&identity).unwrap_or_default();
        drop(lines);
        ended.iter().for_each(|line| line.end());
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// A line to any machine of a gateway, in turn, but not that one where there is another: it just broke.
    fn line(&self, gateway: &Gateway, not: Option<&Arc<Line>>) -> Option<Arc<Line>> {
        let lines = lock(&self.lines);
        let of_member = |member: &Member| lines.open.get(&member.identity)?.iter().rev().find(|line| line.is_open());
        let open: Vec<&Arc<Line>> = gateway.members.iter().filter_map(of_member).collect();
        let others = open.iter().filter(|line| not.is_none_or(|not| !Arc::ptr_eq(line, not)));
        let others: Vec<_> = others.collect();
        match others.len() {
            0 => open.first().map(|line| Arc::clone(line)),
            count => Some(Arc::clone(others[self.turn.fetch_add(1, Ordering::Relaxed) % count])),
        }
    }

    /// The same; one that was there a moment ago is waited for.
    async fn wait_for(&self, gateway: &Gateway, not: Option<&Arc<Line>>) -> Result<Arc<Line>> {
        let mut changed = self.changed.subscribe();
        let give_up = Instant::now() + PATIENCE;
        loop {
            changed.borrow_and_update();
            if let Some(line) = self.line(gateway, not) {
                return Ok(line);
            }
            if !self.listening.load(Ordering::Acquire) {
                return Err(nobody_listens(&gateway.name));
            }
            if !self.was_there(gateway) || timeout_at(give_up, changed.changed()).await.is_err() {
                return Err(not_connected(&gateway.name));
            }
        }
    }

    fn was_there(&self, gateway: &Gateway) -> bool {
        let lines = lock(&self.lines);
        let lately = |when: &Instant| when.elapsed() < MOMENT;
        // One that says that it leaves is still among them.
        let was_there = |member: &Member| {
            lines.open.contains_key(&member.identity) || lines.lost.get(&member.identity).is_some_and(lately)
        };
        gateway.members.iter().any(was_there)
    }
}

fn nobody_listens(name: &str) -> Error {
    Kind::Unreachable
        .error(format!("The gateway `{name}` dials a host that runs, and none runs here."))
        .hint("Start it with `attache serve`; this command then goes through it.")
}

fn not_connected(name: &str) -> Error {
    Kind::Unreachable
        .error(format!("The gateway `{name}` is not connected."))
        .hint(format!("Start it with `attache gateway run` on its machine; `attache gateway show {name}` tells when it was last heard of."))
}

fn broke(name: &str) -> Error {
    Kind::Unreachable
        .error(format!(
            "The line to the gateway `{name}` broke while the request was under way, so that nobody knows whether the service received it."
        ))
        .hint("Find out at the service before calling again, unless it may be done twice.")
}

/// A connection's way through its gateway.
#[derive(Clone)]
pub(crate) struct Relayed {
    relay: Arc<Relay>,
    gateway: Gateway,
    sealed: SealedBox,
    /// Of the app that it signs in through, if it does.
    app: Option<SealedBox>,
}

impl Relayed {
    pub(crate) fn new(relay: Arc<Relay>, gateway: Gateway, sealed: SealedBox, app: Option<SealedBox>) -> Self {
        Self { relay, gateway, sealed, app }
    }

    /// Who signs in for it.
    pub(crate) fn signing_in(self, audit: Arc<Audit>, limits: Limits, scopes: Vec<String>) -> SigningIn {
        SigningIn { relayed: self, audit, limits, scopes }
    }

    /// Sends once, and once more where nobody minds.
    async fn exchange(&self, asked: &Asked, body: &Bytes, twice: bool, most: usize) -> Result<(StatusCode, Bytes)> {
        let message = || line::request(wire::SEND, Message::of(asked, body.clone())?);
        let mut request = message()?;
        let (mut again, mut before) = (true, None);
        loop {
            let line = self.relay.wait_for(&self.gateway, before.as_ref()).await?;
            let lost = match ask(&line, request, most).await {
                Ok(answer) => return answer,
                Err(lost) => lost,
            };
            request = match lost {
                // It went nowhere, so that this was no attempt.
                Lost::Unsent(unsent) => *unsent,
                Lost::Untouched if std::mem::take(&mut again) => message()?,
                Lost::Midway if twice && std::mem::take(&mut again) => message()?,
                Lost::Untouched | Lost::Midway => return Err(broke(&self.gateway.name)),
            };
            before = Some(line);
        }
    }
}

/// An answer of the gateway's, whole.
async fn ask(line: &Line, request: Request<Message>, most: usize) -> Result<Result<(StatusCode, Bytes)>, Lost> {
    let answer: Response<Body> = line.ask(request).await?;
    let status = answer.status();
    match wire::collect(answer.into_body(), most).await {
        Ok(body) => Ok(Ok((status, body))),
        Err(_) => Err(Lost::Midway),
    }
}

#[async_trait]
impl Through for Relayed {
    async fn send(&self, leaving: Leaving<'_>) -> Result<Returned> {
        let Leaving { outgoing, attach, held, existing, about, hop, repeated, reads, limits } = leaving;
        let asked = Asked {
            method: outgoing.method.to_string(),
            url: outgoing.url.into(),
            headers: (&outgoing.headers).into(),
            attach,
            replace: existing == Existing::Replace,
            about: about.clone(),
            hop,
            repeated,
            bounds: limits.into(),
            sealed: self.sealed.clone(),
            app: self.app.clone(),
            captured: held.and_then(|held| held.sealed.clone()),
        };
        let twice = reads && matches!(outgoing.method, Method::GET | Method::HEAD);
        let most = wire::HEAD_BYTES.saturating_add(limits.body_decoded);
        let until = Instant::now() + limits.total + MARGIN;
        let answered = timeout_at(until, self.exchange(&asked, &outgoing.body, twice, most)).await;
        let (status, body) = answered.unwrap_or_else(|_| Err(self.slow(limits)))?;
        if !status.is_success() {
            let failed: Failed = serde_json::from_slice(&body).map_err(|_| wire::garbled())?;
            return Err(failed.into());
        }
        let (told, body): (Told, Bytes) = wire::read(body)?;
        let status = StatusCode::from_u16(told.status).map_err(|_| wire::garbled())?;
        let headers = HeaderMap::try_from(told.headers)?;
        Ok(Returned { answer: Incoming { status, headers, body, place: None }, masked: told.masked })
    }
}

impl Relayed {
    fn slow(&self, limits: &Limits) -> Error {
        Kind::Timeout.error(format!(
            "The gateway `{}` did not answer within {:?}.",
            self.gateway.name,
            limits.total + MARGIN
        ))
    }
}

/// Signing in through the gateway.
pub(crate) struct SigningIn {
    relayed: Relayed,
    audit: Arc<Audit>,
    limits: Limits,
    /// What is asked for.
    scopes: Vec<String>,
}

/// An errand may take so many requests, each as long as one may.
const REQUESTS_OF_AN_ERRAND: u32 = 4;

#[async_trait]
impl Elsewhere for SigningIn {
    async fn run(&self, errand: Errand, subject: &Subject, before: Option<Before>) -> Result<Brought, Fruitless> {
        let Relayed { relay, gateway, sealed, app, .. } = &self.relayed;
        let asked = Errands {
            about: subject.about().clone(),
            bounds: (&self.limits).into(),
            sealed: sealed.clone(),
            app: app.clone(),
            scopes: self.scopes.clone(),
            errand,
        };
        let message = Message::of(&asked, Bytes::new()).and_then(|message| line::request(wire::SIGN_IN, message));
        let message = message.map_err(Failure::Unsent)?;
        let line = relay.wait_for(gateway, None).await.map_err(|error| Failure::Later(error, None))?;
        self.audit.leaving(&Event::sign_in_through(subject, &gateway.name)).await.map_err(Failure::Unsent)?;
        if let Some(before) = before {
            before().map_err(Failure::Unsent)?;
        }
        let until = Instant::now() + self.limits.total * REQUESTS_OF_AN_ERRAND + MARGIN;
        let answered = timeout_at(until, ask(&line, message, wire::HEAD_BYTES)).await;
        let (status, body) = match answered {
            Ok(Ok(answer)) => answer.map_err(Failure::Lost)?,
            Ok(Err(Lost::Unsent(_) | Lost::Untouched)) => {
                return Err(Failure::Later(not_connected(&gateway.name), None).into());
            }
            Ok(Err(Lost::Midway)) => return Err(Failure::Lost(broke(&gateway.name)).into()),
            Err(_) => return Err(Failure::Lost(self.relayed.slow(&self.limits)).into()),
        };
        if status.is_success() {
            return Ok(wire::read(body).map_err(Failure::Lost)?.0);
        }
        match serde_json::from_slice::<Missed>(&body) {
            Ok(missed) => Err(missed.into()),
            Err(_) => {
                let failed = serde_json::from_slice::<Failed>(&body);
                Err(Failure::Unsent(failed.map_or_else(|_| wire::garbled(), Into::into)).into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
