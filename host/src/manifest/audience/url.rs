//! A URL with names in it: `https://{org}.example.com/oauth/token?tenant={tenant}`, `{endpoint}/token`.

use std::fmt;

use url::Url;

use super::authority::{Authority, NameInfo, OriginError, beginning, origin_of, shown, wrong};
use crate::{
    manifest::{
        ValueKind,
        template::{Expression, FillError, Filling, Landing, Moment, Part, Scope, Template, Value, names_in},
    },
    origin::Origin,
    secret::Secret,
};

/// A URL with names in it. In its host names stand as in an audience; in its path and query every value and function may
/// stand, percent-encoded.
#[derive(Debug, Clone)]
pub struct UrlTemplate {
    text: String,
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Clone)]
struct Alternative {
    parts: Vec<Part>,
    start: Start,
    path: Vec<Part>,
    query: Option<Vec<Part>>,
}

#[derive(Debug, Clone)]
enum Start {
    /// One value of kind `url`, which may have a path of its own.
    Whole(String),
    /// Scheme, host and port.
    Built(Authority),
}

/// A URL that was filled in. Where a secret stands in it, it prints its origin only.
#[derive(Clone)]
pub struct FilledUrl {
    url: Url,
    secrets: Vec<Secret>,
}

impl UrlTemplate {
    /// Checks a template.
    ///
    /// # Errors
    /// Where it is no URL, or a name stands where its kind may not.
    pub fn parse(template: &Template, info: &dyn Fn(&str) -> Option<NameInfo>) -> Result<Self, OriginError> {
        let alternatives =
            template.alternatives.iter().map(|parts| Alternative::parse(parts, info)).collect::<Result<_, _>>()?;
        Ok(Self { text: template.to_string(), alternatives })
    }

    /// The names that stand in its scheme, host and port.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        self.alternatives.iter().flat_map(|alternative| match &alternative.start {
            Start::Whole(name) => vec![name.as_str()],
            Start::Built(authority) => authority.names().collect(),
        })
    }

    /// Every name that stands anywhere in it; one that is used twice comes twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        names_in(self.alternatives.iter().flat_map(|alternative| &alternative.parts))
    }

    /// Every origin that it may lead to with these values, for people to agree to. An alternative counts as soon as its
    /// host is known: what else is in it may become known only later, as a code or a state does.
    ///
    /// # Errors
    /// Where a value does not make an origin.
    pub fn origins(&self, scope: &dyn Scope) -> Result<Vec<Origin>, OriginError> {
        let mut origins = Vec::new();
        for alternative in &self.alternatives {
            if let Some((origin, _)) = alternative.start.resolve(scope)?
                && !origins.contains(&origin)
            {
                origins.push(origin);
            }
        }
        Ok(origins)
    }

    /// Whether it leads nowhere, since the parameters that would say where to were left out.
    pub fn is_left_out(&self, scope: &dyn Scope) -> bool {
        self.origins(scope).is_ok_and(|origins| origins.is_empty())
    }

    /// Fills the first alternative whose names all have a value.
    ///
    /// # Errors
    /// Where a value does not fit, and where no alternative has all its values: then it names what is missing.
    pub fn fill(&self, scope: &dyn Scope, moment: &Moment) -> Result<FilledUrl, FillError> {
        let filling = Filling::new(scope, moment);
        for alternative in &self.alternatives {
            if filling.missing(&alternative.parts).is_empty()
                && let Some(filled) = alternative.fill(scope, &filling)?
            {
                return Ok(filled);
            }
        }
        let missing: Vec<String> = self
            .alternatives
            .iter()
            .map(|alternative| {
                let names: Vec<String> =
                    filling.missing(&alternative.parts).iter().map(|name| format!("`{}`", shown(name))).collect();
                names.join(" and ")
            })
            .collect();
        Err(FillError::new(format!("it needs a value for {}", missing.join(", or for "))))
    }
}

impl Start {
    /// The origin, and the path that a value of kind `url` brings along.
    fn resolve(&self, scope: &dyn Scope) -> Result<Option<(Origin, String)>, OriginError> {
        match self {
            Start::Whole(name) => {
                let Some(value) = scope.value(name) else { return Ok(None) };
                let url = beginning(name, &value)?;
                Ok(Some((origin_of(&url)?, url.path().to_owned())))
            }
            Start::Built(authority) => {
                let resolved = authority.resolve(scope)?;
                Ok(resolved.and_then(|pattern| pattern.exact()).map(|origin| (origin, "/".to_owned())))
            }
        }
    }
}

impl Alternative {
    fn parse(parts: &[Part], info: &dyn Fn(&str) -> Option<NameInfo>) -> Result<Self, OriginError> {
        let whole = match parts.first() {
            Some(Part::Value(Expression::Name(name)))
                if info(name).is_some_and(|info| info.kind == ValueKind::Url && !info.is_pattern_group) =>
            {
                Some(name)
            }
            _ => None,
        };
        let (start, path, query) = match (whole, parts.first()) {
            (Some(_), _) => split(&parts[1..], 0)?,
            (None, Some(Part::Literal(first))) => split(parts, first.find("://").map_or(0, |at| at + 3))?,
            (None, _) => split(parts, 0)?,
        };
        let start = match whole {
            Some(name) if start.is_empty() => Start::Whole(name.clone()),
            Some(name) => {
                return wrong(format!(
                    "after `{}`, which is the beginning of a URL, comes `/` or `?` or nothing",
                    shown(name)
                ));
            }
            None => {
                let authority = Authority::parse(&start, info)?;
                if authority.has_wildcard() {
                    return wrong("`*` stands for any label, so it leads nowhere");
                }
                Start::Built(authority)
            }
        };
        for part in path.iter().chain(query.iter().flatten()) {
            if let Part::Value(expression) = part {
                known(expression, info)?;
            }
        }
        let alternative = Self { parts: parts.to_vec(), start, path, query };
        alternative.check_literals()?;
        Ok(alternative)
    }

    /// What the author wrote must be read as it was written, so that filling it in can be compared.
    fn check_literals(&self) -> Result<(), OriginError> {
        let sample = |parts: &[Part]| -> String {
            parts
                .iter()
                .map(|part| match part {
                    Part::Literal(text) => text.as_str(),
                    Part::Value(_) => "x",
                })
                .collect()
        };
        let (path, query) = (sample(&self.path), self.query.as_deref().map(sample));
        let mut text = format!("https://sample.example{path}");
        if let Some(query) = &query {
            text = format!("{text}?{query}");
        }
        match Url::parse(&text) {
            Ok(url) if (url.path() == path || path.is_empty()) && url.query() == query.as_deref() => Ok(()),
            _ => wrong("its path or query has a character that must be percent-encoded, or a dot segment"),
        }
    }

    fn fill(&self, scope: &dyn Scope, filling: &Filling<'_>) -> Result<Option<FilledUrl>, FillError> {
        let resolved = self.start.resolve(scope).map_err(|error| FillError::new(error.to_string()))?;
        let Some((origin, before)) = resolved else { return Ok(None) };
        // `https://a.example/` and `/b` make `https://a.example/b`.
        let before = if self.path.is_empty() { &before } else { before.strip_suffix('/').unwrap_or(&before) };
        let Some(path) = filling.parts(&self.path, Landing::PathSegment)? else { return Ok(None) };
        let query = match &self.query {
            None => None,
            Some(query) => match filling.parts(query, Landing::Query)? {
                None => return Ok(None),
                query => query,
            },
        };
        let as_text = |value: &Value| value.text().map(str::to_owned).map_err(|_| FillError::new("it is not text"));
        let whole_path = format!("{before}{}", as_text(&path)?);
        let query_text = query.as_ref().map(as_text).transpose()?;
        let mut text = format!("{origin}{whole_path}");
        if let Some(query) = &query_text {
            text = format!("{text}?{query}");
        }
        let url = Url::parse(&text).map_err(|_| FillError::new("it makes no URL with these values"))?;
        let as_written = Origin::of(&url).is_ok_and(|read| read == origin)
            && url.path() == whole_path
            && url.query() == query_text.as_deref()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !as_written {
            return Err(FillError::new("with these values it is read as another URL than it is written"));
        }
        let secrets = path.into_secrets().into_iter().chain(query.into_iter().flat_map(Value::into_secrets)).collect();
        Ok(Some(FilledUrl { url, secrets }))
    }
}

/// The parts of the authority, of the path and of the query.
type Split = (Vec<Part>, Vec<Part>, Option<Vec<Part>>);

/// Splits where the first `/` or `?` of the author's stands, and the first `?` behind it. `scheme` are the bytes that the
/// scheme and its slashes take.
fn split(parts: &[Part], scheme: usize) -> Result<Split, OriginError> {
    fn push(into: &mut Vec<Part>, text: &str) {
        if !text.is_empty() {
            into.push(Part::Literal(text.to_owned()));
        }
    }
    let (mut start, mut path, mut query) = (Vec::new(), Vec::new(), None::<Vec<Part>>);
    for (index, part) in parts.iter().enumerate() {
        let Part::Literal(text) = part else {
            match &mut query {
                Some(query) => query.push(part.clone()),
                None if path.is_empty() => start.push(part.clone()),
                None => path.push(part.clone()),
            }
            continue;
        };
        if text.contains('#') {
            return wrong("it has a fragment, which is never sent");
        }
        if let Some(query) = &mut query {
            push(query, text);
            continue;
        }
        let (before, after) = match text.split_once('?') {
            Some((before, after)) => (before, Some(after)),
            None => (text.as_str(), None),
        };
        let from = if index == 0 { scheme } else { 0 };
        let start_ends = match before.get(from..).and_then(|rest| rest.find('/')) {
            _ if !path.is_empty() => 0,
            Some(at) => from + at,
            None => before.len(),
        };
        push(&mut start, &before[..start_ends]);
        push(&mut path, &before[start_ends..]);
        if let Some(after) = after {
            push(query.insert(Vec::new()), after);
        }
    }
    Ok((start, path, query))
}

fn known(expression: &Expression, info: &dyn Fn(&str) -> Option<NameInfo>) -> Result<(), OriginError> {
    match expression {
        Expression::Name(name) if info(name).is_none() => wrong(format!("`{}` is no parameter", shown(name))),
        Expression::Name(_) | Expression::Literal(_) => Ok(()),
        Expression::Call(_, arguments) => arguments.iter().try_for_each(|argument| known(argument, info)),
    }
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FilledUrl {
    /// The URL itself. It may hold secrets.
    pub fn expose(&self) -> &Url {
        &self.url
    }

    /// Whether a secret stands in it.
    pub fn is_secret(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// The secrets that stand in it, as typed and as written.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }
}

impl fmt::Debug for FilledUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_secret() {
            f.write_str(&self.url.origin().ascii_serialization())
        } else {
            f.write_str(self.url.as_str())
        }
    }
}
