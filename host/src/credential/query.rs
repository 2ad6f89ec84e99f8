//! A query parameter whose value is a template.

use super::{Attached, Existing, Filler, Landing, Template, form_encoded, header::written_by_guest};
use crate::{
    error::{Kind, Result},
    transport::Outgoing,
};

pub(super) fn attach(
    name: &Template,
    value: &Template,
    filler: &Filler<'_>,
    existing: Existing,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    // The URL parser writes the pair, percent-encoded as a whole, so the template lands as it is.
    let Some(value) = filler.fill(value, Landing::Plain, request)? else { return Ok(()) };
    let name = filler.require(name, Landing::Plain, request)?;
    let not_text = |_| Kind::ReconnectNeeded.error("A query parameter to attach is not text.");
    let name = std::str::from_utf8(name.bytes()).map_err(not_text)?;
    let text = std::str::from_utf8(value.bytes()).map_err(not_text)?;
    let others: Vec<(String, String)> = request
        .url
        .query_pairs()
        .filter(|(other, _)| other != name)
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    let stood_there = others.len() != request.url.query_pairs().count();
    if stood_there && existing == Existing::Refuse {
        return Err(written_by_guest("query parameter", name));
    }
    if stood_there {
        request.url.query_pairs_mut().clear().extend_pairs(others);
    }
    request.url.query_pairs_mut().append_pair(name, text);
    attached.note_written(format!("query {name}"), value.clone().into_secrets(), form_encoded);
    Ok(())
}
