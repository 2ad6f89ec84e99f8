//! The scheme `login`: calls that trade what was typed for something short-lived, and what is kept of their answers.

use std::time::Duration;

use http::{HeaderName, Method};

use super::{
    Attachment, Parameter, ValueKind,
    audience::UrlTemplate,
    check::{Names, denied, invalid, shown},
    declared::{self, CaptureFrom},
    jwt::Jwt,
    template::{JsonTemplate, Template},
};
use crate::error::{Error, Result};

/// Captures that mean something to the host and are never readable (contract, `record capture`).
pub const ACCESS_TOKEN: &str = "access_token";
/// As [`ACCESS_TOKEN`].
pub const REFRESH_TOKEN: &str = "refresh_token";
/// Seconds, milliseconds, or a time until which the rest is good.
pub const EXPIRIES: [&str; 3] = ["expires_in", "expires_in_ms", "expires_at"];
/// What was granted, where the token answer does not say.
pub const GRANTED_SCOPES: &str = "granted_scopes";

/// More steps than any service was seen to ask for.
const MOST_STEPS: usize = 8;
/// What the host gives to the steps of a login with a visit; a parameter of the same name goes before it.
pub const REDIRECT_URI: &str = "redirect_uri";
/// As [`REDIRECT_URI`].
pub const STATE: &str = "state";
/// What a service brings a token or a code back under.
const SECRET_IN_CALLBACKS: [&str; 8] =
    ["access_token", "code", "id_token", "oauth_token_secret", "oauth_verifier", "refresh_token", "ticket", "token"];

/// How a connection signs in with what was typed.
#[derive(Debug, Clone)]
pub struct Login {
    /// Runs when connecting, and when there is nothing better later, which there must be where a person is sent away.
    pub steps: Vec<Call>,
    /// A person goes to a page of the service in between.
    pub visit: Option<Visit>,
    /// Runs when what was captured runs out; empty runs `steps` again.
    pub refresh: Vec<Call>,
    /// Where no answer says how long what was captured is good.
    pub lifetime: Option<Duration>,
}

/// A page of the service that a person is sent to, and that sends back.
#[derive(Debug, Clone)]
pub struct Visit {
    /// How many of the steps run before it.
    pub after: usize,
    /// Where to. A browser shows it, so no secret is in it.
    pub url: UrlTemplate,
    /// Whether the state is in the URL; else it is in the path of the redirect URI.
    pub carries_state: bool,
    /// What is kept of the callback.
    pub capture: Vec<Capture>,
}

/// One request of a sign-in, and what its answer is asked for.
#[derive(Debug, Clone)]
pub struct Call {
    /// Any method that may be sent.
    pub method: Method,
    /// Where to.
    pub url: UrlTemplate,
    /// What is put on, in order.
    pub attach: Vec<Attachment>,
    /// What goes along.
    pub body: Body,
    /// What is kept of the answer.
    pub capture: Vec<Capture>,
}

impl Call {
    /// Whether it presents the value of this name.
    pub fn presents(&self, name: &str) -> bool {
        let in_body: Vec<&Template> = match &self.body {
            Body::Empty => Vec::new(),
            Body::Form(fields) => fields.iter().map(|(_, value)| value).collect(),
            Body::Json(json) => json.templates(),
            Body::Xml(template) => vec![template],
        };
        let attached = self.attach.iter().flat_map(Attachment::templates);
        self.url.names().chain(in_body.into_iter().chain(attached).flat_map(Template::names)).any(|it| it == name)
    }
}

/// The content of a request.
#[derive(Debug, Clone)]
pub enum Body {
    /// None.
    Empty,
    /// Fields, in order; one whose template has no value is left out.
    Form(Vec<(String, Template)>),
    /// A text of JSON.
    Json(JsonTemplate),
    /// A document.
    Xml(Template),
}

/// A value to keep.
#[derive(Debug, Clone)]
pub struct Capture {
    /// What it must look like, under its name.
    pub value: Parameter,
    /// Where in the answer it is.
    pub at: CaptureFrom,
}

impl Login {
    /// Checks a login. The names of an option's parameters are known; those of captures are added as the steps go.
    pub(super) fn check(declared: &declared::Login, parameters: &[Parameter], jwts: &[Jwt]) -> Result<Self> {
        let mut captures = Vec::new();
        let (steps, visit) = check_login_steps(&declared.steps, parameters, jwts, &mut captures)
            .map_err(|error| error.context("its login"))?;
        let refresh = check_steps(&declared.refresh, parameters, jwts, &mut captures)
            .map_err(|error| error.context("its refresh"))?;
        let lifetime = declared.lifetime_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let login = Self { steps, visit, refresh, lifetime };
        if login.steps.is_empty() && login.visit.is_none() {
            return Err(invalid("its login has no steps".into()));
        }
        if login.captured().is_empty() {
            return Err(invalid("its login captures nothing, so there would be nothing to attach".into()));
        }
        Ok(login)
    }

    /// Every call of it.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.steps.iter().chain(&self.refresh)
    }

    /// Everything that is captured, each name once, in order.
    pub fn captured(&self) -> Vec<&Parameter> {
        let mut all: Vec<&Parameter> = Vec::new();
        let of_visit = self.visit.iter().flat_map(|visit| &visit.capture);
        for capture in self.calls().flat_map(|call| &call.capture).chain(of_visit) {
            if !all.iter().any(|known| known.name == capture.value.name) {
                all.push(&capture.value);
            }
        }
        all
    }
}

/// Steps that run without a person.
pub(super) fn check_steps(
    declared: &[declared::Step],
    parameters: &[Parameter],
    jwts: &[Jwt],
    captures: &mut Vec<Parameter>,
) -> Result<Vec<Call>> {
    not_too_many(declared)?;
    check_calls(declared, 1, parameters, jwts, captures)
}

/// Steps of a login: a person may be sent away once.
fn check_login_steps(
    declared: &[declared::Step],
    parameters: &[Parameter],
    jwts: &[Jwt],
    captures: &mut Vec<Parameter>,
) -> Result<(Vec<Call>, Option<Visit>)> {
    not_too_many(declared)?;
    let visits = declared.iter().enumerate().filter_map(|(at, step)| match step {
        declared::Step::Visit { url, capture } => Some((at, url, capture)),
        declared::Step::Call { .. } => None,
    });
    let (at, url, capture) = match visits.collect::<Vec<_>>().as_slice() {
        [] => return Ok((check_calls(declared, 1, parameters, jwts, captures)?, None)),
        [only] => *only,
        _ => return Err(invalid("it sends the person away more than once".into())),
    };
    let is_free = |name: &&str| !parameters.iter().any(|parameter| parameter.name == **name);
    let own = [REDIRECT_URI, STATE].into_iter().filter(is_free);
    captures.extend(own.map(|name| Parameter::known(name, ValueKind::Text)));
    let mut steps = check_calls(&declared[..at], 1, parameters, jwts, captures)?;
    let visit = check_visit(url, capture, at, &Names { parameters, captures, jwts })
        .map_err(|error| error.context(format!("step {}", at + 1)))?;
    know(captures, &visit.capture);
    steps.extend(check_calls(&declared[at + 1..], at + 2, parameters, jwts, captures)?);
    Ok((steps, Some(visit)))
}

fn not_too_many(declared: &[declared::Step]) -> Result<()> {
    if declared.len() > MOST_STEPS {
        return Err(invalid(format!("it has {} steps, and may have {MOST_STEPS}", declared.len())));
    }
    Ok(())
}

/// Steps from the one of that number on.
fn check_calls(
    declared: &[declared::Step],
    first: usize,
    parameters: &[Parameter],
    jwts: &[Jwt],
    captures: &mut Vec<Parameter>,
) -> Result<Vec<Call>> {
    let mut steps = Vec::new();
    for (number, step) in (first..).zip(declared) {
        let of = |error: Error| error.context(format!("step {number}"));
        let call = check_step(step, &Names { parameters, captures, jwts }).map_err(of)?;
        know(captures, &call.capture);
        steps.push(call);
    }
    Ok(steps)
}

/// Makes names of what a step captures.
fn know(captures: &mut Vec<Parameter>, more: &[Capture]) {
    for capture in more {
        captures.retain(|known| known.name != capture.value.name);
        captures.push(capture.value.clone());
    }
}

fn check_visit(url: &str, capture: &[declared::Capture], after: usize, names: &Names<'_>) -> Result<Visit> {
    // A browser shows it, keeps it in its history, and tells it to the service's own scripts.
    let template = names.public(url)?;
    let uses = |own: &str| {
        template.names().any(|name| name == own) && !names.parameters.iter().any(|parameter| parameter.name == own)
    };
    let carries_state = uses(STATE);
    if after == 0 && !carries_state && !uses(REDIRECT_URI) {
        return Err(invalid(
            "nobody would come back from it: neither `{redirect_uri}` nor `{state}` is in its URL".into(),
        ));
    }
    let of_callback = |capture: &declared::Capture| -> Result<Capture> {
        let CaptureFrom::Callback(name) = &capture.at else {
            return Err(invalid("a page that a person visits has no answer; only its callback is captured of".into()));
        };
        let checked = Capture::check(capture, names.parameters)?;
        if is_readable(&checked.value) && SECRET_IN_CALLBACKS.contains(&name.as_str()) {
            return Err(denied("it would let the connector read a token or a code; give it the kind `secret`"));
        }
        Ok(checked)
    };
    let checked = capture
        .iter()
        .map(|it| of_callback(it).map_err(|error| error.context(format!("its capture `{}`", shown(&it.name)))));
    Ok(Visit { after, url: names.url(url)?, carries_state, capture: checked.collect::<Result<_>>()? })
}

fn check_step(declared: &declared::Step, names: &Names<'_>) -> Result<Call> {
    let declared::Step::Call { method, url, attach, body, capture } = declared else {
        return Err(invalid("a person is sent to a page only while connecting, by the steps of a login".into()));
    };
    let method = Method::from_bytes(method.as_bytes())
        .ok()
        .filter(|method| !matches!(*method, Method::CONNECT | Method::TRACE))
        .ok_or_else(|| invalid(format!("`{}` is no method that is sent", shown(method))))?;
    let url = names.url(url)?;
    let attach = attach.iter().map(|attachment| Attachment::check(attachment, names)).collect::<Result<_>>()?;
    let body = match body {
        declared::Body::Empty => Body::Empty,
        declared::Body::Form(fields) => {
            Body::Form(fields.iter().map(|(name, value)| Ok((name.clone(), names.any(value)?))).collect::<Result<_>>()?)
        }
        declared::Body::Json(text) => {
            let json = JsonTemplate::parse(text, &|name| names.kind(name))
                .map_err(|error| invalid(format!("its JSON body: {error}")))?;
            json.templates().into_iter().try_for_each(|template| names.allow(template))?;
            Body::Json(json)
        }
        declared::Body::Xml(text) => Body::Xml(names.any(text)?),
    };
    if let Some(capture) = capture.iter().find(|capture| matches!(capture.at, CaptureFrom::Callback(_))) {
        return Err(invalid(format!("`{}` is captured of a callback, and a call has none", shown(&capture.name))));
    }
    let capture = capture
        .iter()
        .map(|capture| {
            Capture::check(capture, names.parameters)
                .map_err(|error| error.context(format!("its capture `{}`", shown(&capture.name))))
        })
        .collect::<Result<_>>()?;
    Ok(Call { method, url, attach, body, capture })
}

impl Capture {
    /// Whether it says until when the rest is good.
    pub fn is_expiry(&self) -> bool {
        EXPIRIES.contains(&self.value.name.as_str())
    }

    /// Whether a service may leave it out.
    pub fn may_be_left_out(&self) -> bool {
        self.is_expiry() || self.value.name == GRANTED_SCOPES
    }

    pub(super) fn check(declared: &declared::Capture, parameters: &[Parameter]) -> Result<Self> {
        if parameters.iter().any(|parameter| parameter.name == declared.name) {
            return Err(invalid("a parameter has that name".into()));
        }
        let kind = match declared.name.as_str() {
            // Known to the host, whatever the connector says of them.
            ACCESS_TOKEN | REFRESH_TOKEN => ValueKind::Secret,
            name if EXPIRIES.contains(&name) => ValueKind::Text,
            _ => declared.kind,
        };
        match &declared.at {
            CaptureFrom::Answer(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => {
                return Err(invalid("it is found by a JSON Pointer, which begins with `/`".into()));
            }
            CaptureFrom::Header(name) if HeaderName::from_bytes(name.as_bytes()).is_err() => {
                return Err(invalid(format!("`{}` is no header", shown(name))));
            }
            CaptureFrom::Cookies if kind != ValueKind::Secret => {
                return Err(denied("cookies sign a person in, so they are of kind `secret`"));
            }
            _ => {}
        }
        let pattern = declared.pattern.as_ref().map(|pattern| declared::ParameterSetting::Pattern(pattern.clone()));
        let value = Parameter::check(&declared::Parameter {
            name: declared.name.clone(),
            title: declared.name.clone(),
            kind,
            settings: pattern.into_iter().collect(),
        })?;
        Ok(Self { value, at: declared.at.clone() })
    }
}

/// Whether a connector can read a captured value.
pub fn is_readable(value: &Parameter) -> bool {
    !value.is_secret() && !EXPIRIES.contains(&value.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn visit(url: &str, at: CaptureFrom, kind: ValueKind) -> declared::Step {
        let capture = declared::Capture { name: "brought".into(), at, kind, pattern: None };
        declared::Step::Visit { url: url.into(), capture: vec![capture] }
    }

    fn page(query: &str) -> declared::Step {
        let url = format!("https://service.example/page?{query}");
        visit(&url, CaptureFrom::Callback("ticket".into()), ValueKind::Secret)
    }

    fn check(steps: Vec<declared::Step>, refresh: Vec<declared::Step>) -> Result<Login> {
        let parameters = [Parameter::known("password", ValueKind::Secret), Parameter::known("user", ValueKind::Text)];
        Login::check(&declared::Login { steps, refresh, lifetime_seconds: None }, &parameters, &[])
    }

    fn refusal(steps: Vec<declared::Step>, refresh: Vec<declared::Step>) -> (Kind, String) {
        let error = check(steps, refresh).unwrap_err();
        (error.kind(), error.message().to_owned())
    }

    #[test]
    fn a_person_is_sent_away_once_and_comes_back() {
        let login = check(vec![page("back={redirect_uri}&user={user}")], vec![]).unwrap();
        assert!(!login.visit.unwrap().carries_state);
        assert!(check(vec![page("s={state}")], vec![]).unwrap().visit.unwrap().carries_state);
        let (kind, why) = refusal(vec![page("user={user}")], vec![]);
        assert!(kind == Kind::InvalidConnector && why.contains("nobody would come back"), "{why}");
        let (kind, why) = refusal(vec![page("s={state}"), page("s={state}")], vec![]);
        assert!(kind == Kind::InvalidConnector && why.contains("more than once"), "{why}");
        let (kind, why) = refusal(vec![page("s={state}")], vec![page("s={state}")]);
        assert!(kind == Kind::InvalidConnector && why.contains("only while connecting"), "{why}");
    }

    #[test]
    fn no_secret_is_in_the_url_of_a_page_that_a_person_visits() {
        let (kind, why) = refusal(vec![page("s={state}&password={password}")], vec![]);
        assert!(kind == Kind::Denied && why.contains("`password`"), "{why}");
    }

    #[test]
    fn a_connector_cannot_read_what_a_page_brings_back_to_sign_in_with() {
        for name in SECRET_IN_CALLBACKS {
            let step = |kind| visit("https://service.example/?s={state}", CaptureFrom::Callback(name.into()), kind);
            assert_eq!(refusal(vec![step(ValueKind::Text)], vec![]).0, Kind::Denied, "{name}");
            assert!(check(vec![step(ValueKind::Secret)], vec![]).is_ok(), "{name}");
        }
        let answer = visit("https://service.example/?s={state}", CaptureFrom::Answer("/x".into()), ValueKind::Secret);
        assert!(refusal(vec![answer], vec![]).1.contains("only its callback"));
    }
}
