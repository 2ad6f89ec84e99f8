//! The calls of a sign-in: each is filled in, sent once, and asked for what is to be kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use jiff::Timestamp;
use url::{Url, form_urlencoded};
use uuid::Uuid;

use super::{App, Captured, answer::Answer, refusal};
use crate::{
    audit::{Audit, Event, Subject},
    credential::{self, Existing},
    egress,
    error::{Error, Kind},
    manifest::{
        Parameter, Values,
        declared::CaptureFrom,
        jwt::{Jwt, Jwts},
        login::{Body, Call, Capture},
        template::{Landing, Moment, Template, Value},
    },
    origin::Origin,
    secret::Secret,
    text,
    transport::{self, Before, Incoming, Outgoing, PoolKey, PrivateAllowed, Transport},
};

/// An answer to a sign-in is some tokens.
const LARGEST_ANSWER: usize = 1 << 20;

/// What every call of one connection's sign-in shares.
pub(crate) struct Way {
    pub(crate) transport: Arc<Transport>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) private: PrivateAllowed,
    /// Whether nothing else is reached than that, public or private.
    pub(crate) confined: bool,
    pub(crate) limits: transport::Limits,
    /// Tokens that the host makes for it.
    pub(crate) jwts: Vec<Jwt>,
    /// Whose secrets it carries: it goes to that app's origins and nowhere else.
    pub(crate) app: Option<Arc<App>>,
    /// The origins that the account's owner agreed to; none while there is no consent yet.
    pub(crate) agreed: Option<BTreeSet<String>>,
}

/// Keeps what was captured so far, before it is used for anything.
pub(crate) type Keep<'a> = dyn Fn(&Captured) -> Result<(), Error> + Sync + 'a;

/// Why a sign-in gave nothing.
pub(crate) enum Failure {
    /// Nothing left: something here is missing or forbids it.
    Unsent(Error),
    /// The service refuses what it was given, or answers something else than it should: asking again with the same changes
    /// nothing, and may lock the account.
    Refused(Error),
    /// It could not be reached, or failed itself: asking again later may help, after so long where it said.
    Later(Error, Option<Duration>),
    /// The provider does not accept the app, or what it asks for: its operator has to correct that, and the connection itself
    /// may be good. Asking again later may help, after so long where it said.
    OfApp(Error, Option<Duration>),
    /// The request may have arrived, and what came of it is not known.
    Lost(Error),
    /// Somebody has to decide first; whether they ask for more patience (RFC 8628, 3.5).
    Undecided {
        /// Ask less often from now on.
        slower: bool,
    },
}

impl Failure {
    pub(super) fn unsent(error: Error) -> Self {
        Self::Unsent(error)
    }

    pub(super) fn later(error: Error, wait: Option<Duration>) -> Self {
        Self::Later(error, wait)
    }

    /// Of a step that runs when a token was given already: asking again would spend another.
    pub(super) fn after_a_token(self) -> Self {
        match self {
            Self::Later(error, _) | Self::OfApp(error, _) | Self::Unsent(error) => Self::Lost(error),
            other => other,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Unsent(error)
            | Self::Refused(error)
            | Self::Later(error, _)
            | Self::OfApp(error, _)
            | Self::Lost(error) => error,
            Self::Undecided { .. } => Kind::ConsentNeeded.error("Nobody has decided at the provider yet."),
        }
    }
}

impl Way {
    /// Runs steps in order. `values` are what was typed and, for a refresh, what was captured before; `before` is done before
    /// the first of them leaves, and `kept` where there are more to come: the next time begins with what was kept.
    pub(super) async fn run(
        &self,
        steps: &[Call],
        values: &Values,
        subject: &Subject,
        mut before: Option<Before>,
        kept: Option<&Keep<'_>>,
    ) -> Result<Captured, Failure> {
        let mut values = values.clone();
        let mut captured = Captured::default();
        for (number, step) in steps.iter().enumerate() {
            let later = |failure: Failure| match (number, kept, failure) {
                (0, _, failure) => failure,
                (_, Some(_), Failure::Lost(error)) => Failure::Later(error, None),
                (_, Some(_), failure) => failure,
                // What an earlier step brought is lost with a later one that fails, and asking for it again may spend something.
                (_, None, failure) => failure.after_a_token(),
            };
            let moment = Moment::now();
            let filled = request(step, &self.jwts, &values, &moment).map_err(Failure::Unsent).map_err(later)?;
            let (mut outgoing, made) = filled;
            outgoing.before = before.take();
            let origin = outgoing.url.origin().ascii_serialization();
            let answer = self.exchange(outgoing, subject, number + 1).await.map_err(later)?;
            let status = answer.status;
            let answer = Answer::read(answer);
            let says = refusal::says(answer.content(), values.secret().values().chain(&made));
            refusal::judge(status, &answer, &origin, &says).map_err(later)?;
            if answer.says_twice() && step.capture.iter().any(|it| matches!(it.at, CaptureFrom::Answer(_))) {
                return Err(Failure::Refused(Kind::ReconnectNeeded.error(format!(
                    "The answer of {origin} to the sign-in has a member twice, so that nobody can tell which one counts."
                ))));
            }
            for capture in &step.capture {
                keep(capture, &answer, (&origin, &says), &mut values, &mut captured).map_err(|error| {
                    match refusal::passes(answer.content()) {
                        true => later(Failure::Later(error, refusal::wait(answer.headers()))),
                        false => Failure::Refused(error),
                    }
                })?;
            }
            if let Some(kept) = kept.filter(|_| number + 1 < steps.len()) {
                kept(&captured).map_err(Failure::Lost)?;
            }
        }
        refuse_reflected(steps.iter().flat_map(|step| &step.capture), &values).map_err(Failure::Refused)?;
        Ok(captured)
    }

    /// Whether the app's operator and the account's owner let it go there.
    fn permits(&self, url: &Url, subject: &Subject) -> Result<(), Error> {
        if self.confined {
            self.private.confine(&Origin::of(url)?)?;
        }
        if let Some(app) = &self.app {
            app.permits(url)?;
        }
        let origin = Origin::of(url)?.to_string();
        match &self.agreed {
            Some(agreed) if !agreed.contains(&origin) => Err(Kind::ConsentNeeded
                .error(format!("To sign in, the connector now calls {origin}, which was not agreed to."))
                .hint(format!("`attache connection reconnect {}` asks its owner again.", subject.connection()))),
            _ => Ok(()),
        }
    }

    /// Sends one request where this sign-in may go, over a connection of its own: on one that was kept open, a request that
    /// meets its closing would be lost, and what it spent with it.
    pub(super) async fn exchange(
        &self,
        outgoing: Outgoing,
        subject: &Subject,
        number: usize,
    ) -> Result<Incoming, Failure> {
        self.permits(&outgoing.url, subject).map_err(Failure::Unsent)?;
        let (method, origin) = (outgoing.method.clone(), outgoing.url.origin().ascii_serialization());
        let unsent = Failure::Unsent;
        self.audit.leaving(&Event::sign_in_request(subject, &method, &origin, number)).await.map_err(unsent)?;
        let limits = transport::Limits {
            body_on_wire: LARGEST_ANSWER.min(self.limits.body_on_wire),
            body_decoded: LARGEST_ANSWER.min(self.limits.body_decoded),
            ..self.limits.clone()
        };
        let once = PoolKey::new(format!("sign-in/{}", Uuid::new_v4()));
        let outcome = self.transport.send(&once, &self.private, outgoing, &limits).await;
        self.transport.close(&once);
        match outcome {
            Ok(answer) => {
                self.note(&Event::answer(subject, answer.status.as_u16(), answer.body.len(), 0));
                Ok(answer)
            }
            Err(fault) => {
                let lost = fault.may_have_arrived();
                self.note(&Event::fault(subject, &fault.to_string()));
                Err(if lost { Failure::Lost(fault.into()) } else { Failure::Later(fault.into(), None) })
            }
        }
    }

    /// What came of a request counts, whether its line can be written or not: the next request will not pass the audit.
    fn note(&self, event: &Event) {
        if let Err(error) = self.audit.note(event) {
            tracing::error!(%error, "the audit cannot be written");
        }
    }
}

/// A service that knows what was typed, or what it gave before, may repeat it in a value that the connector can read.
pub(super) fn refuse_reflected<'a>(
    captures: impl IntoIterator<Item = &'a Capture>,
    values: &Values,
) -> Result<(), Error> {
    let readable = captures.into_iter().map(|capture| &capture.value.name);
    for (name, text) in readable.filter_map(|name| Some((name, values.public().get(name)?))) {
        if egress::stands_in(values.secret().values(), text) {
            return Err(Kind::ReconnectNeeded.error(format!(
                "The answer to the sign-in has a secret in `{}`, which the connector can read.",
                text::foreign(name, 64)
            )));
        }
    }
    Ok(())
}

/// A step's request, and the secrets that were made for it beside the values.
fn request(step: &Call, jwts: &[Jwt], values: &Values, moment: &Moment) -> Result<(Outgoing, Vec<Secret>), Error> {
    let tokens = Jwts::new(jwts);
    let scope = tokens.over(values, moment);
    let mut made = Vec::new();
    let unfit = |what: &str, why: &dyn std::fmt::Display| {
        Kind::ReconnectNeeded
            .error(format!("{what} of the sign-in cannot be filled in: {why}."))
            .hint("Correct the values with `attache connection reconnect NAME`.")
    };
    let url = step.url.fill(&scope, moment).map_err(|why| unfit("A URL", &why))?;
    made.extend_from_slice(url.secrets());
    let mut fill = |template: &Template, landing| {
        let filled = template.fill(&scope, landing, moment).map_err(|why| unfit("The content", &why))?;
        made.extend(filled.iter().cloned().flat_map(Value::into_secrets));
        Ok::<_, Error>(filled)
    };
    let mut headers = HeaderMap::new();
    let body = match &step.body {
        Body::Empty => Bytes::new(),
        Body::Form(fields) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, template) in fields {
                // A field whose template has no value is left out.
                if let Some(value) = fill(template, Landing::Plain)? {
                    form.append_pair(name, value.text().map_err(|_| unfit("A field", &"it is not text"))?);
                }
            }
            Bytes::from(form.finish())
        }
        Body::Json(json) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let filled = json.fill(&scope, moment).map_err(|why| unfit("The content", &why))?;
            let filled = filled.ok_or_else(|| unfit("The content", &"a value is missing"))?;
            let content = Bytes::copy_from_slice(filled.bytes());
            made.extend(filled.into_secrets());
            content
        }
        Body::Xml(template) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
            let filled = fill(template, Landing::Xml)?.ok_or_else(|| unfit("The content", &"a value is missing"))?;
            Bytes::copy_from_slice(filled.bytes())
        }
    };
    let mut outgoing = Outgoing::new(step.method.clone(), url.expose().clone(), headers, body);
    made.extend(credential::attach(&step.attach, jwts, values, moment, Existing::Replace, &mut outgoing)?.values);
    Ok((outgoing, made))
}

/// Keeps what an answer has, `from` whose origin, with what it says beside it.
pub(super) fn keep(
    capture: &Capture,
    answer: &Answer,
    from: (&str, &str),
    values: &mut Values,
    captured: &mut Captured,
) -> Result<(), Error> {
    keep_found(capture, answer.find(&capture.at), from, values, captured)
}

pub(super) fn keep_found(
    capture: &Capture,
    found: Option<Secret>,
    (origin, says): (&str, &str),
    values: &mut Values,
    captured: &mut Captured,
) -> Result<(), Error> {
    let name = text::foreign(&capture.value.name, 64);
    let Some(found) = found else {
        // An expiry or the like that a service leaves out this time is no failure.
        if capture.may_be_left_out() {
            return Ok(());
        }
        return Err(Kind::ReconnectNeeded
            .error(format!(
                "The answer of {origin} to the sign-in has no `{name}`, so it refused, or is another service.{says}"
            ))
            .hint("`attache connection reconnect NAME` asks for what was typed again."));
    };
    if capture.is_expiry() {
        captured.expires = expiry(&capture.value.name, &found, Timestamp::now());
        return Ok(());
    }
    values.put(&capture.value, found.clone()).map_err(|error| {
        Kind::ReconnectNeeded
            .error(format!("What {origin} answered to the sign-in cannot be used: {}", error.message()))
    })?;
    captured.put(&capture.value, found);
    Ok(())
}

/// Until when, in seconds since 1970; none where it cannot be told.
pub(super) fn expiry(name: &str, found: &Secret, now: Timestamp) -> Option<i64> {
    let text = std::str::from_utf8(found.expose()).ok()?.trim();
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0 && *number < 1e15);
    #[allow(clippy::cast_possible_truncation, reason = "bounded above")]
    let whole = |number: f64| number as i64;
    match (name, number) {
        // Some write that of what does not run out.
        ("expires_in" | "expires_in_ms", Some(0.0)) => None,
        ("expires_in", Some(seconds)) => Some(now.as_second().saturating_add(whole(seconds))),
        ("expires_in_ms", Some(milliseconds)) => Some(now.as_second().saturating_add(whole(milliseconds / 1000.0))),
        // Beyond the year 5138 it is milliseconds.
        ("expires_at", Some(time)) if time > 1e11 => Some(whole(time / 1000.0)),
        ("expires_at", Some(time)) => Some(whole(time)),
        ("expires_at", None) => text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp()))
            .map(Timestamp::as_second),
        _ => None,
    }
}

impl Captured {
    fn put(&mut self, parameter: &Parameter, value: Secret) {
        self.values.insert(parameter.name.clone(), value);
    }

    /// These over those that were there before.
    pub(super) fn over(mut self, before: &Captured) -> Self {
        let mut values: BTreeMap<String, Secret> = before.values.clone();
        values.append(&mut self.values);
        Self { values, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{
        ValueKind,
        audience::{NameInfo, UrlTemplate},
    };

    #[test]
    fn what_is_computed_for_a_steps_url_is_a_secret_that_its_service_is_not_quoted_with() {
        let url = Template::parse("https://login.example.com/?proof={hex(hash(sha256, key))}").unwrap();
        let secret = NameInfo { kind: ValueKind::Secret, bounded: false, is_pattern_group: false, several: false };
        let step = Call {
            method: http::Method::GET,
            url: UrlTemplate::parse(&url, &|_| Some(secret)).unwrap(),
            attach: Vec::new(),
            body: Body::Empty,
            capture: Vec::new(),
        };
        let mut values = Values::default();
        values.put(&Parameter::known("key", ValueKind::Secret), Secret::new("a-key-77d0")).unwrap();
        let (outgoing, made) = request(&step, &[], &values, &Moment::now()).unwrap();
        let proof = outgoing.url.query_pairs().next().unwrap().1.into_owned();
        let said = serde_json::json!({ "message": format!("{proof} is not the proof") });
        assert_eq!(refusal::says(&said, &made), " It says: “(its words repeat a secret)”");
    }

    #[test]
    fn expiries_are_read_in_every_form_that_services_write() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |name: &str, text: &str| expiry(name, &Secret::new(text), now);
        assert_eq!(at("expires_in", "3600"), Some(1_800_003_600));
        assert_eq!(at("expires_in", "3599.5"), Some(1_800_003_599));
        assert_eq!(at("expires_in_ms", "60000"), Some(1_800_000_060));
        assert_eq!(at("expires_at", "1800000100"), Some(1_800_000_100));
        assert_eq!(at("expires_at", "1800000100000"), Some(1_800_000_100));
        assert_eq!(at("expires_at", "2027-01-15T08:00:00Z"), Some(1_800_000_000));
        assert_eq!(at("expires_at", "Fri, 15 Jan 2027 08:00:00 GMT"), Some(1_800_000_000));
        for (name, text) in [("expires_in", "soon"), ("expires_in", "-1"), ("expires_in", "inf"), ("expires_at", "x")] {
            assert_eq!(at(name, text), None, "{name} {text}");
        }
    }
}
