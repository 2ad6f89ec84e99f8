//! A header whose value is a template.

use http::{HeaderName, HeaderValue};

use super::{Attached, Existing, Filler, Landing, Template};
use crate::{
    error::{Error, Kind, Result},
    transport::Outgoing,
};

/// Headers that frame a message or name its other end. No attachment writes them, whatever name a person chose.
const FRAMING: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "accept-encoding"];

pub(super) fn attach(
    name: &Template,
    value: &Template,
    filler: &Filler<'_>,
    existing: Existing,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    let Some(value) = filler.fill(value, Landing::Header, request)? else { return Ok(()) };
    let name = filler.require(name, Landing::HeaderName, request)?;
    let name = HeaderName::from_bytes(name.bytes())
        .map_err(|_| Kind::ReconnectNeeded.error("The header to attach has no valid name."))?;
    if FRAMING.contains(&name.as_str()) {
        return Err(Kind::Denied.error(format!("A credential cannot go into the header `{name}`.")));
    }
    if existing == Existing::Refuse && request.headers.contains_key(&name) {
        return Err(written_by_guest("header", name.as_str()));
    }
    put(request, name.clone(), value.bytes())?;
    attached.note(format!("header {name}"), value.into_secrets());
    Ok(())
}

/// Writes a header that no log may show.
pub(super) fn put(request: &mut Outgoing, name: HeaderName, value: &[u8]) -> Result<()> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| {
        Kind::ReconnectNeeded.error(format!("The value for the header `{name}` holds a control character."))
    })?;
    value.set_sensitive(true);
    request.headers.insert(name, value);
    Ok(())
}

/// The refusal for what the host was about to write.
pub(super) fn written_by_guest(what: &str, name: &str) -> Error {
    Kind::Denied
        .error(format!("The connector wrote the {what} `{name}`, which the host attaches."))
        .hint("Leave it out of the request; it is put on as the request leaves.")
}
