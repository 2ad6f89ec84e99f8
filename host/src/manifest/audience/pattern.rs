//! What an origin must look like, once all values are known.

use std::fmt;

use url::Host;

use super::authority::{LONGEST_HOST, OriginError, wrong};
use crate::origin::{Origin, Scheme};

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
    /// The origin with that host, which must be read just as it is written: no number taken for an address, nothing
    /// decoded, nothing dropped. An address is only what may be one.
    pub(super) fn of_host(scheme: Scheme, host: &str, port: u16, may_be_address: bool) -> Result<Self, OriginError> {
        let origin = Origin::parse(&format!("{}://{host}:{port}", scheme.as_str()));
        match origin {
            Ok(origin)
                if origin.scheme() == scheme
                    && origin.port() == port
                    && origin.host().to_string() == host
                    && host.len() <= LONGEST_HOST
                    && (may_be_address || matches!(origin.host(), Host::Domain(_))) =>
            {
                Ok(Self::Exact(origin))
            }
            _ => wrong("it is not a host name, or is read as another host than it is written"),
        }
    }

    /// The origins with these labels, none being any.
    pub(super) fn of_labels(scheme: Scheme, labels: Vec<Option<String>>, port: u16) -> Result<Self, OriginError> {
        let written: Vec<&str> = labels.iter().map(|label| label.as_deref().unwrap_or("any")).collect();
        let exact = Self::of_host(scheme, &written.join("."), port, false)?;
        if labels.iter().all(Option::is_some) {
            return Ok(exact);
        }
        // `*.com` would be everybody. Which suffixes are public is not decided by their number of labels, but an operator
        // sees what stands there, and this keeps out the plain mistakes.
        if labels.len() < 3 || labels[labels.len() - 2..].contains(&None) {
            return wrong("`*` needs two labels behind it that are written out");
        }
        Ok(Self::Wildcard { scheme, labels, port })
    }

    /// Whether it is that origin, or one of those. An address is never one of a wildcard's.
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
