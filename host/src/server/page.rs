//! What every page has in common: its headers, and how text of others is shown.

use std::sync::LazyLock;

use askama::Template;
use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
            X_FRAME_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::text;

/// How pages look. It stands in each of them, since a server that is there for one person may be gone before a second request.
pub(super) const STYLE: &str = include_str!("../../templates/style.css");

/// How a policy names it (CSP 3, 2.3.1).
static STYLE_HASH: LazyLock<String> = LazyLock::new(|| {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    format!("sha256-{}", STANDARD.encode(hash.as_ref()))
});

/// Text of a connector, a service or a provider, as a page shows it: no control or direction characters, and not too long.
pub(super) fn theirs(words: &str) -> String {
    text::foreign(words, 500)
}

/// A page.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    guarded(html(status, template))
}

/// A page that whoever asks for it guards.
pub(super) fn html(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let mut response = (status, html).into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Puts on what keeps a page to itself: nothing is loaded from elsewhere, nobody frames it, and neither a cache nor the next
/// site learns its address.
pub(super) fn guarded(response: Response) -> Response {
    guarded_by(response, &format!("style-src '{}'", &*STYLE_HASH))
}

/// The same, where what a page may load is this.
pub(super) fn guarded_by(mut response: Response, loads: &str) -> Response {
    let policy = format!("default-src 'none'; {loads}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'");
    let headers = response.headers_mut();
    let policy = HeaderValue::try_from(policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}
