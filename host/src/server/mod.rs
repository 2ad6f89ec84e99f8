//! What listens: the Consent Server, whose pages a person sees who connects an account; the HTTP API, for whoever has a caller
//! key; MCP, for agents; the console, for the operator's browser; and a socket in the data directory, for those who may do
//! whatever the operator may, backups and another key for the store too.
//!
//! It may call [`crate::Host`] and what `connect` offers, and decides nothing itself about what is allowed. What must never
//! happen here: a link made from what a request says of itself (its Host header); a page that shows text of a connector, a
//! service or a provider as its own, or unescaped; a callback taken from another browser than the one that was sent; a secret,
//! a state or a code in a log.

mod answering;
pub mod api;
pub mod backup;
pub mod consent;
pub mod console;
pub mod control;
mod exposure;
mod gateway;
pub mod mcp;
mod metrics;
mod paced;
mod page;
mod prompt;
mod remote;
pub mod rotation;
mod serve;
mod tls;
mod way_back;

pub use exposure::Tls;
pub use serve::{Serve, serve};
pub use tls::TlsFiles;
pub(crate) use {prompt::Prompt, tls::TlsListener};
