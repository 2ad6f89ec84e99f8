//! What a service answered to a call of a sign-in, read as the contract says: JSON as it is, forms and XML as objects.

use http::{HeaderMap, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::twice;
use crate::{manifest::declared::CaptureFrom, secret::Secret, transport::Incoming};

/// An answer that values are taken from.
pub(super) struct Answer {
    headers: HeaderMap,
    content: Value,
    twice: bool,
}

impl Answer {
    /// Reads an answer. What is neither JSON, a form nor XML is one text.
    pub(super) fn read(answer: Incoming) -> Self {
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let text = String::from_utf8_lossy(&answer.body);
        let (content, twice) = match kind.as_str() {
            "application/x-www-form-urlencoded" => (form(&text), twice::in_form(&text)),
            // An element that is there again is one of a list.
            kind if kind.ends_with("/xml") || kind.ends_with("+xml") => (xml(&text), false),
            // Many services that answer with JSON call it something else.
            _ => (serde_json::from_str(&text).ok(), twice::in_json(&text)),
        };
        let content = content.unwrap_or_else(|| Value::from(text.into_owned()));
        Self { headers: answer.headers, content, twice }
    }

    /// Whether it has a member twice: the last was taken, and another reader may take the first.
    pub(super) fn says_twice(&self) -> bool {
        self.twice
    }

    /// Its headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// All of it.
    pub(super) fn content(&self) -> &Value {
        &self.content
    }

    /// The value there, if there is one.
    pub(super) fn find(&self, at: &CaptureFrom) -> Option<Secret> {
        match at {
            CaptureFrom::Answer(pointer) => match self.content.pointer(pointer)? {
                Value::String(text) => Some(Secret::new(text.as_str())),
                Value::Number(number) => Some(Secret::new(number.to_string())),
                Value::Bool(yes) => Some(Secret::new(yes.to_string())),
                Value::Null => None,
                // The whole of an answer may be kept, however it is made up.
                whole if pointer.is_empty() => Some(Secret::new(whole.to_string())),
                Value::Array(_) | Value::Object(_) => None,
            },
            CaptureFrom::Header(name) => self.headers.get(name).map(|value| Secret::new(value.as_bytes())),
            CaptureFrom::Cookies => self.cookies(),
            CaptureFrom::Callback(_) => None,
        }
    }

    /// All cookies that were set, as one `Cookie` value (RFC 6265 section 4.2.1); of one name the last counts.
    fn cookies(&self) -> Option<Secret> {
        let mut cookies: Vec<(&str, &str)> = Vec::new();
        for set in self.headers.get_all("set-cookie").iter().filter_map(|set| set.to_str().ok()) {
            let Some((name, value)) = set.split(';').next().and_then(|pair| pair.split_once('=')) else { continue };
            cookies.retain(|(known, _)| *known != name.trim());
            cookies.push((name.trim(), value.trim()));
        }
        let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| Secret::new(pairs.join("; ")))
    }
}

fn form(text: &str) -> Option<Value> {
    let fields = url::form_urlencoded::parse(text.as_bytes());
    Some(Value::Object(fields.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect()))
}

/// How deep XML may be nested; serde_json reads JSON no deeper. Each level takes some of the host's own stack.
const DEEPEST: usize = 128;

/// The root's children by their local names; an attribute is `@name`, a repeated element a list, an element of text its text.
fn xml(text: &str) -> Option<Value> {
    fn value(node: roxmltree::Node<'_, '_>, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        let mut members = Map::new();
        for attribute in node.attributes() {
            members.insert(format!("@{}", attribute.name()), attribute.value().into());
        }
        for child in node.children().filter(|child| child.is_element()) {
            let (name, child) = (child.tag_name().name(), value(child, depth + 1)?);
            match members.get_mut(name) {
                None => drop(members.insert(name.to_owned(), child)),
                Some(Value::Array(list)) => list.push(child),
                Some(first) => *first = Value::Array(vec![first.take(), child]),
            }
        }
        let text: String = node.children().filter_map(|child| child.text().filter(|_| child.is_text())).collect();
        Some(if members.is_empty() { text.trim().into() } else { members.into() })
    }
    // Without entities of the document's own, which could grow without end.
    let document = roxmltree::Document::parse_with_options(
        text,
        roxmltree::ParsingOptions { allow_dtd: false, ..Default::default() },
    );
    let document = document.ok()?;
    let root = document.root_element();
    Some(Value::Object(Map::from_iter([(root.tag_name().name().to_owned(), value(root, 1)?)])))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, StatusCode};

    use super::*;

    fn answer(headers: &[(&str, &str)], body: &'static str) -> Answer {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        });
        let headers = headers.fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        });
        Answer::read(Incoming {
            status: StatusCode::OK,
            headers,
            body: Bytes::from_static(body.as_bytes()),
            place: None,
        })
    }

    fn at(answer: &Answer, pointer: &str) -> Option<String> {
        let found = answer.find(&CaptureFrom::Answer(pointer.into()))?;
        Some(String::from_utf8(found.expose().to_vec()).unwrap())
    }

    #[test]
    fn json_forms_xml_and_plain_texts_are_read() {
        let json =
            answer(&[("content-type", "text/plain")], r#"{"a": {"token": "t", "in": 60, "no": null}, "b": [1]}"#);
        assert_eq!(at(&json, "/a/token").as_deref(), Some("t"));
        assert_eq!(at(&json, "/a/in").as_deref(), Some("60"));
        assert_eq!(at(&json, "/b/0").as_deref(), Some("1"));
        assert_eq!([at(&json, "/a/no"), at(&json, "/a"), at(&json, "/c")], [None, None, None]);
        let form = answer(&[("content-type", "application/x-www-form-urlencoded; charset=utf-8")], "token=a%20b&in=60");
        assert_eq!(at(&form, "/token").as_deref(), Some("a b"));
        let xml = answer(
            &[("content-type", "application/soap+xml")],
            "<s:Envelope xmlns:s='urn:s'><s:Body><id> 7&amp;8 </id><x n='1'/><x/></s:Body></s:Envelope>",
        );
        assert_eq!(at(&xml, "/Envelope/Body/id").as_deref(), Some("7&8"));
        assert_eq!(at(&xml, "/Envelope/Body/x/0/@n").as_deref(), Some("1"));
        assert_eq!(at(&answer(&[], "just-a-token"), "").as_deref(), Some("just-a-token"));
    }

    #[test]
    fn a_document_cannot_define_entities_that_grow() {
        let bomb = "<!DOCTYPE a [<!ENTITY b 'bbbbbbbbbb'><!ENTITY c '&b;&b;&b;'>]><a>&c;</a>";
        assert_eq!(at(&answer(&[("content-type", "text/xml")], bomb), "/a"), None);
    }

    #[test]
    fn a_document_that_is_nested_without_end_is_not_followed() {
        for levels in [DEEPEST, DEEPEST + 1, 100_000] {
            let body: &'static str = format!("{}x{}", "<a>".repeat(levels), "</a>".repeat(levels)).leak();
            let found = at(&answer(&[("content-type", "text/xml")], body), &"/a".repeat(levels));
            assert_eq!(found.is_some(), levels <= DEEPEST, "{levels}");
        }
    }

    #[test]
    fn cookies_are_joined_and_the_last_of_a_name_counts() {
        let answer =
            answer(&[("set-cookie", "a=1; Path=/; HttpOnly"), ("set-cookie", "b=2"), ("set-cookie", "a=3")], "");
        assert_eq!(answer.find(&CaptureFrom::Cookies).unwrap().expose(), b"b=2; a=3");
        assert!(answer.find(&CaptureFrom::Header("x-none".into())).is_none());
    }
}
