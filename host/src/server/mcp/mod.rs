//! MCP (Model Context Protocol): every operation of every usable connection is a tool, over standard input and output or over
//! Streamable HTTP. The protocol itself is the SDK's; here is what a client may see, what becomes of a call, and who is let in.
//!
//! It may call [`crate::Host`], which decides whether a call is made. What must never happen here: a tool that approves a
//! connector, consents, or allows an address; an operation called that the client was not offered; words of a connector or a
//! service that pass for Attaché's; one key's session used by another key.

mod answer;
mod changes;
mod client;
mod door;
mod keys;
pub mod stdio;
mod streams;
mod tools;

use std::collections::BTreeSet;

use async_trait::async_trait;
use url::Url;
use uuid::Uuid;

pub use client::Client;
pub use door::{Door, Keys};

use crate::{error::Result, host::Host, manifest::Effects};

/// What a message may have around an operation's input.
const ENVELOPE: u64 = 64 * 1_024;

/// No message is longer that could be a call.
fn longest_message(host: &Host) -> usize {
    usize::try_from(host.settings.limits.value.input_bytes.saturating_add(ENVELOPE)).unwrap_or(usize::MAX)
}

/// What one client may see and call.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The environment's name.
    pub environment: String,
    /// The connections, by id: another that takes the name of one is not offered. None for all there are.
    pub connections: Option<BTreeSet<Uuid>>,
    /// Operations of other effects are no tools.
    pub effects: Effects,
    /// Who it is, for the audit.
    pub caller: String,
    /// Whose sessions these are: one key's alone.
    pub holder: String,
}

impl Offer {
    fn includes(&self, connection: Uuid) -> bool {
        self.connections.as_ref().is_none_or(|all| all.contains(&connection))
    }
}

/// Who makes links with which a connection is made good again.
#[async_trait]
pub trait Links: Send + Sync {
    /// A link for the owner of a connection, that asks for these scopes too; none where there is no page for it.
    ///
    /// # Errors
    /// Whatever stands against it; the client is told the command instead.
    async fn link(&self, offer: &Offer, connection: &str, scopes: &[String]) -> Result<Option<Url>>;
}
