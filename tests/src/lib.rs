//! What the stories are told with: the command line in a folder of its own, real services on free ports of loopback, and a
//! search for secrets that proves it can find them.

#![allow(clippy::print_stderr)]

pub mod at_once;
mod attache;
pub mod authority;
mod browser;
pub mod canary;
mod embedded;
pub mod fuzz;
pub mod line;
pub mod mcp;
pub mod measure;
pub mod memory;
pub mod peers;
pub mod service;
pub mod simulate;
pub mod traced;
pub mod world;

pub use crate::{
    attache::{Attache, Outcome, Running, connector},
    browser::{Browser, Page},
    canary::Canary,
    embedded::{CALLBACK, Embedded, came},
};
