//! Who agreed to what: the operator's approvals of connectors, the account owners' consents, and the connections that
//! they stand for. It answers one question for the way of a call: may this connection be used now, and for what?
//!
//! It may call `manifest`, `egress` (to say what a connection may reach) and `store`. What must never happen here: a call
//! allowed that nobody agreed to; agreement widened without somebody being shown the difference.

mod access;
mod book;
mod records;
mod terms;

pub use access::{access, resolve, standing};
pub use book::{Book, proper_name};
pub use records::{Approval, Connection, Consent, Credential, Environment, Isolation, now};
pub use terms::{Difference, Terms};
