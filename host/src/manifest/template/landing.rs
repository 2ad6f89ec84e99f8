//! Where a filled text lands, and how a value is written there so that it cannot end the place it stands in.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use url::form_urlencoded;
use zeroize::Zeroizing;

/// RFC 3986's unreserved characters stay.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the text lands, which decides how values in it are written. What surrounds them is the author's, and stays as it
/// is: in `Query` and `Form` it is the syntax (`a={x}&b={y}`). Where a whole template is one value that somebody else
/// encodes (the value of a query parameter, of a form's field, of a JSON member), it lands `Plain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// As it is, and any bytes: a key, a user name, a value that somebody else encodes.
    Plain,
    /// A header's value (RFC 9110 section 5.5): no control character but the tab. Other text than ASCII goes as UTF-8, which
    /// is the standard's obs-text.
    Header,
    /// A header's name, which is a token (RFC 9110 section 5.6.2).
    HeaderName,
    /// A path, where a value is a segment or a part of one: percent-encoded, never empty, and no dot segment comes of it.
    PathSegment,
    /// A query, where a value is a component: percent-encoded.
    Query,
    /// An `application/x-www-form-urlencoded` text (WHATWG URL section 5.2).
    Form,
    /// JSON text, where a value stands inside a string (RFC 8259 section 7).
    Json,
    /// XML text, where a value stands between tags or in a quoted attribute (XML 1.0 section 2.4).
    Xml,
}

impl Landing {
    /// For messages: `in …`.
    pub fn place(self) -> &'static str {
        match self {
            Landing::Plain => "plain text",
            Landing::Header => "a header",
            Landing::HeaderName => "a header's name",
            Landing::PathSegment => "a path",
            Landing::Query => "a query",
            Landing::Form => "a form",
            Landing::Json => "JSON",
            Landing::Xml => "XML",
        }
    }

    /// The value as it is written here, or why it cannot stand here.
    pub(super) fn write(self, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        if self == Landing::Plain {
            return Ok(Zeroizing::new(value.to_vec()));
        }
        let text = std::str::from_utf8(value).map_err(|_| "it is not text (`hex` and `base64` make text of bytes)")?;
        let written = match self {
            Landing::Plain | Landing::Header | Landing::HeaderName => Zeroizing::new(value.to_vec()),
            Landing::PathSegment if text.is_empty() => return Err("it is empty"),
            Landing::PathSegment | Landing::Query => joined(|| percent_encode(value, &UNRESERVED)),
            Landing::Form => joined(|| form_urlencoded::byte_serialize(value)),
            Landing::Json => json_escaped(text)?,
            Landing::Xml => xml_escaped(text)?,
        };
        self.check(&written)?;
        Ok(written)
    }

    /// Whether the whole text may stand here. Two values, or a value and what surrounds it, can make together what each of
    /// them alone does not.
    pub(super) fn check(self, text: &[u8]) -> Result<(), &'static str> {
        match self {
            Landing::Header if text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') => {
                Err("it holds a line break or another control character")
            }
            Landing::HeaderName if text.is_empty() || !text.iter().all(|byte| is_token_char(*byte)) => {
                Err("it is no token: letters, digits and !#$%&'*+-.^_`|~")
            }
            // Parsers take `%2e` for a dot, and servers `%2f` for a slash, so encoding alone would not keep it from climbing.
            Landing::PathSegment
                if Zeroizing::new(percent_decode(text).collect::<Vec<u8>>())
                    .split(|byte| matches!(byte, b'/' | b'\\'))
                    .any(|segment| matches!(segment, b"." | b"..")) =>
            {
                Err("it has a dot segment")
            }
            _ => Ok(()),
        }
    }
}

fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Joins the pieces in memory that is taken once, so that growing leaves no copy behind that nobody wipes.
fn joined<'a, I: Iterator<Item = &'a str>>(pieces: impl Fn() -> I) -> Zeroizing<Vec<u8>> {
    let mut whole = Zeroizing::new(Vec::with_capacity(pieces().map(str::len).sum()));
    pieces().for_each(|piece| whole.extend_from_slice(piece.as_bytes()));
    whole
}

fn json_escaped(text: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    // A character takes six bytes at most, as \u001f.
    let mut quoted = Zeroizing::new(Vec::with_capacity(6 * text.len() + 2));
    serde_json::to_writer(&mut *quoted, text).map_err(|_| "it cannot be escaped")?;
    quoted.pop();
    quoted.remove(0);
    Ok(quoted)
}

fn xml_escaped(text: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    // The longest is `&quot;`.
    let mut escaped = Zeroizing::new(Vec::with_capacity(6 * text.len()));
    for c in text.chars() {
        match c {
            '&' => escaped.extend_from_slice(b"&amp;"),
            '<' => escaped.extend_from_slice(b"&lt;"),
            '>' => escaped.extend_from_slice(b"&gt;"),
            '"' => escaped.extend_from_slice(b"&quot;"),
            '\'' => escaped.extend_from_slice(b"&apos;"),
            // As themselves they would come out of an attribute as spaces, and of a text as one kind of line break.
            '\t' => escaped.extend_from_slice(b"&#9;"),
            '\n' => escaped.extend_from_slice(b"&#10;"),
            '\r' => escaped.extend_from_slice(b"&#13;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => return Err("it holds a character that XML has not"),
            other => escaped.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(landing: Landing, value: &[u8]) -> Result<String, &'static str> {
        landing.write(value).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_value_is_written_as_its_place_asks() {
        for (landing, value, expected) in [
            (Landing::Header, "grün\tx", "grün\tx"),
            (Landing::HeaderName, "X-Api-Key", "X-Api-Key"),
            (Landing::PathSegment, "a b/ü%2e?#~", "a%20b%2F%C3%BC%252e%3F%23~"),
            (Landing::PathSegment, "...", "..."),
            (Landing::Query, "a b&c=d+~", "a%20b%26c%3Dd%2B~"),
            (Landing::Query, "", ""),
            (Landing::Form, "a b&c=d+~*", "a+b%26c%3Dd%2B%7E*"),
            (Landing::Json, "a\"\\\n\u{1}ü", "a\\\"\\\\\\n\\u0001ü"),
            (Landing::Xml, "<a b='\"'>&\r\n", "&lt;a b=&apos;&quot;&apos;&gt;&amp;&#13;&#10;"),
        ] {
            assert_eq!(written(landing, value.as_bytes()).as_deref(), Ok(expected), "{landing:?}");
        }
        assert_eq!(Landing::Plain.write(&[0, 0xff]).unwrap().as_slice(), [0, 0xff]);
    }

    #[test]
    fn what_cannot_stand_there_is_refused() {
        for (landing, value) in [
            (Landing::Header, b"a\r\nb".as_slice()),
            (Landing::Header, b"a\0"),
            (Landing::Header, b"\x7f"),
            (Landing::Header, b"\xff"),
            (Landing::HeaderName, b""),
            (Landing::HeaderName, b"a b"),
            (Landing::HeaderName, b"a:"),
            (Landing::HeaderName, "ü".as_bytes()),
            (Landing::PathSegment, b""),
            (Landing::PathSegment, b"."),
            (Landing::PathSegment, b".."),
            (Landing::PathSegment, b"a/../b"),
            (Landing::PathSegment, b"..\\b"),
            (Landing::PathSegment, b"\xff"),
            (Landing::Query, b"\xff"),
            (Landing::Form, b"\xff"),
            (Landing::Json, b"\xff"),
            (Landing::Xml, b"\x01"),
            (Landing::Xml, "\u{ffff}".as_bytes()),
        ] {
            assert!(landing.write(value).is_err(), "{landing:?} {value:?}");
        }
        assert!(Landing::PathSegment.check(b"/a/%2E%2e/b").is_err());
    }
}
