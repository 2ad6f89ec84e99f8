//! Which headers cross the border. The host writes what frames a message, what names the other end and what carries a
//! credential; the guest writes the rest.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Kind, Result};

/// Request headers that only the host may set, with the reason (RFC 9110, RFC 9112, RFC 7239).
const HOST_OWNED: &[(&str, &str)] = &[
    ("host", "it follows from the URL"),
    ("content-length", "it follows from the body"),
    ("transfer-encoding", "it frames the message"),
    ("connection", "it is between the host and the next hop"),
    ("keep-alive", "it is between the host and the next hop"),
    ("proxy-connection", "it is between the host and the next hop"),
    ("te", "it is between the host and the next hop"),
    ("trailer", "it frames the message"),
    ("upgrade", "the connection stays HTTP"),
    ("http2-settings", "the connection stays what was negotiated"),
    ("expect", "the host sends the body at once"),
    // An answer in a coding that the host does not undo could carry a credential past the scrubbing.
    ("accept-encoding", "the host negotiates it and undoes it"),
    ("authorization", "the host attaches credentials"),
    ("proxy-authorization", "the host attaches credentials"),
    ("forwarded", "it says who is asking, which is the host's to say"),
    ("x-forwarded-for", "it says who is asking, which is the host's to say"),
    ("x-forwarded-host", "it says who is asking, which is the host's to say"),
    ("x-forwarded-proto", "it says who is asking, which is the host's to say"),
];

/// Response headers that belong to the hop, or to a coding that was undone, and mean nothing to the guest.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "alt-svc",
];

/// Makes the header section of a request of what the guest wrote.
///
/// # Errors
/// `invalid-input` for what is not a header, `denied` for one that is the host's.
pub fn from_guest(fields: &[(String, String)]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len() + 4);
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Kind::InvalidInput.error("A header's name holds a character that no header name may hold."))?;
        if let Some(refused) = refused(&name) {
            return Err(refused);
        }
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            Kind::InvalidInput
                .error(format!("The value of the header `{name}` holds a line break or another control character."))
        })?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Why the guest, or an attachment whose name a person chose, may not write this header.
pub fn refused(name: &HeaderName) -> Option<Error> {
    HOST_OWNED.iter().find(|(owned, _)| *owned == name.as_str()).map(|(name, reason)| {
        Kind::Denied
            .error(format!("The header `{name}` is the host's to set: {reason}."))
            .hint("Leave it out; the connector's auth option says what is attached.")
    })
}

/// What the guest sees of an answer's header section.
pub fn for_guest(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<HeaderMap> {
        from_guest(&[(name.into(), value.into())])
    }

    #[test]
    fn the_guest_sets_no_header_that_frames_names_or_authenticates() {
        for (name, _) in HOST_OWNED {
            for spelling in [name.to_string(), name.to_uppercase()] {
                assert_eq!(one(&spelling, "x").unwrap_err().kind(), Kind::Denied, "{spelling}");
            }
        }
    }

    #[test]
    fn a_header_cannot_be_broken_out_of() {
        for value in ["a\r\nHost: evil", "a\nb", "a\rb", "a\0b"] {
            assert_eq!(one("X-A", value).unwrap_err().kind(), Kind::InvalidInput, "{value:?}");
        }
        for name in ["X A", "X:", "", "X\r\nHost", "Host ", " Host"] {
            assert_eq!(one(name, "x").unwrap_err().kind(), Kind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn repeated_headers_stay_in_order() {
        let headers = from_guest(&[("A".into(), "1".into()), ("a".into(), "2".into())]).unwrap();
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
