//! The seam for requests that leave elsewhere: where the credential is attached and the request sent by somebody who holds what
//! this host does not.

use async_trait::async_trait;

use super::Held;
use crate::{
    audit::About,
    credential::Existing,
    error::Result,
    transport::{Incoming, Limits, Outgoing},
};

/// Attaches a connection's credential and sends, in another place than here.
#[async_trait]
pub trait Through: Send + Sync {
    /// Sends one request that was let pass, and gives the answer without what must not come back.
    ///
    /// # Errors
    /// The kinds of the way out, of whoever sends, and of the way there.
    async fn send(&self, leaving: Leaving<'_>) -> Result<Returned>;
}

/// A request that was judged and has no credential yet.
pub struct Leaving<'a> {
    /// As the connector wrote it, or a service led to.
    pub outgoing: Outgoing,
    /// Whether it is to carry the credential.
    pub attach: bool,
    /// What the host has of it, which is nothing secret.
    pub held: Option<&'a Held>,
    /// What becomes of what stands where the credential goes.
    pub existing: Existing,
    /// For whoever sends to write down.
    pub about: &'a About,
    /// How many redirects led here.
    pub hop: usize,
    /// How often it was sent again since the service said when.
    pub repeated: u32,
    /// Whether the operation only reads.
    pub reads: bool,
    /// The bounds of the exchange.
    pub limits: &'a Limits,
}

/// What came back.
pub struct Returned {
    /// The service's answer.
    pub answer: Incoming,
    /// How many places in it were masked.
    pub masked: u64,
}
