//! The template language: text with values in it that the host fills in, never the connector. The grammar stands in
//! `wit/connector.wit` above `type template`, and nowhere else in full; here is what a maintainer must know beside it.
//!
//! A template is alternatives, an alternative is literal text and values, and a value is a name or a function of values.
//! `{user} || {base64(id, ":", key)}` has two alternatives; the second has one value, a function of two names and a string.
//!
//! - `parse`: a template is parsed once, when the connector is added. Functions, algorithms and formats are looked up then,
//!   so a value can never choose one. Whether its names exist and whether they may be secret is for `manifest::check` to
//!   decide, by [`Template::uses`].
//! - `fill`: an alternative of which a name has no value does not apply, whatever else is wrong with it, and no alternative
//!   at all gives `None`. An empty value is a value. What one filling may read and make is bounded, since functions in
//!   functions multiply.
//! - `landing`: where the text lands decides how each *value* is written; the literal text around it stays as the author
//!   wrote it. So a value can never end the place that it stands in, and the tests here say so for every landing and any
//!   value. Bytes that are no text (a hash, a signature) stand only in `Plain`.
//! - `value`: secrecy travels along. Whatever was computed from a secret is one, a hash and a signature too, and a value
//!   tells every secret that it was made of, so that the egress can take each of them out of an answer.
//! - `json`: a JSON text with templates in its strings, filled after it was parsed.
//! - `function`, `key`: what functions compute, by their standards, with aws-lc.
//!
//! Hosts are another matter: there nothing is escaped, only refused. See [`super::audience`].

mod fill;
mod function;
mod json;
mod key;
mod landing;
mod parse;
#[cfg(test)]
pub(in crate::manifest) mod testing;
mod value;

#[cfg(test)]
mod tests;

pub use fill::{FillError, Moment, Scope};
pub use json::{JsonKind, JsonTemplate, JsonTemplateError};
pub use landing::Landing;
pub use parse::{ParseError, Template, Use};
pub use value::Value;

pub(super) use fill::Filling;
pub(super) use key::ed25519;
pub(crate) use key::from_pem;
#[cfg(test)]
pub(super) use key::public_half;
pub(super) use parse::{Expression, Part, names_in};
