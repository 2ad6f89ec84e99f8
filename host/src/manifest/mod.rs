//! manifest
pub mod template;
