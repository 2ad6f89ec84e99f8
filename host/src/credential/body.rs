//! A member of a JSON body, found by JSON Pointer (RFC 6901), or a field of a form. All other text of the body stays as it
//! was, byte by byte: numbers keep their digits, and members their order.
//!
//! The request's `Content-Type` decides which it is. A request without content gets a JSON object, unless its
//! `Content-Type` says that it is a form; one whose method has no content (GET, HEAD) cannot carry the credential.

use std::fmt;

use http::{
    HeaderValue, Method,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{Attached, Existing, Filler, Landing, Template, does_not_fit, form_encoded, header::written_by_guest};
use crate::{
    error::{Error, Kind, Result},
    manifest::{pointer::Pointer, template::JsonKind},
    secret::Secret,
    text,
    transport::Outgoing,
};

/// What is attached: the value, and where in the body.
pub(super) struct Member<'a> {
    pub(super) at: &'a Pointer,
    pub(super) value: &'a Template,
    pub(super) kind: JsonKind,
}

pub(super) fn attach(
    member: &Member<'_>,
    filler: &Filler<'_>,
    existing: Existing,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    let Some(value) = filler.fill(member.value, Landing::Plain, request)? else { return Ok(()) };
    let format = format(request)?;
    let body = match format {
        Format::Form => with_field(&request.body, field(member.at)?, value.bytes(), existing)?,
        Format::Json => {
            let body = std::str::from_utf8(&request.body).map_err(|_| not_json())?;
            let body = if body.is_empty() { "{}" } else { body };
            let written =
                member.kind.write(&value, member.value).map_err(|error| does_not_fit(member.value, &error))?;
            let written = std::str::from_utf8(&written).map_err(|_| not_json())?;
            Place { pointer: member.at, existing }.put(body, member.at.tokens(), written)?
        }
    };
    request.body = body.as_bytes().to_vec().into();
    attached.note_written(format!("body {}", member.at), value.into_secrets(), |secret| match format {
        Format::Form => form_encoded(secret),
        Format::Json => json_escaped(secret),
    });
    Ok(())
}

/// As a JSON string has a value, without its quotes; what is no text stands in none.
fn json_escaped(value: &[u8]) -> Secret {
    let quoted = std::str::from_utf8(value).ok().and_then(|text| serde_json::to_vec(text).ok()).map(Zeroizing::new);
    Secret::new(quoted.map_or_else(|| value.to_vec(), |quoted| quoted[1..quoted.len() - 1].to_vec()))
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Form,
}

/// What the body is, by its `Content-Type`; one that has none yet becomes JSON.
fn format(request: &mut Outgoing) -> Result<Format> {
    let is_empty = request.body.is_empty();
    if is_empty && matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Kind::Denied
            .error(format!("The credential goes into the body, and a {} request has none.", request.method))
            .hint("The connector must send this request with another method, or with `credential: omit`."));
    }
    let types: Vec<&HeaderValue> = request.headers.get_all(CONTENT_TYPE).iter().collect();
    let essence = match types.as_slice() {
        [] if is_empty => {
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(Format::Json);
        }
        [only] => only.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
        _ => String::new(),
    };
    let is_plain = !request.headers.contains_key(CONTENT_ENCODING);
    match essence.as_str() {
        "application/x-www-form-urlencoded" if is_plain => Ok(Format::Form),
        "application/json" | "text/json" if is_plain => Ok(Format::Json),
        other if other.ends_with("+json") && is_plain => Ok(Format::Json),
        _ => Err(Kind::Denied
            .error("The credential goes into the body, and this body is neither JSON nor a form.")
            .hint("The connector must send it with one `Content-Type`, `application/json` or `application/x-www-form-urlencoded`, and without `Content-Encoding`.")),
    }
}

fn field(pointer: &Pointer) -> Result<&str> {
    match pointer.tokens() {
        [name] => Ok(name),
        _ => Err(Kind::Denied
            .error(format!("The credential goes to `{pointer}` of the body, and a form has only fields."))
            .hint("The connector must send JSON.")),
    }
}

fn with_field(form: &[u8], name: &str, value: &[u8], existing: Existing) -> Result<Zeroizing<String>> {
    let form = std::str::from_utf8(form).map_err(|_| Kind::InvalidInput.error("The request's form is not text."))?;
    let is_it = |pair: &str| form_urlencoded::parse(pair.as_bytes()).any(|(other, _)| other == name);
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    if existing == Existing::Refuse && pairs.clone().any(is_it) {
        return Err(written_by_guest("form field", &text::foreign(name, 64)));
    }
    let mut filled = Zeroizing::new(String::with_capacity(form.len() + 3 * (name.len() + value.len()) + 2));
    for pair in pairs.filter(|pair| !is_it(pair)) {
        filled.push_str(pair);
        filled.push('&');
    }
    filled.extend(form_urlencoded::byte_serialize(name.as_bytes()));
    filled.push('=');
    filled.extend(form_urlencoded::byte_serialize(value));
    Ok(filled)
}

/// Where a value goes, for the messages.
struct Place<'a> {
    pointer: &'a Pointer,
    existing: Existing,
}

impl Place<'_> {
    /// The JSON text with the value put where the names lead. Objects on the way that are missing are made; so is an array
    /// where `-` says that something is appended to one. Elements of an array must exist.
    fn put(&self, json: &str, names: &[String], value: &str) -> Result<Zeroizing<String>> {
        let Some((name, rest)) = names.split_first() else { return Ok(Zeroizing::new(value.to_owned())) };
        match json.trim_start().chars().next() {
            Some('{') => self.put_in_object(json, name, rest, value),
            Some('[') => self.put_in_array(json, name, rest, value),
            _ => Err(self.no_way("what is on the way to it is neither an object nor an array")),
        }
    }

    fn put_in_object(&self, json: &str, name: &str, rest: &[String], value: &str) -> Result<Zeroizing<String>> {
        let Members(members) = serde_json::from_str(json).map_err(|_| not_json())?;
        let same = members.iter().filter(|(other, _)| other == name).count();
        // Which of the two the service would take is anybody's guess.
        if same > 1 {
            return Err(self.no_way("there are two members of that name"));
        }
        if same == 1 && rest.is_empty() && self.existing == Existing::Refuse {
            return Err(written_by_guest("member of the body", &text::foreign(&self.pointer.to_string(), 100)));
        }
        let mut pieces = Vec::with_capacity(members.len() + 1);
        for (other, member) in &members {
            let member = if other == name {
                self.put(member.get(), rest, value)?
            } else {
                Zeroizing::new(member.get().to_owned())
            };
            pieces.push(Zeroizing::new(format!("{}:{}", quoted(other), *member)));
        }
        if same == 0 {
            pieces.push(Zeroizing::new(format!("{}:{}", quoted(name), *made(rest, value))));
        }
        Ok(joined('{', &pieces, '}'))
    }

    fn put_in_array(&self, json: &str, name: &str, rest: &[String], value: &str) -> Result<Zeroizing<String>> {
        let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| not_json())?;
        let mut pieces: Vec<_> = elements.iter().map(|element| Zeroizing::new(element.get().to_owned())).collect();
        if name == "-" {
            pieces.push(made(rest, value));
            return Ok(joined('[', &pieces, ']'));
        }
        // RFC 6901 section 4: digits, without a leading zero.
        let is_index = name == "0" || (!name.starts_with('0') && name.chars().all(|c| c.is_ascii_digit()));
        let at = name.parse::<usize>().ok().filter(|at| is_index && *at < elements.len());
        let Some(at) = at else { return Err(self.no_way("an array on the way to it has no such element")) };
        if rest.is_empty() && self.existing == Existing::Refuse {
            return Err(written_by_guest("member of the body", &text::foreign(&self.pointer.to_string(), 100)));
        }
        pieces[at] = self.put(elements[at].get(), rest, value)?;
        Ok(joined('[', &pieces, ']'))
    }

    fn no_way(&self, why: &str) -> Error {
        let place = text::foreign(&self.pointer.to_string(), 100);
        Kind::InvalidInput.error(format!("The credential goes to `{place}` of the body, but {why}."))
    }
}

/// What the names lead to, where nothing of it is there yet.
fn made(names: &[String], value: &str) -> Zeroizing<String> {
    names.iter().rev().fold(Zeroizing::new(value.to_owned()), |inner, name| {
        Zeroizing::new(match name.as_str() {
            "-" => format!("[{}]", *inner),
            name => format!("{{{}:{}}}", quoted(name), *inner),
        })
    })
}

fn joined(open: char, pieces: &[Zeroizing<String>], close: char) -> Zeroizing<String> {
    let length = pieces.iter().map(|piece| piece.len() + 1).sum::<usize>() + 2;
    let mut whole = Zeroizing::new(String::with_capacity(length));
    whole.push(open);
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            whole.push(',');
        }
        whole.push_str(piece);
    }
    whole.push(close);
    whole
}

fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

fn not_json() -> Error {
    Kind::InvalidInput.error(
        "The request's body is not the JSON that its `Content-Type` promises, so the credential has no place in it.",
    )
}

/// The members of an object as they were written, doubles too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        from.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests;
