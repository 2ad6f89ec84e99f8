//! Where a request may go. An origin is in the audience, or an open host, or refused; there is no fourth answer, and an
//! empty list allows nothing.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{
    error::{Error, Kind, Result},
    manifest::audience::OriginPattern,
    origin::{Origin, Scheme},
    text,
    transport::PrivateAllowed,
};

/// The origins that a connection may reach, resolved with its parameters.
#[derive(Debug, Clone, Default)]
pub struct Reachable {
    /// Where its credential may go.
    pub audience: Vec<OriginPattern>,
    /// Where it may go without one.
    pub open: Vec<OriginPattern>,
    /// Where the connection signs in: URLs that no connector calls, though it may call their origin.
    pub sign_in: Vec<Url>,
    /// Private `host:port`s that the operator allowed.
    pub private: PrivateAllowed,
    /// Whether somebody else sends, in a network of their own: what is private there is theirs to say.
    pub elsewhere: bool,
}

/// What an origin is to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The credential may go there.
    Audience,
    /// It may be called without a credential.
    Open,
}

impl Reachable {
    /// Judges a URL that the guest asked for, or that a service redirects to.
    ///
    /// # Errors
    /// `denied`, with the rule and what would allow it.
    pub fn judge(&self, url: &Url) -> Result<Destination> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Kind::Denied
                .error("A URL with a user name or password in it is not sent.")
                .hint("The host attaches credentials; declare `basic` in the connector's auth option."));
        }
        let origin = Origin::of(url)?;
        if self.sign_in.iter().any(|declared| leads_to(url, declared)) {
            return Err(Kind::Denied
                .error("That is where the connection signs in, which only the host does.")
                .hint("The connector must leave signing in to its auth option."));
        }
        let destination = if self.audience.iter().any(|pattern| pattern.matches(&origin)) {
            Destination::Audience
        } else if self.open.iter().any(|pattern| pattern.matches(&origin)) {
            Destination::Open
        } else {
            return Err(self.out_of_reach(&origin));
        };
        if origin.scheme() == Scheme::Http && !self.elsewhere && !self.private.covers(&origin) {
            return Err(Kind::Denied
                .error(format!("{origin} is plain http, which is only used to a private address that was allowed."))
                .hint(format!("Use https, or reconnect with `--allow-private {}:{}`.", origin.host(), origin.port())));
        }
        Ok(destination)
    }

    fn out_of_reach(&self, origin: &Origin) -> Error {
        let list = |patterns: &[OriginPattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut allowed = list(&self.audience);
        if !self.open.is_empty() {
            allowed = format!("{allowed}; without a credential {}", list(&self.open));
        }
        if allowed.is_empty() {
            allowed = "nothing".into();
        }
        Kind::Denied
            .error(format!("The connection may not reach {}; it may reach {allowed}.", text::foreign(&origin.to_string(), 300)))
            .hint("The connector must declare the origin in its audience or open hosts, and the account's owner must consent to it.")
    }
}

/// Whether a URL is one that was declared, however it is spelled: servers differ in what they take for the same path. Its
/// query counts only where the declared path is the root, which a service may use for everything.
fn leads_to(url: &Url, declared: &Url) -> bool {
    if url.origin() != declared.origin() {
        return false;
    }
    let (Some(path), Some(declared_path)) = (plain_path(url), plain_path(declared)) else { return true };
    if path != declared_path {
        return false;
    }
    declared_path != "/" || declared.query_pairs().all(|pair| url.query_pairs().any(|other| other == pair))
}

/// How often a path may be encoded over again. Nobody needs twice, and undoing it without end would take a connector's
/// word for how long the host computes.
const ENCODED: usize = 8;

/// Decoded until nothing is left to decode, in lower case, without empty segments and what stands behind a `;`. None where
/// it is encoded too often to be told.
fn plain_path(url: &Url) -> Option<String> {
    let mut path = url.path().to_owned();
    for decoding in 0.. {
        let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        if decoded == path {
            break;
        }
        if decoding == ENCODED {
            return None;
        }
        path = decoded;
    }
    let path = path.to_lowercase().replace('\\', "/");
    let mut plain: Vec<&str> = Vec::new();
    for segment in path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => drop(plain.pop()),
            segment => plain.push(segment),
        }
    }
    Some(format!("/{}", plain.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_connection_signs_in_is_known_in_every_spelling() {
        let declared = Url::parse("https://a.example/oauth/token?tenant=x").unwrap();
        for url in [
            "https://a.example/oauth/token",
            "https://a.example/oauth/token/",
            "https://a.example/OAuth/Token?x",
            "https://a.example//oauth//token",
            "https://a.example/oauth/%74oken",
            "https://a.example/oauth/%2574oken",
            "https://a.example/oauth%2Ftoken",
            "https://a.example/x/..%2Foauth/token",
            "https://a.example/oauth/token;x=1",
            "https://a.example:443/oauth/./token",
            "https://A.EXAMPLE/oauth\\token",
        ] {
            assert!(leads_to(&Url::parse(url).unwrap(), &declared), "{url}");
        }
        for url in ["https://a.example/oauth/tokens", "https://a.example/oauth", "https://b.example/oauth/token"] {
            assert!(!leads_to(&Url::parse(url).unwrap(), &declared), "{url}");
        }
        // Undone one by one, this would keep the host busy for hours.
        let endless = format!("https://a.example/x%{}", "25".repeat(500_000));
        assert!(leads_to(&Url::parse(&endless).unwrap(), &declared));
        let root = Url::parse("https://a.example/?do=login").unwrap();
        assert!(leads_to(&Url::parse("https://a.example/?x=1&do=login").unwrap(), &root));
        assert!(!leads_to(&Url::parse("https://a.example/?do=list").unwrap(), &root));
    }
}
