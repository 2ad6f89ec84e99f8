//! From what can go wrong on the way to what a caller can act on.

use crate::{Failure, bindings::attache::connector::http};

impl From<http::Error> for Failure {
    /// The host has noted what it refused, and tells the caller in its own words; this keeps them for connectors that handle
    /// a refusal themselves.
    fn from(error: http::Error) -> Self {
        match error {
            http::Error::NeedsReconnect(why) => Failure::Unauthorized(why),
            http::Error::InvalidRequest(why) => Failure::InvalidInput(why),
            http::Error::Denied(why)
            | http::Error::Timeout(why)
            | http::Error::TooLarge(why)
            | http::Error::Unreachable(why) => Failure::Other(why),
        }
    }
}
