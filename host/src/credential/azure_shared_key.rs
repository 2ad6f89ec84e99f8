//! Azure Storage's SharedKey for the Blob, Queue and File services: "Authorize with Shared Key", the form for versions
//! 2009-09-19 and later, with the empty `Content-Length` of 2015-02-21 and later.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use super::{Attached, Filler, Landing, Template, header};
use crate::{
    error::{Kind, Result},
    secret::Secret,
    transport::Outgoing,
};

const DATE: HeaderName = HeaderName::from_static("x-ms-date");
const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
/// The version spoken where the connector names none; without one the service takes the oldest, whose rules differ.
const DEFAULT_VERSION: HeaderValue = HeaderValue::from_static("2021-12-02");
/// The headers whose values are signed one a line, in this order; `Date` is empty since `x-ms-date` is there.
const SIGNED: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

pub(super) fn attach(
    account: &Template,
    key: &Template,
    filler: &Filler<'_>,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    let account = filler.require(account, Landing::Plain, request)?;
    let account =
        std::str::from_utf8(account.bytes()).map_err(|_| Kind::ReconnectNeeded.error("The account is not text."))?;
    let key = filler.require(key, Landing::Plain, request)?;
    let secret = Secret::new(BASE64_STANDARD.decode(key.bytes()).map_err(|_| {
        Kind::ReconnectNeeded
            .error("The access key is not base64, as a storage account's key is.")
            .hint("Copy it again from the storage account's access keys, and use `attache connection reconnect NAME`.")
    })?);
    request.headers.remove("date");
    let now = filler.moment.http_date();
    request
        .headers
        .insert(DATE, HeaderValue::from_str(&now).map_err(|_| Kind::Internal.error("A date is no header value."))?);
    request.headers.entry(VERSION).or_insert(DEFAULT_VERSION);
    let text = string_to_sign(account, request);
    let signature =
        BASE64_STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()), text.as_bytes()));
    header::put(request, AUTHORIZATION, format!("SharedKey {account}:{signature}").as_bytes())?;
    attached.note(
        "header authorization (Azure SharedKey)".into(),
        [secret, Secret::new(signature.as_bytes())].into_iter().chain(key.into_secrets()),
    );
    Ok(())
}

fn string_to_sign(account: &str, request: &Outgoing) -> String {
    let length = if request.body.is_empty() { String::new() } else { request.body.len().to_string() };
    let mut lines = vec![request.method.as_str().to_owned()];
    for name in SIGNED {
        lines.push(match name {
            "content-length" => length.clone(),
            "date" => String::new(),
            _ => joined(request, name),
        });
    }
    lines.extend(canonical_headers(request));
    lines.push(canonical_resource(account, &request.url));
    lines.join("\n")
}

fn joined(request: &Outgoing, name: &str) -> String {
    let values: Vec<_> =
        request.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    values.join(",")
}

fn canonical_headers(request: &Outgoing) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> =
        request.headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-ms-")).collect();
    names.into_iter().map(|name| format!("{name}:{}", joined(request, name).trim())).collect()
}

/// `/account` and the path as it is sent, then each query parameter on a line: lower-case name, values decoded, sorted and
/// joined by commas.
fn canonical_resource(account: &str, url: &url::Url) -> String {
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        parameters.entry(name.to_lowercase()).or_default().push(value.into_owned());
    }
    let mut resource = format!("/{account}{}", url.path());
    for (name, mut values) in parameters {
        values.sort();
        resource.push_str(&format!("\n{name}:{}", values.join(",")));
    }
    resource
}
