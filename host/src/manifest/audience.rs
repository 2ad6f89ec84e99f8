//! Where a credential may go, as the connector declares it and as it stands once the values are known. A value can choose a
//! label, a port or, where the connector says so, the whole beginning; it can never change anything around it.

use std::fmt;

use url::{Host, Url};

use super::{
    ValueKind,
    template::{Expression, Part, Scope, Template, Value},
};
use crate::origin::{Origin, Scheme};

/// What is known of a name when a manifest is checked.
#[derive(Debug, Clone, Copy)]
pub struct NameInfo {
    /// What kind of text its value is.
    pub kind: ValueKind,
    /// Whether choices or a pattern say what it must look like.
    pub bounded: bool,
    /// Whether it is a named group of another's pattern.
    pub is_pattern_group: bool,
}

/// An origin with names in it: `https://{org}.crm.dynamics.com`, `{endpoint} || https://api.example.com`.
#[derive(Debug, Clone)]
pub struct OriginTemplate {
    text: String,
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Clone)]
enum Alternative {
    /// One value of kind `url` is the whole of it.
    Whole(String),
    /// Scheme, and the pieces of the host and the port.
    Built { scheme: Scheme, pieces: Vec<Piece> },
}

#[derive(Debug, Clone)]
enum Piece {
    Literal(String),
    Name { name: String, kind: ValueKind },
}

/// Why something is no origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginError(String);

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn wrong<T>(why: impl Into<String>) -> Result<T, OriginError> {
    Err(OriginError(why.into()))
}

/// One label of a host name (RFC 1123 section 2.1): letters, digits and hyphens.
pub fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl OriginTemplate {
    /// Checks a template whose names are known to exist.
    ///
    /// # Errors
    /// Where it is not `scheme://host[:port]`, or a name stands where its kind may not.
    pub fn parse(template: &Template, info: &dyn Fn(&str) -> Option<NameInfo>) -> Result<Self, OriginError> {
        let alternatives =
            template.alternatives.iter().map(|parts| alternative(parts, info)).collect::<Result<_, _>>()?;
        Ok(Self { text: template.to_string(), alternatives })
    }

    /// Fills the first alternative whose names all have a value; none where there is none.
    ///
    /// # Errors
    /// Where a value does not make an origin. The value itself is not repeated.
    pub fn resolve(&self, scope: &dyn Scope) -> Result<Option<OriginPattern>, OriginError> {
        for alternative in &self.alternatives {
            if let Some(pattern) = alternative.resolve(scope)? {
                return Ok(Some(pattern));
            }
        }
        Ok(None)
    }
}

impl fmt::Display for OriginTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn alternative(parts: &[Part], info: &dyn Fn(&str) -> Option<NameInfo>) -> Result<Alternative, OriginError> {
    let kind_of = |name: &str| info(name).ok_or_else(|| OriginError(format!("`{name}` is no parameter")));
    if let [Part::Value(Expression::Name(name))] = parts
        && kind_of(name)?.kind == ValueKind::Url
    {
        return Ok(Alternative::Whole(name.clone()));
    }
    let Some(Part::Literal(first)) = parts.first() else {
        return wrong("it begins with https:// or http://, or is one value of kind `url`");
    };
    let (scheme, rest) = match (first.strip_prefix("https://"), first.strip_prefix("http://")) {
        (Some(rest), _) => (Scheme::Https, rest),
        (_, Some(rest)) => (Scheme::Http, rest),
        _ => return wrong("it begins with https:// or http://"),
    };
    let mut pieces = vec![Piece::Literal(rest.to_ascii_lowercase())];
    for part in &parts[1..] {
        pieces.push(match part {
            Part::Literal(text) => Piece::Literal(text.to_ascii_lowercase()),
            Part::Value(Expression::Name(name)) => Piece::Name { name: name.clone(), kind: kind_of(name)?.kind },
            Part::Value(_) => return wrong("only names may stand in a host, no functions"),
        });
    }
    check_pieces(&pieces, &kind_of)?;
    // With something plausible for each name it must parse; what then does not is the author's to mend.
    let sample: String = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Literal(text) => text.as_str(),
            Piece::Name { kind: ValueKind::Integer, .. } => "8443",
            Piece::Name { kind: ValueKind::Host, .. } => "sample.example",
            Piece::Name { .. } => "sample",
        })
        .collect();
    OriginPattern::parse(scheme, &sample)?;
    Ok(Alternative::Built { scheme, pieces })
}

fn check_pieces(pieces: &[Piece], kind_of: &dyn Fn(&str) -> Result<NameInfo, OriginError>) -> Result<(), OriginError> {
    let literal = |index: Option<usize>| match index.and_then(|index| pieces.get(index)) {
        Some(Piece::Literal(text)) => text.as_str(),
        Some(Piece::Name { .. }) => "{}",
        None => "",
    };
    let mut in_port = false;
    for (index, piece) in pieces.iter().enumerate() {
        let Piece::Name { name, .. } = piece else {
            in_port |= literal(Some(index)).contains(':') && !literal(Some(index)).contains('[');
            continue;
        };
        let (before, after) = (literal(index.checked_sub(1)), literal(Some(index + 1)));
        let info = kind_of(name)?;
        match info.kind {
            ValueKind::Integer if in_port && before.ends_with(':') && after.is_empty() => {}
            ValueKind::Integer => return wrong(format!("`{name}` is an integer, which can only be the port")),
            _ if in_port => return wrong(format!("`{name}` stands in the port, which takes an integer")),
            ValueKind::Label => {}
            ValueKind::Host => {
                let whole_labels =
                    (before.is_empty() || before.ends_with('.')) && (after.is_empty() || after.starts_with(['.', ':']));
                let whole_host = before.is_empty() && (after.is_empty() || after.starts_with(':'));
                if !whole_labels {
                    return wrong(format!("`{name}` is whole labels of a host, with a dot between it and others"));
                }
                if !whole_host && !info.bounded {
                    return wrong(format!("`{name}` is a part of a host, so it needs `choices` or a `pattern`"));
                }
            }
            ValueKind::Url => {
                return wrong(format!("`{name}` is a URL, which is the whole of an origin or nothing of it"));
            }
            ValueKind::Text | ValueKind::Secret | ValueKind::Boolean => {
                return wrong(format!("`{name}` is of kind `{}`, which cannot stand in a host", info.kind.name()));
            }
        }
    }
    Ok(())
}

impl Alternative {
    fn resolve(&self, scope: &dyn Scope) -> Result<Option<OriginPattern>, OriginError> {
        match self {
            Alternative::Whole(name) => {
                let Some(value) = scope.value(name) else { return Ok(None) };
                let url = Url::parse(text(name, &value)?).map_err(|_| OriginError(format!("`{name}` is not a URL")))?;
                let origin = Origin::of(&url).map_err(|error| OriginError(error.message().to_owned()))?;
                Ok(Some(OriginPattern::Exact(origin)))
            }
            Alternative::Built { scheme, pieces } => {
                let mut host = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Literal(literal) => host.push_str(literal),
                        Piece::Name { name, kind } => {
                            let Some(value) = scope.value(name) else { return Ok(None) };
                            host.push_str(fitting(name, *kind, text(name, &value)?)?.to_ascii_lowercase().as_str());
                        }
                    }
                }
                OriginPattern::parse(*scheme, &host).map(Some)
            }
        }
    }
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, OriginError> {
    std::str::from_utf8(value.bytes()).map_err(|_| OriginError(format!("`{name}` is not text")))
}

/// The value, if it can change nothing but the place it stands in.
fn fitting<'a>(name: &str, kind: ValueKind, value: &'a str) -> Result<&'a str, OriginError> {
    let fits = match kind {
        ValueKind::Integer => {
            value.parse::<u16>().is_ok_and(|port| port > 0) && value.bytes().all(|byte| byte.is_ascii_digit())
        }
        ValueKind::Host => value.split('.').all(is_label),
        // It may be a part of a label, so hyphens at its ends are judged with the whole label.
        ValueKind::Label => {
            (1..=63).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }
        _ => false,
    };
    if fits { Ok(value) } else { wrong(format!("the value of `{name}` cannot stand in a host")) }
}

/// An origin, or a set of origins that differ in whole labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// One origin.
    Exact(Origin),
    /// `*` stands for exactly one label.
    Wildcard {
        /// Of the origin.
        scheme: Scheme,
        /// Of the host, from the left; none is `*`.
        labels: Vec<Option<String>>,
        /// Of the origin.
        port: u16,
    },
}

impl OriginPattern {
    /// Parses a host and port in which names have been filled in.
    fn parse(scheme: Scheme, authority: &str) -> Result<Self, OriginError> {
        if let Some(other) = authority.chars().find(|c| !(c.is_ascii_alphanumeric() || ".-*:[]".contains(*c))) {
            return wrong(format!("`{}` does not belong into scheme://host[:port]", other.escape_default()));
        }
        if !authority.contains('*') {
            let written = format!("{}://{authority}", scheme.as_str());
            let origin = Origin::parse(&written).map_err(|error| OriginError(error.message().to_owned()))?;
            // The parser must have read what stands there: no number taken for an address, nothing dropped.
            let default = format!(":{}", scheme.default_port());
            let bare = written.strip_suffix(&default).unwrap_or(&written);
            let whole_labels = match origin.host() {
                Host::Domain(domain) => domain.split('.').all(is_label),
                Host::Ipv4(_) | Host::Ipv6(_) => true,
            };
            if !whole_labels || origin.to_string() != bare {
                return wrong("it is not a host name, or is read as another host than it is written");
            }
            return Ok(Self::Exact(origin));
        }
        let (host, port) = match authority.split_once(':') {
            None => (authority, scheme.default_port()),
            Some((host, port)) => {
                (host, port.parse().map_err(|_| OriginError("the port is not a number up to 65535".into()))?)
            }
        };
        let labels: Vec<Option<String>> =
            host.split('.').map(|label| (label != "*").then(|| label.to_owned())).collect();
        if labels.iter().flatten().any(|label| !is_label(label)) {
            return wrong("`*` stands for one whole label, and labels have letters, digits and hyphens");
        }
        // `*.com` would be everybody; which suffixes are public is not decided by their number of labels, but an operator
        // sees what stands there, and this keeps out the plain mistakes.
        if labels.len() < 3 || labels[labels.len() - 2..].contains(&None) {
            return wrong("`*` needs two labels behind it that are written out");
        }
        if labels.last().and_then(Option::as_ref).is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
            return wrong("`*` cannot stand in an address");
        }
        Ok(Self::Wildcard { scheme, labels, port })
    }

    /// Whether it is that origin, or one of those.
    pub fn matches(&self, origin: &Origin) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Wildcard { scheme, labels, port } => {
                let Host::Domain(host) = origin.host() else { return false };
                let found: Vec<&str> = host.split('.').collect();
                origin.scheme() == *scheme
                    && origin.port() == *port
                    && found.len() == labels.len()
                    && labels
                        .iter()
                        .zip(found)
                        .all(|(label, found)| label.as_deref().map_or(!found.is_empty(), |label| label == found))
            }
        }
    }

    /// The origin, where it is one.
    pub fn exact(&self) -> Option<Origin> {
        match self {
            Self::Exact(origin) => Some(origin.clone()),
            Self::Wildcard { .. } => None,
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(origin) => origin.fmt(f),
            Self::Wildcard { scheme, labels, port } => {
                let host: Vec<&str> = labels.iter().map(|label| label.as_deref().unwrap_or("*")).collect();
                write!(f, "{}://{}", scheme.as_str(), host.join("."))?;
                if *port != scheme.default_port() { write!(f, ":{port}") } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Given(BTreeMap<&'static str, String>);

    impl Scope for Given {
        fn value(&self, name: &str) -> Option<Value> {
            self.0.get(name).map(|value| Value::public(value.as_bytes()))
        }
    }

    fn info(name: &str) -> Option<NameInfo> {
        let of = |kind, bounded| Some(NameInfo { kind, bounded, is_pattern_group: false });
        match name {
            "label" => of(ValueKind::Label, false),
            "host" => of(ValueKind::Host, false),
            "bounded" => of(ValueKind::Host, true),
            "url" => of(ValueKind::Url, false),
            "port" => of(ValueKind::Integer, false),
            "text" => of(ValueKind::Text, false),
            "secret" => of(ValueKind::Secret, true),
            _ => None,
        }
    }

    fn parse(text: &str) -> Result<OriginTemplate, OriginError> {
        OriginTemplate::parse(&Template::parse(text).unwrap(), &info)
    }

    fn resolve(text: &str, values: &[(&'static str, &str)]) -> Result<Option<String>, OriginError> {
        let given = Given(values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect());
        Ok(parse(text)?.resolve(&given)?.map(|pattern| pattern.to_string()))
    }

    #[test]
    fn names_stand_where_their_kind_allows() {
        for good in [
            "https://api.example.com",
            "https://{label}.example.com",
            "https://x-{label}.example.com:{port}",
            "https://{host}",
            "https://{host}:8443",
            "https://{bounded}.example.com",
            "{url}",
            "{url} || https://{label}.example.com",
            "https://*.example.com",
            "http://127.0.0.1:80",
            "https://[2001:db8::1]:8443",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
        }
        for bad in [
            "ftp://a.example",
            "https://",
            "https://a.example/path",
            "https://a.example?x",
            "https://user@a.example",
            "https://{host}.example.com",
            "https://x{bounded}.example.com",
            "https://{text}.example.com",
            "https://{secret}.example.com",
            "https://{unknown}.example.com",
            "https://{port}.example.com",
            "https://a.example:{label}",
            "https://{url}",
            "{url}/path",
            "{label}",
            "https://{hex(label)}.example.com",
            "https://*",
            "https://*.com",
            "https://a.*.com",
            "https://x*.example.com",
            "https://*.0.0.1",
            "https://a..example",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_alternative_with_values_is_the_origin() {
        let template = "{url} || https://{label}.blob.example.net";
        assert_eq!(resolve(template, &[("label", "Acme")]).unwrap().unwrap(), "https://acme.blob.example.net");
        assert_eq!(
            resolve(template, &[("label", "a"), ("url", "http://127.0.0.1:10000/x/y")]).unwrap().unwrap(),
            "http://127.0.0.1:10000"
        );
        assert_eq!(resolve(template, &[]).unwrap(), None);
    }

    #[test]
    fn no_value_leads_elsewhere() {
        let tries = [
            "evil.com/",
            "evil.com#",
            "evil.com?",
            "a@evil.com",
            "a:80",
            "a\\b",
            "a%2eb",
            "a.b",
            "..",
            "",
            "-a",
            "a-",
            "a b",
            "ä",
            "*",
            "[::1]",
        ];
        for value in tries {
            assert!(resolve("https://{label}.example.com", &[("label", value)]).is_err(), "{value}");
        }
        assert!(resolve("https://{host}", &[("host", "0x7f.1")]).is_err());
        assert!(resolve("https://{host}", &[("host", "2130706433")]).is_err());
        for value in ["0", "65536", "-1", "80/", "+80", ""] {
            assert!(resolve("https://a.example:{port}", &[("port", value)]).is_err(), "{value}");
        }
    }

    #[test]
    fn a_wildcard_is_exactly_one_label() {
        let OriginPattern::Wildcard { .. } = OriginPattern::parse(Scheme::Https, "*.example.com").unwrap() else {
            panic!()
        };
        let pattern = OriginPattern::parse(Scheme::Https, "*.example.com").unwrap();
        let matches = |text: &str| pattern.matches(&Origin::parse(text).unwrap());
        assert!(matches("https://a.example.com"));
        assert!(matches("https://A.EXAMPLE.com:443"));
        for other in [
            "https://example.com",
            "https://evilexample.com",
            "https://a.b.example.com",
            "https://a.example.com.evil.com",
            "https://a.example.org",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://1.2.3.4",
        ] {
            assert!(!matches(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_label_is_the_rest_of_the_host_stays(value in "[ -~]{0,20}") {
            let given = Given(BTreeMap::from([("label", value)]));
            if let Ok(Some(pattern)) = parse("https://{label}.example.com").unwrap().resolve(&given) {
                let origin = pattern.exact().unwrap();
                prop_assert!(origin.to_string().ends_with(".example.com"));
                prop_assert_eq!(origin.port(), 443);
            }
        }
    }
}
