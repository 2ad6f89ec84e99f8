//! The `scheme://host[:port]` of a template: what may stand in it, and what comes of it once the values are known.
//!
//! Nothing is escaped here. A value that is more than its kind says is refused when it is filled in, whatever was checked
//! before, and what was put together must be read by the URL parser exactly as it was written.

use std::fmt;

use url::{Host, Url};

use super::OriginPattern;
use crate::{
    manifest::{
        ValueKind,
        template::{Expression, Part, Scope, Value},
    },
    origin::{Origin, Scheme},
    text,
};

/// What a host name may have (RFC 1035 section 2.3.4), without the dots that are only in its written form.
pub(super) const LONGEST_HOST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What is known of a name when a manifest is checked.
#[derive(Debug, Clone, Copy)]
pub struct NameInfo {
    /// What kind of text its value is.
    pub kind: ValueKind,
    /// Whether choices or a pattern say what it must look like.
    pub bounded: bool,
    /// Whether it is a named group of another's pattern: it is a label, and shown even where the other is secret.
    pub is_pattern_group: bool,
    /// Whether it may have several values, of which each makes an origin of its own.
    pub several: bool,
}

/// Why something is no origin. It names names, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginError(String);

impl OriginError {
    /// What is wrong with the value of a name.
    pub(super) fn of(name: &str, why: &str) -> Self {
        Self(format!("the value of `{}` {why}", shown(name)))
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OriginError {}

pub(super) fn wrong<T>(why: impl Into<String>) -> Result<T, OriginError> {
    Err(OriginError(why.into()))
}

/// Whether it is one label of a host name: letters, digits and hyphens (RFC 1123 section 2.1), or what IDNA makes such a
/// label of (`bücher`).
pub fn is_label(text: &str) -> bool {
    ascii_label(text).is_some()
}

/// The label as it is resolved: lower case, and `xn--…` for what is not ASCII.
pub(super) fn ascii_label(text: &str) -> Option<String> {
    let is_ldh = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let lower = text.to_ascii_lowercase();
    if lower.is_ascii() && !lower.starts_with("xn--") {
        return Some(lower).filter(|label| is_ldh(label));
    }
    match Host::parse(text) {
        Ok(Host::Domain(domain)) => Some(domain).filter(|label| is_ldh(label)),
        _ => None,
    }
}

/// A scheme, a host and a port with names in them.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    scheme: Scheme,
    host: HostPart,
    port: Port,
}

#[derive(Debug, Clone)]
enum HostPart {
    /// Written out: a name or an address.
    Fixed(Host<String>),
    /// One value of kind `host` is all of it.
    Whole(Name),
    /// Labels, not all of them written out.
    Labels(Vec<Label>),
}

#[derive(Debug, Clone)]
enum Label {
    /// `*`.
    Any,
    /// Written out.
    Fixed(String),
    /// A value of kind `host`: one label or more.
    Several(Name),
    /// Values of kind `label`, and text around them.
    Built(Vec<Bit>),
}

#[derive(Debug, Clone)]
enum Bit {
    Text(String),
    Name(Name),
}

#[derive(Debug, Clone)]
enum Port {
    Fixed(u16),
    Name(Name),
}

#[derive(Debug, Clone)]
struct Name {
    name: String,
    /// A group of a secret's pattern is as secret as the whole, but may be shown in a host.
    is_pattern_group: bool,
}

enum Token {
    Dot,
    Colon,
    Text(String),
    Name(Name, NameInfo),
}

impl Authority {
    /// Checks the parts of a template up to the end of its authority.
    pub(super) fn parse(parts: &[Part], info: &dyn Fn(&str) -> Option<NameInfo>) -> Result<Self, OriginError> {
        let Some((Part::Literal(first), more)) = parts.split_first() else {
            return wrong("it begins with https:// or http://, or is one value of kind `url`");
        };
        let (scheme, mut first) = match (first.strip_prefix("https://"), first.strip_prefix("http://")) {
            (Some(rest), _) => (Scheme::Https, rest),
            (_, Some(rest)) => (Scheme::Http, rest),
            _ => return wrong("it begins with https:// or http://"),
        };
        let mut address = None;
        if first.starts_with('[') {
            let end = first.find(']').map_or(first.len(), |at| at + 1);
            address = Some(Host::parse(&first[..end]).map_err(|_| OriginError("it is no IPv6 address".into()))?);
            first = &first[end..];
        }
        let mut tokens = Vec::new();
        read_text(first, &mut tokens)?;
        for part in more {
            match part {
                Part::Literal(text) => read_text(text, &mut tokens)?,
                Part::Value(Expression::Name(name)) => {
                    let known = info(name).ok_or_else(|| OriginError(format!("`{}` is no parameter", shown(name))))?;
                    let name = Name { name: name.clone(), is_pattern_group: known.is_pattern_group };
                    tokens.push(Token::Name(name, known));
                }
                Part::Value(_) => return wrong("only names may stand in a host, no functions"),
            }
        }
        let mut host = tokens;
        let port = match host.iter().position(|token| matches!(token, Token::Colon)) {
            None => Port::Fixed(scheme.default_port()),
            Some(at) => {
                let port = parse_port(&host[at + 1..])?;
                host.truncate(at);
                port
            }
        };
        let host = match address {
            Some(address) if host.is_empty() => HostPart::Fixed(address),
            Some(_) => return wrong("after an IPv6 address comes a port or nothing"),
            None => parse_host(&host)?,
        };
        Ok(Self { scheme, host, port })
    }

    /// Whether it can stand for more than one origin.
    pub(super) fn has_wildcard(&self) -> bool {
        matches!(&self.host, HostPart::Labels(labels) if labels.iter().any(|label| matches!(label, Label::Any)))
    }

    /// The names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let mut names = Vec::new();
        match &self.host {
            HostPart::Fixed(_) => {}
            HostPart::Whole(name) => names.push(name),
            HostPart::Labels(labels) => {
                for label in labels {
                    match label {
                        Label::Any | Label::Fixed(_) => {}
                        Label::Several(name) => names.push(name),
                        Label::Built(bits) => names.extend(bits.iter().filter_map(|bit| match bit {
                            Bit::Text(_) => None,
                            Bit::Name(name) => Some(name),
                        })),
                    }
                }
            }
        }
        if let Port::Name(name) = &self.port {
            names.push(name);
        }
        names.into_iter().map(|name| name.name.as_str())
    }

    /// Fills the names in; none where one has no value.
    pub(super) fn resolve(&self, scope: &dyn Scope) -> Result<Option<OriginPattern>, OriginError> {
        if self.names().any(|name| scope.value(name).is_none()) {
            return Ok(None);
        }
        let port = match &self.port {
            Port::Fixed(port) => *port,
            Port::Name(name) => {
                let port = name.text(scope)?;
                match port.parse::<u16>() {
                    Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => number,
                    _ => return wrong(format!("the value of `{}` is no port, which is 1 to 65535", name.shown())),
                }
            }
        };
        let labels = match &self.host {
            HostPart::Fixed(host) => {
                return OriginPattern::of_host(self.scheme, &host.to_string(), port, true).map(Some);
            }
            HostPart::Whole(name) => {
                return OriginPattern::of_host(self.scheme, &name.labels(scope)?.join("."), port, true).map(Some);
            }
            HostPart::Labels(labels) => labels,
        };
        let mut filled = Vec::new();
        for label in labels {
            match label {
                Label::Any => filled.push(None),
                Label::Fixed(text) => filled.push(Some(text.clone())),
                Label::Several(name) => filled.extend(name.labels(scope)?.into_iter().map(Some)),
                Label::Built(bits) => filled.push(Some(build(bits, scope)?)),
            }
        }
        OriginPattern::of_labels(self.scheme, filled, port).map(Some)
    }
}

fn read_text(text: &str, tokens: &mut Vec<Token>) -> Result<(), OriginError> {
    for c in text.chars() {
        match (c, tokens.last_mut()) {
            ('.', _) => tokens.push(Token::Dot),
            (':', _) => tokens.push(Token::Colon),
            _ if !(c.is_alphanumeric() || c == '-' || c == '*' || !c.is_ascii()) => {
                return wrong(format!("`{}` does not belong into scheme://host[:port]", c.escape_default()));
            }
            (_, Some(Token::Text(text))) => text.push(c),
            _ => tokens.push(Token::Text(c.to_string())),
        }
    }
    Ok(())
}

fn parse_port(tokens: &[Token]) -> Result<Port, OriginError> {
    match tokens {
        [Token::Text(digits)] => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Port::Fixed(port)),
            _ => wrong("the port is not a number from 1 to 65535"),
        },
        [Token::Name(name, NameInfo { kind: ValueKind::Integer, .. })] => Ok(Port::Name(name.clone())),
        [Token::Name(name, _)] => wrong(format!("`{}` stands in the port, which takes an integer", name.shown())),
        _ => wrong("after the colon comes a port, as a number or as one value of kind `integer`"),
    }
}

fn parse_host(tokens: &[Token]) -> Result<HostPart, OriginError> {
    if let [Token::Name(name, NameInfo { kind: ValueKind::Host, .. })] = tokens {
        return Ok(HostPart::Whole(name.clone()));
    }
    let labels = tokens.split(|token| matches!(token, Token::Dot)).map(parse_label).collect::<Result<Vec<_>, _>>()?;
    let fixed: Option<Vec<&str>> = labels
        .iter()
        .map(|label| match label {
            Label::Fixed(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    match fixed {
        Some(fixed) => {
            let pattern = OriginPattern::of_host(Scheme::Https, &fixed.join("."), Scheme::Https.default_port(), true)?;
            pattern
                .exact()
                .map(|origin| HostPart::Fixed(origin.host().clone()))
                .ok_or_else(|| OriginError("it is no host".into()))
        }
        None => {
            // With something plausible for each name it must be a host; what then is none is the author's to mend.
            let sample = labels.iter().flat_map(|label| match label {
                Label::Any => vec![None],
                Label::Fixed(text) => vec![Some(text.clone())],
                Label::Several(_) => vec![Some("sample".to_owned()), Some("example".to_owned())],
                Label::Built(_) => vec![Some("sample".to_owned())],
            });
            OriginPattern::of_labels(Scheme::Https, sample.collect(), Scheme::Https.default_port())?;
            Ok(HostPart::Labels(labels))
        }
    }
}

fn parse_label(tokens: &[Token]) -> Result<Label, OriginError> {
    match tokens {
        [] => return wrong("a label of its host is empty"),
        [Token::Text(text)] if text == "*" => return Ok(Label::Any),
        [Token::Text(text)] => {
            return match ascii_label(text) {
                Some(label) => Ok(Label::Fixed(label)),
                None if text.contains('*') => wrong("`*` stands for one whole label"),
                None => wrong(format!("`{}` is no label of a host name", shown(text))),
            };
        }
        [Token::Name(name, NameInfo { kind: ValueKind::Host, bounded, .. })] => {
            if *bounded {
                return Ok(Label::Several(name.clone()));
            }
            return wrong(format!("`{}` is a part of a host, so it needs `choices` or a `pattern`", name.shown()));
        }
        _ => {}
    }
    let mut bits = Vec::new();
    for token in tokens {
        bits.push(match token {
            Token::Text(text) if text.contains('*') => return wrong("`*` stands for one whole label"),
            // IDNA rewrites a label as a whole, so beside a value it would not stay as it is written.
            Token::Text(text) if !text.is_ascii() => {
                return wrong("beside a value, a label has only ASCII letters, digits and hyphens");
            }
            Token::Text(text) => Bit::Text(text.to_ascii_lowercase()),
            Token::Name(name, info) => match info.kind {
                ValueKind::Label => Bit::Name(name.clone()),
                ValueKind::Host => {
                    return wrong(format!(
                        "`{}` is whole labels of a host, with a dot between it and others",
                        name.shown()
                    ));
                }
                ValueKind::Integer => {
                    return wrong(format!("`{}` is an integer, which can only be the port", name.shown()));
                }
                ValueKind::Url => {
                    return wrong(format!(
                        "`{}` is a URL, which is the whole of an origin or nothing of it",
                        name.shown()
                    ));
                }
                ValueKind::Text | ValueKind::Secret | ValueKind::Boolean => {
                    return wrong(format!(
                        "`{}` is of kind `{}`, which cannot stand in a host",
                        name.shown(),
                        info.kind.name()
                    ));
                }
            },
            Token::Dot | Token::Colon => return wrong("a label has no dot and no colon"),
        });
    }
    Ok(Label::Built(bits))
}

fn build(bits: &[Bit], scope: &dyn Scope) -> Result<String, OriginError> {
    if let [Bit::Name(name)] = bits {
        return ascii_label(&name.text(scope)?).ok_or_else(|| name.unfit());
    }
    let mut label = String::new();
    for bit in bits {
        match bit {
            Bit::Text(text) => label.push_str(text),
            Bit::Name(name) => {
                let value = name.text(scope)?;
                if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                    return Err(name.unfit());
                }
                label.push_str(&value);
            }
        }
    }
    ascii_label(&label).ok_or_else(|| OriginError("a label of its host would be none with these values".into()))
}

impl Name {
    fn shown(&self) -> String {
        shown(&self.name)
    }

    fn unfit(&self) -> OriginError {
        OriginError(format!("the value of `{}` cannot stand in a host", self.shown()))
    }

    fn text(&self, scope: &dyn Scope) -> Result<String, OriginError> {
        let value = scope.value(&self.name).ok_or_else(|| self.unfit())?;
        if value.is_secret() && !self.is_pattern_group {
            return wrong(format!("`{}` is secret, and a host is shown", self.shown()));
        }
        value.text().map(str::to_owned).map_err(|_| self.unfit())
    }

    fn labels(&self, scope: &dyn Scope) -> Result<Vec<String>, OriginError> {
        self.text(scope)?.split('.').map(|label| ascii_label(label).ok_or_else(|| self.unfit())).collect()
    }
}

/// The URL that a value of kind `url` is. Parsers forgive much; here what was written must be what is read.
///
/// # Errors
/// Where it is not the beginning of an http or https URL, and nothing but that.
pub(super) fn beginning(name: &str, value: &Value) -> Result<Url, OriginError> {
    let unfit = |why: &str| OriginError::of(name, why);
    if value.is_secret() {
        return Err(unfit("is secret, and a URL is shown"));
    }
    let text = value.text().map_err(|_| unfit("is not text"))?;
    // Parsers drop tabs and line breaks, and take `\` for `/`.
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(unfit("holds a space, a control character or a backslash, which a URL has not"));
    }
    let url = Url::parse(text).map_err(|_| unfit("is not a URL"))?;
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") => rest,
        _ => return Err(unfit("does not begin with https:// or http://")),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unfit("holds a query or a fragment; it is the beginning of a URL"));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(unfit("holds a user name or password; credentials have parameters of their own"));
    }
    let written = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    let expected: Option<Vec<String>> = written
        .split('.')
        .map(|label| if label.is_ascii() { Some(label.to_ascii_lowercase()) } else { ascii_label(label) })
        .collect();
    if !written.starts_with('[') && expected.map(|labels| labels.join(".")).as_deref() != url.host_str() {
        return Err(unfit("has a host that is read as another than it is written"));
    }
    if url.port() == Some(0) {
        return Err(unfit("has no port, which is 1 to 65535"));
    }
    Ok(url)
}

/// The origin of such a URL.
pub(super) fn origin_of(url: &Url) -> Result<Origin, OriginError> {
    Origin::of(url).map_err(|error| OriginError(error.message().to_owned()))
}

/// A name that an author wrote, for messages.
pub(super) fn shown(name: &str) -> String {
    text::foreign(name, 64)
}
