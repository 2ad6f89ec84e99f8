//! Attaché: a runtime host for connectors that never hold a secret.
//!
//! A connector is a WebAssembly component that declares how its service is authenticated. The host keeps the credential,
//! gives the connector a way out that is judged at every step, and attaches the credential after the connector has let go
//! of the request. [`Host`] is what the command line works through, and what somebody embeds.
//!
//! # The map of this house
//!
//! From the outside in; each part calls only what stands below it.
//!
//! - [`cli`]: one file per verb.
//! - [`server`]: what listens: the Consent Server, the HTTP API with its [`callers`]' keys, MCP, and the console.
//! - [`host`]: the data directory opened as one, with [`approve`] (adding a connector), [`apps`] (the operator's registrations
//!   with providers), [`connect`] (making a connection and ending it),
//!   [`call`] (the way of a call, to be read from top to bottom), [`once`] (calls that are not made twice), [`check`] (looking through what is kept) and [`backup`] (all of it in one
//!   sealed file, and back).
//! - [`webhooks`]: endpoints that are told what happens, and telling them.
//! - [`gateway`]: services of a private network, through an agent there that alone can open its connections' credentials;
//!   the host's side, and the agent.
//! - [`runtime`]: compiles components, keeps what was compiled, and runs bounded instances.
//! - [`consent`]: who agreed to what, and what a connection may do because of it.
//! - [`egress`]: the guest's one way out: policy, headers, redirects, scrubbing.
//! - [`credential`]: one file per attachment; puts it on a request that is about to leave.
//! - [`transport`]: resolves once, judges every address, pins, sends, and stops at the caps.
//! - [`manifest`]: what a connector declares, checked once into types that cannot be wrong; the template language and
//!   signed tokens.
//! - [`audit`]: the hash chain of everything that was done.
//! - [`outbox`]: what happened and is to be told, kept with what it tells of.
//! - [`store`]: sealed records, and where their key comes from.
//! - [`simulate`]: a provider of OAuth 2.0 to try connectors and the host itself against; no part of the host.
//! - [`settings`], [`build`]: what can be set; how a connector's source becomes a component.
//! - [`metrics`]: what an operator watches.
//! - [`trace`]: spans of what is done for a caller.
//! - [`traffic`]: how much of the host one caller may have.
//! - [`uses`]: when connections were last used.
//! - [`underway`]: which calls a host that stops waits for.
//! - [`room`]: how much of a disk must stay free.
//! - [`pause`]: how long to wait before something is tried again.
//! - [`error`], [`origin`], [`secret`], [`digest`], [`text`]: the words that every part shares.

pub mod approve;
pub mod apps;
pub mod audit;
pub mod backup;
pub mod build;
pub mod call;
pub mod callers;
pub mod check;
pub mod cli;
pub mod connect;
pub mod consent;
pub mod credential;
pub mod digest;
pub mod egress;
pub mod error;
pub mod gateway;
pub mod host;
pub mod manifest;
mod metrics;
pub mod once;
pub mod origin;
pub mod outbox;
mod pause;
mod room;
pub mod runtime;
pub mod secret;
pub mod server;
pub mod settings;
pub mod simulate;
pub mod store;
mod survey;
mod sync;
#[cfg(test)]
mod testing;
pub mod text;
mod trace;
pub mod traffic;
pub mod transport;
mod underway;
mod uses;
pub mod webhooks;

pub use error::{Error, Kind, Result};
pub use host::Host;
