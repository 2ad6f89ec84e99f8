//! What the operator allowed: the hosts and ports of this machine and its networks that a connection may reach.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::address::{Reach, judge};
use crate::{
    error::{Error, Kind, Result},
    origin::Origin,
    text,
};

/// A host and a port, normalised by the URL parser like every URL that it is compared with: `LOCALHOST:8080`,
/// `127.1:8080` and `[0::1]:8080` become `localhost:8080`, `127.0.0.1:8080` and `[::1]:8080`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    host: Host<String>,
    port: u16,
}

impl HostPort {
    /// The host and port of an origin.
    pub fn of(origin: &Origin) -> Self {
        Self { host: origin.host().clone(), port: origin.port() }
    }

    /// A domain name, or an address.
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// The port, 1 or above.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn refuse_never(self) -> Result<Self> {
        match self.address().map(judge) {
            Some(Reach::Never(why)) => Err(Kind::Denied
                .error(format!("`{self}` cannot be allowed: it is {why}."))
                .hint("Name the service itself; link-local, multicast and metadata addresses stay closed.")),
            _ => Ok(self),
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for HostPort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Kind::Usage.error(format!("`{}` is not HOST:PORT.", text.escape_debug()));
        // Whatever the URL parser would take for more than a host and a port, or drop without a word.
        if text
            .contains(|c: char| matches!(c, '/' | '\\' | '?' | '#' | '@' | '*') || c.is_whitespace() || c.is_control())
        {
            return Err(wrong());
        }
        // The parser forgets a port that is its scheme's own; under one of the two schemes a written port is not.
        let [http, https] = ["http", "https"].map(|scheme| Url::parse(&format!("{scheme}://{text}")));
        let (Ok(http), Ok(https)) = (http, https) else { return Err(wrong()) };
        let port = http.port().or(https.port()).filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = https.host().ok_or_else(wrong)?.to_owned();
        if matches!(&host, Host::Domain(name) if name.ends_with('.')) {
            return Err(wrong().hint("Write the host without the dot at its end."));
        }
        Ok(Self { host, port })
    }
}

impl From<HostPort> for String {
    fn from(host_port: HostPort) -> Self {
        host_port.to_string()
    }
}

impl TryFrom<String> for HostPort {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// The private hosts and ports that the operator allowed for one connection, as `--allow-private` gave them.
///
/// It widens by exactly that: another port, another spelling that resolves to the same address, or an address that
/// nothing may reach ([`Reach::Never`]) is not covered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateAllowed(BTreeSet<HostPort>);

impl PrivateAllowed {
    /// Nothing private is allowed.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads what was typed for `--allow-private`.
    ///
    /// # Errors
    ///
    /// [`Kind::Usage`] if a text is not `HOST:PORT` or names a public address, [`Kind::Denied`] if it names an address
    /// that nobody can allow.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self> {
        texts
            .into_iter()
            .map(|text| {
                let allowed: HostPort = text.as_ref().parse()?;
                let allowed = allowed.refuse_never()?;
                match allowed.address().map(judge) {
                    Some(Reach::Public) => Err(Kind::Usage
                        .error(format!("`{allowed}` is public, so there is nothing to allow."))
                        .hint("Leave it out, and use https:// in the connection's URL.")),
                    Some(Reach::Private(_) | Reach::Never(_)) | None => Ok(allowed),
                }
            })
            .collect()
    }

    /// Reads what was typed for a gateway's `--allow`: whatever may be reached at all, public or private.
    ///
    /// # Errors
    ///
    /// [`Kind::Usage`] if a text is not `HOST:PORT`, [`Kind::Denied`] if it names an address that nobody can allow.
    pub fn parse_reachable<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self> {
        texts.into_iter().map(|text| text.as_ref().parse::<HostPort>()?.refuse_never()).collect()
    }

    /// Whether this origin's host and port were allowed.
    pub fn covers(&self, origin: &Origin) -> bool {
        // Most connections reach public services, and then there is nothing to compare.
        !self.0.is_empty() && self.0.contains(&HostPort::of(origin))
    }

    /// Refuses whatever is not among them, public or private: what a gateway was not told that it may reach.
    ///
    /// # Errors
    /// `denied`, with what would allow it.
    pub fn confine(&self, origin: &Origin) -> Result<()> {
        if self.covers(origin) {
            return Ok(());
        }
        let list: Vec<String> = self.iter().map(ToString::to_string).collect();
        Err(Kind::Denied
            .error(format!(
                "The gateway may not reach {}; it may reach {}.",
                text::foreign(&origin.to_string(), 300),
                list.join(", ")
            ))
            .hint("Whoever runs the gateway allows it with `--allow HOST:PORT`."))
    }

    /// Every host and port, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &HostPort> {
        self.0.iter()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<HostPort> for PrivateAllowed {
    fn from_iter<I: IntoIterator<Item = HostPort>>(allowed: I) -> Self {
        Self(allowed.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(allowed: &str, origin: &str) -> bool {
        PrivateAllowed::parse([allowed]).unwrap().covers(&Origin::parse(origin).unwrap())
    }

    #[test]
    fn spellings_of_one_host_and_port_are_equal() {
        for (typed, normal) in [
            ("localhost:8080", "localhost:8080"),
            ("LocalHost:8080", "localhost:8080"),
            ("127.1:8080", "127.0.0.1:8080"),
            ("0x7f000001:8080", "127.0.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("[0:0::1]:8080", "[::1]:8080"),
            ("bücher.internal:80", "xn--bcher-kva.internal:80"),
            ("nas:443", "nas:443"),
            ("nas:80", "nas:80"),
        ] {
            assert_eq!(typed.parse::<HostPort>().unwrap().to_string(), normal);
        }
    }

    #[test]
    fn anything_but_a_host_and_a_port_is_refused() {
        for text in [
            "",
            "localhost",
            "localhost:",
            ":80",
            "localhost:0",
            "localhost:65536",
            "localhost:http",
            "::1:80",
            "[::1]",
            "http://localhost:80",
            "localhost:80/",
            "localhost:80?",
            "localhost:80#",
            "u@localhost:80",
            "local host:80",
            "localhost:80\n",
            "localhost:8\t0",
            "a\\b:80",
            "localhost.:80",
            "*:80",
        ] {
            let error = text.parse::<HostPort>().map(|parsed| panic!("{text} became {parsed}")).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(!error.message().contains('\n'), "{text}");
        }
    }

    #[test]
    fn an_address_that_nothing_may_reach_cannot_be_allowed() {
        for text in ["169.254.169.254:80", "[fe80::1]:80", "0.0.0.0:80", "[::]:80", "[::ffff:169.254.169.254]:80"] {
            assert_eq!(PrivateAllowed::parse([text]).unwrap_err().kind(), Kind::Denied, "{text}");
        }
    }

    #[test]
    fn allowing_a_public_address_is_a_mistake() {
        assert_eq!(PrivateAllowed::parse(["8.8.8.8:443"]).unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn only_that_host_and_that_port_are_covered() {
        assert!(covers("localhost:8080", "http://localhost:8080"));
        assert!(covers("localhost:8080", "https://LOCALHOST:8080"));
        assert!(covers("localhost:443", "https://localhost"));
        assert!(covers("[::1]:80", "http://[::1]"));
        assert!(!covers("localhost:8080", "http://localhost"));
        assert!(!covers("localhost:8080", "http://localhost:8081"));
        assert!(!covers("localhost:8080", "http://127.0.0.1:8080"));
        assert!(!covers("localhost:8080", "http://a.localhost:8080"));
        assert!(!PrivateAllowed::none().covers(&Origin::parse("http://localhost:8080").unwrap()));
    }

    #[test]
    fn it_is_stored_as_the_texts_it_was_made_from() {
        let allowed = PrivateAllowed::parse(["nas:443", "127.1:80"]).unwrap();
        let text = serde_json::to_string(&allowed).unwrap();
        assert_eq!(text, r#"["nas:443","127.0.0.1:80"]"#);
        assert_eq!(serde_json::from_str::<PrivateAllowed>(&text).unwrap(), allowed);
        assert!(serde_json::from_str::<PrivateAllowed>(r#"["nas"]"#).is_err());
    }
}
