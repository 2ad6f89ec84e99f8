//! AWS Signature Version 4: "Signature Version 4 signing process" of the IAM user guide, and for S3 "Authenticating Requests:
//! Using the Authorization Header" of its API reference. The content is hashed, never `UNSIGNED-PAYLOAD`.

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use url::Url;
use zeroize::Zeroizing;

use super::{Attached, Existing, Filler, Landing, Template, authority, header};
use crate::{
    error::{Kind, Result},
    manifest::{Sigv4, template::Value},
    secret::Secret,
    transport::Outgoing,
};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// RFC 3986's unreserved characters stay, all others are encoded, as AWS's `UriEncode` has it.
const URI_ENCODE: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const URI_ENCODE_PATH: AsciiSet = URI_ENCODE.remove(b'/');

pub(super) fn attach(
    sigv4: &Sigv4,
    filler: &Filler<'_>,
    existing: Existing,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    for name in [AUTHORIZATION, DATE, SESSION_TOKEN, CONTENT_HASH] {
        if existing == Existing::Refuse && request.headers.contains_key(&name) {
            return Err(header::written_by_guest("header", name.as_str()));
        }
        request.headers.remove(name);
    }
    let key_id = word(&sigv4.access_key_id, filler, request)?;
    let service = word(&sigv4.service, filler, request)?;
    let region = word(&sigv4.region, filler, request)?;
    let secret = filler.require(&sigv4.secret_access_key, Landing::Plain, request)?;
    let rules = Rules::of(text(&service)?);
    spell_as_signed(&mut request.url);
    let date = filler.moment.basic_date();
    request.headers.insert(DATE, plain(&date)?);
    if rules.shows_content_hash {
        request.headers.insert(CONTENT_HASH, plain(&sha256(&request.body))?);
    }
    let session_token = match &sigv4.session_token {
        Some(token) => filler.fill(token, Landing::Header, request)?,
        None => None,
    };
    if let Some(token) = &session_token {
        header::put(request, SESSION_TOKEN, token.bytes())?;
    }
    let signer = Signer {
        key_id: text(&key_id)?,
        secret: secret.bytes(),
        scope: format!("{}/{}/{}/aws4_request", &date[..8], text(&region)?, text(&service)?),
        date: &date,
        rules,
    };
    let (authorization, signature) = signer.authorization(request, is_signed);
    header::put(request, AUTHORIZATION, authorization.as_bytes())?;
    if let Some(token) = session_token {
        attached.note(format!("header {SESSION_TOKEN}"), token.into_secrets());
    }
    attached.note(
        "header authorization (AWS Signature Version 4)".into(),
        [Secret::new(signature)].into_iter().chain([key_id, secret].into_iter().flat_map(Value::into_secrets)),
    );
    Ok(())
}

/// Headers that are sent as they stand here. What the transport or a proxy on the way writes cannot be signed, other than
/// the host.
fn is_signed(name: &str) -> bool {
    matches!(name, "host" | "content-type" | "content-md5" | "date" | "range") || name.starts_with("x-amz-")
}

/// In what services differ.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// The path is normalised and encoded once more than it is sent; S3's keys may be any text, and are signed as sent.
    rewrites_path: bool,
    /// The hash of the content is in a header too.
    shows_content_hash: bool,
}

impl Rules {
    fn of(service: &str) -> Self {
        let is_s3 = matches!(service, "s3" | "s3-outposts" | "s3-object-lambda" | "s3express");
        // Glacier wants it for uploads, OpenSearch Serverless always.
        Self { rewrites_path: !is_s3, shows_content_hash: is_s3 || matches!(service, "glacier" | "aoss") }
    }
}

struct Signer<'a> {
    key_id: &'a str,
    secret: &'a [u8],
    /// `20150830/us-east-1/iam/aws4_request`
    scope: String,
    /// `20150830T123600Z`
    date: &'a str,
    rules: Rules,
}

impl Signer<'_> {
    /// The `Authorization` header's value, and the signature in it.
    fn authorization(&self, request: &Outgoing, is_signed: impl Fn(&str) -> bool) -> (Zeroizing<String>, String) {
        let headers = canonical_headers(request, is_signed);
        let signature = self.signature(&self.string_to_sign(&self.canonical_request(request, &headers)));
        let (key_id, scope, names) = (self.key_id, &self.scope, signed_names(&headers));
        let value = format!("{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}");
        (Zeroizing::new(value), signature)
    }

    fn canonical_request(&self, request: &Outgoing, headers: &Headers) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::new());
        for line in [
            request.method.as_str(),
            &canonical_path(request.url.path(), self.rules),
            &canonical_query(request.url.query().unwrap_or_default()),
        ] {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        for (name, value) in headers {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        text.extend_from_slice(format!("\n{}\n{}", signed_names(headers), sha256(&request.body)).as_bytes());
        text
    }

    fn string_to_sign(&self, canonical_request: &[u8]) -> String {
        format!("{ALGORITHM}\n{}\n{}\n{}", self.date, self.scope, sha256(canonical_request))
    }

    fn signature(&self, string_to_sign: &str) -> String {
        let mut key = Zeroizing::new([b"AWS4", self.secret].concat());
        for piece in self.scope.split('/') {
            key = Zeroizing::new(hmac_sha256(&key, piece.as_bytes()));
        }
        hex::encode(hmac_sha256(&key, string_to_sign.as_bytes()))
    }
}

/// Lower-case names and their values, by name.
type Headers = BTreeMap<String, Vec<u8>>;

fn canonical_headers(request: &Outgoing, is_signed: impl Fn(&str) -> bool) -> Headers {
    let mut headers: Headers = request
        .headers
        .keys()
        .filter(|name| is_signed(name.as_str()))
        .map(|name| (name.as_str().to_owned(), canonical_value(&request.headers, name)))
        .collect();
    headers.insert("host".into(), authority(&request.url).into_bytes());
    headers
}

/// Several values with commas between, each without white space around it and with single spaces in it.
fn canonical_value(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let values: Vec<Vec<u8>> = headers
        .get_all(name)
        .iter()
        .map(|value| {
            let words = value.as_bytes().split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
            words.collect::<Vec<_>>().join(&b' ')
        })
        .collect();
    values.join(&b',')
}

fn signed_names(headers: &Headers) -> String {
    headers.keys().map(String::as_str).collect::<Vec<_>>().join(";")
}

/// The path as it is sent, encoded as AWS encodes it.
fn canonical_path(path: &str, rules: Rules) -> String {
    if rules.rewrites_path {
        percent_encode(normalised(path).as_bytes(), &URI_ENCODE_PATH).to_string()
    } else {
        percent_encode(&percent_decode(path.as_bytes()).collect::<Vec<_>>(), &URI_ENCODE_PATH).to_string()
    }
}

/// Without dot segments and doubled slashes.
fn normalised(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let is_folder = !segments.is_empty() && (path.ends_with('/') || path.ends_with("/.") || path.ends_with("/.."));
    format!("/{}{}", segments.join("/"), if is_folder { "/" } else { "" })
}

/// Names and values decoded as forms are, encoded as AWS encodes, sorted by name and then by value.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (component(name), component(value)))
        .collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn component(encoded: &str) -> String {
    let spaced = encoded.replace('+', " ");
    percent_encode(&percent_decode(spaced.as_bytes()).collect::<Vec<_>>(), &URI_ENCODE).to_string()
}

/// Writes path and query as AWS encodes them. Some services compute from what they received and some from what they decoded;
/// sent like this it is the same.
fn spell_as_signed(url: &mut Url) {
    let segment = |segment: &str| {
        percent_encode(&percent_decode(segment.as_bytes()).collect::<Vec<_>>(), &URI_ENCODE).to_string()
    };
    let path = url.path().split('/').map(segment).collect::<Vec<_>>().join("/");
    url.set_path(&path);
    let query = url.query().map(|query| {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, value)) => format!("{}={}", component(name), component(value)),
            None => component(pair),
        };
        query.split('&').map(pair).collect::<Vec<_>>().join("&")
    });
    url.set_query(query.as_deref());
}

/// A value that stands between the slashes and commas of the header.
fn word(template: &Template, filler: &Filler<'_>, request: &Outgoing) -> Result<Value> {
    let value = filler.require(template, Landing::Header, request)?;
    if value.bytes().is_empty() || !value.bytes().iter().all(|byte| byte.is_ascii_graphic() && !b"/,".contains(byte)) {
        return Err(Kind::ReconnectNeeded
            .error(format!("The value of `{template}` cannot be part of a signature for AWS: it is a word without slashes and commas."))
            .hint("Correct it with `attache connection reconnect NAME`."));
    }
    Ok(value)
}

fn text(value: &Value) -> Result<&str> {
    value.text().map_err(|_| Kind::Internal.error("A word of ASCII is no text."))
}

fn plain(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value).map_err(|_| Kind::Internal.error("A date or a hash is no header value."))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

#[cfg(test)]
mod tests;
