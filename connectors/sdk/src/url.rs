//! URLs that no value breaks out of.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986's unreserved characters stay.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// In a query's names `$` stays too, as OData writes its own.
const QUERY_NAME: AsciiSet = SEGMENT.remove(b'$');

/// A URL that is built from an origin and values; each value is percent-encoded, so it stays in its segment.
#[derive(Debug, Clone)]
pub struct Url(String);

impl Url {
    /// Begins with an origin, or with a base URL whose path is kept: `https://api.example.com/v2/`.
    pub fn new(base: impl Into<String>) -> Self {
        let mut base = base.into();
        while base.ends_with('/') {
            base.pop();
        }
        Self(base)
    }

    /// Adds a segment. A segment of dots alone is written so that it stands for itself nowhere: URL parsers take even its
    /// encoded form for a step up, so the host refuses what would climb; see [`Url::is_dots`].
    #[must_use]
    pub fn segment(mut self, segment: impl AsRef<str>) -> Self {
        self.0.push('/');
        self.0.extend(utf8_percent_encode(segment.as_ref(), &SEGMENT));
        self
    }

    /// Adds a path of several segments, whose `/` stay: a blob's name, a file's path.
    #[must_use]
    pub fn path(self, path: impl AsRef<str>) -> Self {
        path.as_ref().split('/').fold(self, Url::segment)
    }

    /// Whether a segment is one that URL parsers take for this or the folder above, in any spelling.
    pub fn is_dots(segment: &str) -> bool {
        matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
    }

    pub(crate) fn with_query(mut self, query: &[(String, String)]) -> String {
        for (index, (name, value)) in query.iter().enumerate() {
            self.0.push(if index == 0 && !self.0.contains('?') { '?' } else { '&' });
            self.0.extend(utf8_percent_encode(name, &QUERY_NAME));
            self.0.push('=');
            self.0.extend(utf8_percent_encode(value, &SEGMENT));
        }
        self.0
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Url {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl From<String> for Url {
    fn from(url: String) -> Self {
        Self(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_in_its_segment() {
        let url = Url::new("https://a.example/v2/").segment("a/b?c#d%e f+ü").path("x/y z");
        assert_eq!(url.to_string(), "https://a.example/v2/a%2Fb%3Fc%23d%25e%20f%2B%C3%BC/x/y%20z");
    }

    #[test]
    fn a_query_is_encoded_and_appended() {
        let query = [("a b".to_owned(), "1&2=3+4".to_owned()), ("c".to_owned(), String::new())];
        assert_eq!(Url::from("https://a.example/x").with_query(&query), "https://a.example/x?a%20b=1%262%3D3%2B4&c=");
        assert_eq!(Url::from("https://a.example/x?y").with_query(&query[1..]), "https://a.example/x?y&c=");
        let odata = [("$top".to_owned(), "$1".to_owned())];
        assert_eq!(Url::from("https://a.example/x").with_query(&odata), "https://a.example/x?$top=%241");
    }

    #[test]
    fn dots_are_dots_in_every_spelling() {
        for dots in [".", "..", "%2e", "%2E%2e", ".%2E"] {
            assert!(Url::is_dots(dots), "{dots}");
        }
        for name in ["...", "a.", ".a", ""] {
            assert!(!Url::is_dots(name), "{name}");
        }
    }
}
