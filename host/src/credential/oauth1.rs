//! OAuth 1.0 (RFC 5849): the request is signed with two shared secrets, or with a private key, and says so in its
//! `Authorization` header (section 3.5.1).

use aws_lc_rs::{digest, hmac};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use rsa::{Pkcs1v15Sign, PrivateKey, pkcs1::DecodeRsaPrivateKey, pkcs8::DecodePrivateKey};
use rustls::pki_types::PrivateKeyDer;
use url::Url;
use zeroize::Zeroizing;

use super::{Attached, Existing, Filler, Landing, authority, header};
use crate::{
    error::{Error, Kind, Result},
    manifest::{
        Oauth1, Oauth1Method,
        template::{Template, Value, from_pem},
    },
    secret::Secret,
    transport::Outgoing,
};

/// RFC 3986's unreserved characters stay, all others are encoded (section 3.6).
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn attach(
    oauth1: &Oauth1,
    filler: &Filler<'_>,
    existing: Existing,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    if existing == Existing::Refuse && request.headers.contains_key(AUTHORIZATION) {
        return Err(header::written_by_guest("header", AUTHORIZATION.as_str()));
    }
    let optional = |template: &Option<Template>, landing| match template {
        Some(template) => filler.fill(template, landing, request),
        None => Ok(None),
    };
    let consumer_secret = filler.require(&oauth1.consumer_secret, Landing::Plain, request)?;
    let token_secret = optional(&oauth1.token_secret, Landing::Plain)?;
    let realm = optional(&oauth1.realm, Landing::Header)?;
    let mut params = vec![("oauth_consumer_key", filler.require(&oauth1.consumer_key, Landing::Plain, request)?)];
    params.extend(optional(&oauth1.token, Landing::Plain)?.map(|token| ("oauth_token", token)));
    params.extend([
        ("oauth_signature_method", Value::public(oauth1.method.name())),
        ("oauth_timestamp", Value::public(filler.moment.unix_seconds().to_string())),
        ("oauth_nonce", Value::public(filler.moment.uuid().simple().to_string())),
        ("oauth_version", Value::public("1.0")),
    ]);
    for (name, template) in &oauth1.params {
        if let Some(value) = filler.fill(template, Landing::Plain, request)? {
            params.push((name, value));
        }
    }
    let base = base_string(request, &params);
    let token_bytes = token_secret.as_ref().map(Value::bytes).unwrap_or_default();
    let signature = sign(oauth1.method, consumer_secret.bytes(), token_bytes, &base)?;
    let realm = realm.as_ref().and_then(|realm| realm.text().ok());
    let value = authorization(realm, &params, &signature);
    header::put(request, AUTHORIZATION, value.as_bytes())?;
    let encoded = encode(signature.as_bytes());
    let values = [consumer_secret].into_iter().chain(token_secret).chain(params.into_iter().map(|(_, value)| value));
    attached.note(
        format!("header authorization (OAuth 1.0 {})", oauth1.method.name()),
        [Secret::new(signature.as_bytes()), Secret::new(encoded.as_bytes())]
            .into_iter()
            .chain(values.flat_map(Value::into_secrets)),
    );
    Ok(())
}

/// Section 3.4: what proves that the request comes from who has the secrets. Of RSA-SHA1 the consumer secret is the key.
fn sign(method: Oauth1Method, consumer_secret: &[u8], token_secret: &[u8], base: &str) -> Result<Zeroizing<String>> {
    let key = || Zeroizing::new([encode(consumer_secret).as_str(), &encode(token_secret)].join("&"));
    let hmac = |algorithm| {
        let tag = hmac::sign(&hmac::Key::new(algorithm, key().as_bytes()), base.as_bytes());
        Zeroizing::new(BASE64_STANDARD.encode(tag))
    };
    Ok(match method {
        Oauth1Method::HmacSha1 => hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        Oauth1Method::HmacSha256 => hmac(hmac::HMAC_SHA256),
        Oauth1Method::RsaSha1 => {
            Zeroizing::new(BASE64_STANDARD.encode(rsa_sha1(consumer_secret, base.as_bytes()).map_err(no_key)?))
        }
        Oauth1Method::Plaintext => key(),
    })
}

/// What stands before a SHA-1 hash in RSASSA-PKCS1-v1_5 (RFC 8017 section 9.2, note 1).
const SHA1_PREFIX: [u8; 15] =
    [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];

/// RSASSA-PKCS1-v1_5 with SHA-1, which aws-lc-rs verifies and does not sign.
fn rsa_sha1(pem: &[u8], message: &[u8]) -> Result<Vec<u8>, &'static str> {
    const NOT_ONE: &str = "it is not an RSA private key of 1024 to 8192 bits in PEM";
    let key = match &*from_pem(pem, NOT_ONE)? {
        PrivateKeyDer::Pkcs1(der) => PrivateKey::from_pkcs1_der(der.secret_pkcs1_der()).ok(),
        PrivateKeyDer::Pkcs8(der) => PrivateKey::from_pkcs8_der(der.secret_pkcs8_der()).ok(),
        _ => None,
    };
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, message);
    let padding = Pkcs1v15Sign { hash_len: Some(hash.as_ref().len()), prefix: SHA1_PREFIX.into() };
    key.ok_or(NOT_ONE)?.sign(padding, hash.as_ref()).map_err(|_| "it does not sign")
}

fn no_key(why: &'static str) -> Error {
    Kind::ReconnectNeeded
        .error(format!("The consumer secret cannot sign with RSA-SHA1: {why}."))
        .hint("Supply the private key with `attache connection reconnect NAME`.")
}

/// Section 3.4.1.
fn base_string(request: &Outgoing, params: &[(&str, Value)]) -> Zeroizing<String> {
    let parameters = normalised_parameters(request, params);
    let parts =
        [request.method.as_str(), &base_string_uri(&request.url), &parameters].map(|part| encode(part.as_bytes()));
    Zeroizing::new(parts.each_ref().map(|part| part.as_str()).join("&"))
}

/// Section 3.4.1.2; the URL parser has lowered scheme and host and dropped a standard port.
fn base_string_uri(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), authority(url), url.path())
}

/// Sections 3.4.1.3.1 and 3.4.1.3.2: of the query, of the header, and of the body where it is a form.
fn normalised_parameters(request: &Outgoing, params: &[(&str, Value)]) -> Zeroizing<String> {
    let query = request.url.query().unwrap_or_default().as_bytes();
    let form: &[u8] = if is_form(request) { &request.body } else { b"" };
    let mut pairs: Vec<(Zeroizing<String>, Zeroizing<String>)> =
        [query, form].into_iter().flat_map(form_pairs).collect();
    pairs.extend(params.iter().map(|(name, value)| (encode(name.as_bytes()), encode(value.bytes()))));
    pairs.sort_unstable_by(|(name, value), (other_name, other)| (&**name, &**value).cmp(&(&**other_name, &**other)));
    let lines: Vec<Zeroizing<String>> =
        pairs.iter().map(|(name, value)| Zeroizing::new([name.as_str(), value].join("="))).collect();
    Zeroizing::new(lines.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("&"))
}

fn is_form(request: &Outgoing) -> bool {
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Decoded as forms are, encoded as section 3.6 asks.
fn form_pairs(form: &[u8]) -> impl Iterator<Item = (Zeroizing<String>, Zeroizing<String>)> {
    form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        (recoded(name), recoded(value))
    })
}

fn recoded(component: &[u8]) -> Zeroizing<String> {
    let spaced: Zeroizing<Vec<u8>> =
        Zeroizing::new(component.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect());
    encode(&Zeroizing::new(percent_decode(&spaced).collect::<Vec<u8>>()))
}

/// Section 3.5.1. The realm is not a parameter: it is a quoted string (RFC 2617 section 1.2).
fn authorization(realm: Option<&str>, params: &[(&str, Value)], signature: &str) -> Zeroizing<String> {
    let realm = realm.map(|realm| format!("realm=\"{}\"", realm.replace('\\', "\\\\").replace('"', "\\\"")));
    let signature = [("oauth_signature", Value::public(signature))];
    let params = params
        .iter()
        .chain(&signature)
        .map(|(name, value)| Zeroizing::new([name, "=\"", &encode(value.bytes()), "\""].concat()));
    let parts: Vec<_> = realm.map(Zeroizing::new).into_iter().chain(params).collect();
    let list = Zeroizing::new(parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(", "));
    Zeroizing::new(["OAuth ", &list].concat())
}

fn encode(bytes: &[u8]) -> Zeroizing<String> {
    // Taken once, so that growing leaves no copy behind that nobody wipes.
    let mut encoded = Zeroizing::new(String::with_capacity(3 * bytes.len()));
    encoded.extend(percent_encode(bytes, &ENCODED));
    encoded
}

#[cfg(test)]
mod tests;
