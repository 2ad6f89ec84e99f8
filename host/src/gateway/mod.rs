//! Services inside a private network, reached through an agent there that only dials out. The agent (the gateway) holds a key
//! that nobody else has; the credential of its connections is sealed to that key where it is typed, so that the host, which
//! relays their calls, cannot read it. What the gateway gets by signing in is sealed to the same key before it goes back: the host
//! keeps it, and says when it is renewed.
//!
//! Both ends have an Ed25519 key of their own. What the agent dials is an HTTP connection that is upgraded to a channel: TLS 1.3
//! in which both show these keys (RFC 7250), each knowing beforehand which to expect. In the channel the roles turn round: the
//! host sends HTTP/2 requests, and the agent answers them.
//!
//! | file | one thought |
//! |---|---|
//! | `key` | who the two ends are, and what boxes are sealed to |
//! | `channel` | a connection on which both ends have proved who they are |
//! | `sealed` | a credential in a box, and the terms that it is bound to |
//! | `wire` | what is said in the channel |
//! | `code` | what an operator hands over so that a gateway may join |
//! | `members` | which gateways have joined |
//! | `rotation` | another key for a gateway, and everything sealed to it anew |
//! | `relay` | the host's side: which are connected, and sending through them |
//! | `line` | one connected gateway |
//! | `door` | who comes in: to join, or to be asked |
//! | `agent` | the gateway itself |
//!
//! The host's side may call `store`, `audit` and `consent`'s records; the agent's side may call `egress`'s judgement and
//! scrubbing, `credential`, `transport` and `audit`. What must never happen here: a secret of a gateway's connection in the
//! host's memory; a box opened under other terms than those it was sealed with; a request to what the gateway's own list does
//! not name; something relayed for an end that has not proved who it is.

pub mod agent;
mod channel;
mod code;
mod door;
mod key;
mod line;
mod members;
mod relay;
mod rotation;
mod sealed;
mod wire;

pub(crate) use door::Door;
pub use key::{Identity, SealingKey};
pub use members::{CODE_LASTS, Gateway, Invited, Member};
pub(crate) use members::{CODES, CONTACTS, GATEWAYS, Invitation};
pub(crate) use relay::{Relay, Relayed};
pub use sealed::{AppTerms, NamedApp, Terms};
pub(crate) use sealed::{Meant, Wanted, seal, seal_app};

/// What an HTTP connection is upgraded to (RFC 9110, 7.8).
pub(crate) const PROTOCOL: &str = "attache-gateway";
/// Where the host takes gateways in, below its public URL.
pub(crate) const ROUTE: &str = "/v1/gateway";
