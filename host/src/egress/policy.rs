//! Where a request may go. An origin is in the audience, or an open host, or refused; there is no fourth answer, and an
//! empty list allows nothing.

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
    /// Private `host:port`s that the operator allowed.
    pub private: PrivateAllowed,
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
        let destination = if self.audience.iter().any(|pattern| pattern.matches(&origin)) {
            Destination::Audience
        } else if self.open.iter().any(|pattern| pattern.matches(&origin)) {
            Destination::Open
        } else {
            return Err(self.out_of_reach(&origin));
        };
        if origin.scheme() == Scheme::Http && !self.private.covers(&origin) {
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
