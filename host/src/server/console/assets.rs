//! How pages look, and the one script that some use. A file's name has its digest, so that browsers may keep it.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use super::gate::Refused;
use crate::{digest::Digest, error::Kind};

const STYLE: &str = include_str!("../../../templates/console/console.css");
const SCRIPT: &str = include_str!("../../../templates/console/console.js");

static STYLE_PATH: LazyLock<String> = LazyLock::new(|| format!("/assets/{}.css", Digest::of(STYLE.as_bytes()).short()));
static SCRIPT_PATH: LazyLock<String> =
    LazyLock::new(|| format!("/assets/{}.js", Digest::of(SCRIPT.as_bytes()).short()));

/// Where the style is, below the console.
pub(super) fn style() -> &'static str {
    &STYLE_PATH
}

/// Where the script is.
pub(super) fn script() -> &'static str {
    &SCRIPT_PATH
}

/// Gives one of the two to anybody: there is nothing in them.
pub(super) async fn give(Path(name): Path<String>) -> Result<Response, Refused> {
    let path = format!("/assets/{name}");
    let (content, kind) = match () {
        () if path == style() => (STYLE, "text/css; charset=utf-8"),
        () if path == script() => (SCRIPT, "text/javascript; charset=utf-8"),
        () => return Err(Kind::NotFound.error("There is no such file.").into()),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((headers, content).into_response())
}
