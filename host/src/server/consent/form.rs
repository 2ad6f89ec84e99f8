//! The form of a link: what is left to type for whoever made it, and what a browser sent of it.

use std::collections::BTreeMap;

use askama::Template;
use url::Url;

use super::pages::{About, scopes};
use crate::{
    connect::{Answers, Blank},
    error::{Error, Kind, Result},
    manifest::{Parameter, ValueKind, parameter},
    secret::Secret,
    server::page::{STYLE, theirs},
    text,
};

/// The query with which what was typed is changed.
pub(super) const CHANGE: &str = "change";
/// The field by which somebody agrees to what they typed.
pub(super) const AGREE: &str = "agree";
/// What a form may have at most, however much there is to type.
const LONGEST: usize = 1 << 20;
/// Of a field's name, and what separates it.
const FIELD_BYTES: usize = 256;
/// Whatever is typed may be percent-encoded.
const ENCODED: usize = 3;

/// What mends what is not to be mended here.
const ELSEWHERE: &str = "Type it differently, or tell whoever gave you the link.";

/// What is to be typed, and what for.
#[derive(Template)]
#[template(path = "form.html")]
pub(super) struct Form {
    style: &'static str,
    about: About,
    scopes: Vec<(String, Option<String>)>,
    audience: Vec<String>,
    placements: Vec<String>,
    sign_in: Vec<String>,
    /// What is given, and cannot be changed.
    given: Vec<(String, String)>,
    controls: Vec<Control>,
    has_secrets: bool,
    sends_away: bool,
    problem: Option<(String, Option<String>)>,
    token: String,
}

/// One thing to type.
struct Control {
    name: String,
    title: String,
    description: Option<String>,
    kind: &'static str,
    /// Of a secret there is none.
    value: String,
    choices: Vec<String>,
    is_secret: bool,
    is_several: bool,
    is_required: bool,
}

impl Form {
    /// The form, with what was typed already.
    pub(super) fn of(
        blank: &Blank,
        (owner, return_url): (Option<&str>, Option<&Url>),
        token: String,
        typed: Option<&BTreeMap<String, String>>,
    ) -> Self {
        let all = |list: Vec<String>| list.iter().map(|it| theirs(it)).collect();
        let controls: Vec<Control> = blank.left().map(|it| Control::of(it, typed)).collect();
        let given = blank.given().iter();
        Self {
            style: STYLE,
            about: About::of_blank(blank, owner, return_url),
            scopes: scopes(&blank.scopes),
            audience: all(blank.audience()),
            placements: all(blank.placements()),
            sign_in: all(blank.sign_in()),
            given: given.map(|(name, value)| (theirs(name), theirs(&parameter::listed(value)))).collect(),
            has_secrets: controls.iter().any(|it| it.is_secret),
            controls,
            sends_away: blank.sends_away(),
            problem: None,
            token,
        }
    }

    /// The same, with what stands against what was typed.
    pub(super) fn with(self, error: &Error) -> Self {
        // A command is the operator's to give, who is not there.
        let is_command = |mend: &str| mend.contains("`attache ") || mend.contains("`--");
        let mend = error.mend().map(|mend| if is_command(mend) { ELSEWHERE.to_owned() } else { theirs(mend) });
        Self { problem: Some((theirs(error.message()), mend)), ..self }
    }
}

impl Control {
    fn of(it: &Parameter, typed: Option<&BTreeMap<String, String>>) -> Self {
        // Where something was typed, what is missing was taken away.
        let value = match typed {
            Some(typed) => typed.get(&it.name),
            None => it.default.as_ref(),
        };
        let value = value.filter(|_| !it.is_secret()).cloned().unwrap_or_default();
        let choices = match it.kind {
            ValueKind::Boolean => vec!["true".to_owned(), "false".to_owned()],
            _ => it.choices.clone(),
        };
        Self {
            name: it.name.clone(),
            title: theirs(&it.title),
            description: it.description.as_deref().map(theirs),
            kind: it.kind.name(),
            value,
            choices: if it.several { Vec::new() } else { choices },
            is_secret: it.is_secret(),
            is_several: it.several,
            is_required: it.must_be_typed(),
        }
    }
}

/// How many bytes a browser may send for it.
pub(super) fn longest(blank: &Blank) -> usize {
    let fields = blank.left().map(|it| it.longest().saturating_mul(ENCODED).saturating_add(2 * FIELD_BYTES));
    fields.fold(0, usize::saturating_add).min(LONGEST)
}

/// What was typed: `p.NAME` are parameters, `s.NAME` secrets, `m.NAME` secrets of several lines. What is empty was not typed.
///
/// # Errors
/// `invalid-input` where the form has no such field, or a secret was typed twice.
pub(super) fn answers(blank: &Blank, fields: &[(String, String)]) -> Result<Answers> {
    let mut answers = Answers::default();
    for (field, value) in fields {
        let (kind, name) = field.split_once('.').unwrap_or(("", field));
        let it = match kind {
            "p" => blank.field(name, false)?,
            "s" | "m" => blank.field(name, true)?,
            _ => return Err(no_such(field)),
        };
        if value.is_empty() {
            continue;
        }
        // A browser ends lines as HTTP does; a key's text ends them as files do.
        let value = if kind == "m" { value.replace("\r\n", "\n") } else { value.clone() };
        if it.several {
            let lines: Vec<&str> = value.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            if !lines.is_empty() {
                answers.parameters.insert(name.to_owned(), parameter::together(&lines));
            }
        } else if !it.is_secret() {
            answers.parameters.insert(name.to_owned(), value);
        } else if answers.secrets.insert(name.to_owned(), Secret::new(value)).is_some() {
            return Err(Kind::InvalidInput
                .error(format!("`{name}` was typed twice: as one line, and as several."))
                .hint("Type it in one of the two fields."));
        }
    }
    Ok(answers)
}

/// What of it may be shown again.
pub(super) fn readable(blank: &Blank, fields: &[(String, String)]) -> BTreeMap<String, String> {
    let public = fields.iter().filter_map(|(field, value)| Some((field.strip_prefix("p.")?, value)));
    let known = public.filter(|(name, _)| blank.field(name, false).is_ok());
    known.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

fn no_such(field: &str) -> Error {
    Kind::InvalidInput.error(format!("This form has no field `{}`.", text::foreign(field, 64)))
}
