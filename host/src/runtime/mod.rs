//! Runs connectors: compiles a component once, keeps what was compiled, and gives each call an instance that is bounded
//! in memory, time and calls to the host.
//!
//! It may call `manifest` (what a connector says of itself is turned into its types) and `store` (the seals on compiled
//! code). It knows nothing of HTTP, credentials or consent: what a guest may reach is handed in as a [`WayOut`].
//!
//! What must never happen here: a secret in a guest's memory; an instance used for two connections; compiled code loaded
//! that this host did not write; a guest that runs without a limit.

mod bindings;
mod component;
mod engine;
mod instance;
mod library;
mod limits;
mod resting;

use async_trait::async_trait;

pub use component::{Component, Inspected};
pub use engine::Runtime;
pub use instance::{Failure, Invoked};
pub use library::Library;
pub use limits::Limits;
pub use resting::{Resting, Tenant};

/// What a guest may see and reach of the world: the other side of the contract's imports.
#[async_trait]
pub trait WayOut: Send {
    /// A parameter or captured value that is not secret.
    fn parameter(&self, name: &str) -> Option<String>;
    /// The audience with its parameters filled in.
    fn audience(&self) -> Vec<String>;
    /// The auth option that was chosen.
    fn auth_option(&self) -> String;
    /// Scopes granted.
    fn scopes(&self) -> Vec<String>;
    /// Sends a request; an `Err` is the guest's to handle, unless [`WayOut::stop`] says that the call must end.
    async fn send(&mut self, request: GuestRequest) -> Result<GuestResponse, SendError>;
    /// Whether the last `send` ended the whole call, so that the guest is not run any further.
    fn stop(&self) -> bool {
        false
    }
}

/// A request as the guest wrote it: nothing in it has been checked.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct GuestRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    /// Whether the guest wants the credential on it.
    pub attach: bool,
}

/// What the guest gets to see: already scrubbed.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct GuestResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// `http.error`: each carries a sentence that says what was refused and what would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum SendError {
    Denied(String),
    NeedsReconnect(String),
    Timeout(String),
    TooLarge(String),
    Unreachable(String),
    InvalidRequest(String),
}
