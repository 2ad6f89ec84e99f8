//! The template language: text with values in it that the host fills in, never the connector. The grammar stands in
//! `wit/connector.wit` above `type template`, and nowhere else in full; here is what a maintainer must know beside it.
//!
//! - A template is parsed once, when the connector is added. Whether its names exist and whether they may be secret is for
//!   `manifest::check` to decide, by [`Template::names`].
//! - Filling is total: a name without a value makes the alternative not apply, and no alternative at all gives `None`.
//! - Where the text lands decides how each *value* is written ([`Landing`]); the literal text around it stays as the
//!   author wrote it. So a value can never end the place that it stands in.
//! - Secrecy travels along: whatever was computed from a secret is one.

mod fill;
mod function;
mod parse;
mod value;

pub use fill::{FillError, Landing, Moment, Scope};
pub use parse::{ParseError, Template};
pub use value::Value;

pub(super) use parse::{Expression, Part};
