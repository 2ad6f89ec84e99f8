//! The scheme `login`: calls that trade what was typed for something short-lived, and what is kept of their answers.

use std::time::Duration;

use http::{HeaderName, Method};

use super::{
    Attachment, Parameter, ValueKind,
    audience::UrlTemplate,
    check::{Names, denied, invalid, not_yet, shown},
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

/// More steps than any service was seen to ask for.
const MOST_STEPS: usize = 8;

/// How a connection signs in with what was typed.
#[derive(Debug, Clone)]
pub struct Login {
    /// Runs when connecting, and when there is nothing better later.
    pub steps: Vec<Call>,
    /// Runs when what was captured runs out; empty runs `steps` again.
    pub refresh: Vec<Call>,
    /// Where no answer says how long what was captured is good.
    pub lifetime: Option<Duration>,
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
        let steps = check_steps(&declared.steps, parameters, jwts, &mut captures)
            .map_err(|error| error.context("its login"))?;
        if steps.is_empty() {
            return Err(invalid("its login has no steps".into()));
        }
        if captures.is_empty() {
            return Err(invalid("its login captures nothing, so there would be nothing to attach".into()));
        }
        let refresh = check_steps(&declared.refresh, parameters, jwts, &mut captures)
            .map_err(|error| error.context("its refresh"))?;
        Ok(Self {
            steps,
            refresh,
            lifetime: declared.lifetime_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }

    /// Every call of it.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.steps.iter().chain(&self.refresh)
    }

    /// Everything that is captured, each name once, in order.
    pub fn captured(&self) -> Vec<&Parameter> {
        let mut all: Vec<&Parameter> = Vec::new();
        for capture in self.calls().flat_map(|call| &call.capture) {
            if !all.iter().any(|known| known.name == capture.value.name) {
                all.push(&capture.value);
            }
        }
        all
    }
}

pub(super) fn check_steps(
    declared: &[declared::Step],
    parameters: &[Parameter],
    jwts: &[Jwt],
    captures: &mut Vec<Parameter>,
) -> Result<Vec<Call>> {
    if declared.len() > MOST_STEPS {
        return Err(invalid(format!("it has {} steps, and may have {MOST_STEPS}", declared.len())));
    }
    let mut steps = Vec::new();
    for (number, step) in declared.iter().enumerate() {
        let of = |error: Error| error.context(format!("step {}", number + 1));
        let call = check_step(step, &Names { parameters, captures, jwts }).map_err(of)?;
        for capture in &call.capture {
            captures.retain(|known| known.name != capture.value.name);
            captures.push(capture.value.clone());
        }
        steps.push(call);
    }
    Ok(steps)
}

fn check_step(declared: &declared::Step, names: &Names<'_>) -> Result<Call> {
    let declared::Step::Call { method, url, attach, body, capture } = declared else {
        return Err(not_yet("a step that is a `visit`"));
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
