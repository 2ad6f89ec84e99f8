//! Attaché: a runtime host for connectors that never hold a secret.
pub mod error;
pub mod origin;
pub mod secret;

pub mod audit;
pub mod build;
pub mod manifest;
pub mod store;
pub mod transport;
