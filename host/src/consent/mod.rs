//! Who agreed to what: the operator's approvals of connectors, the account owners' consents, and the connections that
//! they stand for. It answers one question for the way of a call: may this connection be used now, and for what?
//!
//! It may call `outbox`, `manifest`, `egress` (to say what a connection may reach), `credential` and `transport` (to sign in) and
//! `store`. What must never happen here: a call
//! allowed that nobody agreed to; agreement widened without somebody being shown the difference.

mod access;
mod answer;
pub mod app;
mod book;
mod callback;
mod elsewhere;
pub mod oauth2;
mod records;
mod refusal;
mod sending;
mod sign_in;
mod source;
mod step;
mod terms;
mod turn;
mod twice;
mod visit;

pub(crate) use access::sign_in_urls;
pub use access::{access, agreed, audience, resolve, sign_in_origins, standing, typed};
pub use app::App;
pub(crate) use book::LAST_USED;
pub use book::{Book, proper_name};
pub use callback::CameBack;
pub(crate) use callback::{misled, part_below};
pub(crate) use elsewhere::{Brought, Elsewhere, Errand, ForDevice, Fruitless, SentAway, StateIn, misunderstood};
pub use oauth2::{Authorization, Discovered};
pub(crate) use oauth2::{discover, is_discovered};
pub use records::{
    AgreedGateway, Approval, Captured, Connection, Consent, Credential, Drafted, Environment, Isolation, Pending,
    SealedBox, SealedCaptured, SealedText, now,
};
pub use sending::Sending;
pub(crate) use sending::{FOLDER as LEAVING, Leaving};
pub(crate) use sign_in::{Kept, SignIn, with_captured};
pub(crate) use source::Source;
pub(crate) use step::{Failure, Way};
pub use terms::{Difference, Terms};
pub use turn::Turns;
pub(crate) use turn::{Ending, Turn};
pub(crate) use visit::{Departed, Visiting};
