//! Where a request may go, as one comparable value: scheme, host and port (RFC 6454), made from a parsed URL only.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::error::{Error, Kind, Result};

/// A web origin. Two spellings of one origin are equal, since the URL parser has already normalised them (lower case, IDNA,
/// default ports, numeric hosts).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    scheme: Scheme,
    host: Host<String>,
    port: u16,
}

/// The two schemes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain; only ever to a private address that the operator allowed.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As it is written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that need not be written.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl Origin {
    /// The origin of a URL; an error for any scheme but `http` and `https`.
    pub fn of(url: &Url) -> Result<Self> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => {
                return Err(Kind::Denied
                    .error(format!("The scheme `{other}` is not one that Attaché speaks."))
                    .hint("Use an https:// URL."));
            }
        };
        let host = url.host().ok_or_else(|| Kind::InvalidInput.error("The URL has no host."))?.to_owned();
        Ok(Self { scheme, host, port: url.port().unwrap_or(scheme.default_port()) })
    }

    /// Parses `scheme://host[:port]`; anything behind it is refused.
    pub fn parse(text: &str) -> Result<Self> {
        let url =
            Url::parse(text).map_err(|error| Kind::InvalidInput.error(format!("`{text}` is not a URL: {error}.")))?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(
                Kind::InvalidInput.error(format!("`{text}` is more than an origin; write scheme://host[:port]."))
            );
        }
        Self::of(&url)
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// A domain name, or an address.
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// Whether it is this machine itself, by an address or by its name (RFC 6761, 6.3).
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
            Host::Domain(name) => name == "localhost",
        }
    }

    /// The port, the scheme's own included.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

impl TryFrom<String> for Origin {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_origin_are_equal() {
        let plain = Origin::parse("https://api.example.com").unwrap();
        for other in [
            "https://API.example.com",
            "https://api.example.com:443",
            "HTTPS://api.example.com/",
            "https://api%2eexample.com",
        ] {
            assert_eq!(plain, Origin::parse(other).unwrap(), "{other}");
        }
        assert_eq!(Origin::parse("http://127.1:8080").unwrap(), Origin::parse("http://0x7f000001:8080").unwrap());
        assert_ne!(plain, Origin::parse("http://api.example.com:443").unwrap());
    }

    #[test]
    fn more_than_an_origin_is_refused() {
        for text in
            ["https://a/b", "https://a?b", "https://a#b", "https://u@a", "https://u:p@a", "ftp://a", "a", "https://"]
        {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
