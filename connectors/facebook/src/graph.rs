//! Requests to the Graph API, its errors, and its lists.

use attache_sdk::{
    Failure, Url,
    http::{Request, Response},
};
use serde::Deserialize;

/// What every URL begins with.
pub(crate) fn base() -> Url {
    Url::new(super::GRAPH)
}

/// Sends a request and demands success. What went wrong is told by the service's own code, and hardly by the status.
pub(crate) fn send(request: Request) -> Result<Response, Failure> {
    let answer = request.send()?;
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let Ok(Refusal { error }) = answer.json() else { return answer.ok() };
    let words = format!("{} (code {})", error.error_user_msg.unwrap_or(error.message), error.code);
    Err(match (error.code, error.error_subcode) {
        // Too much of the app, the account, the page, or of one kind of call.
        (4 | 17 | 32 | 613 | 80_000..=80_014, _) => Failure::RateLimited(answer.wait("")),
        // The token is no good, or may not do that.
        (102 | 190 | 3 | 10 | 200..=299, _) => Failure::Unauthorized(words),
        (100, Some(33)) | (803, _) => Failure::NotFound(words),
        (100, _) => Failure::InvalidInput(words),
        _ => Failure::Upstream((answer.status, words)),
    })
}

#[derive(Deserialize)]
struct Refusal {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    message: String,
    code: u32,
    error_subcode: Option<u32>,
    /// For people.
    error_user_msg: Option<String>,
}

/// Some of a list. The URLs that the service gives for the rest have the token in them, so its cursor is used instead.
#[derive(Deserialize)]
pub(crate) struct List<T> {
    pub(crate) data: Vec<T>,
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct Paging {
    cursors: Option<Cursors>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Cursors {
    after: Option<String>,
}

impl<T> List<T> {
    /// What asks for what follows, where there is something.
    pub(crate) fn next(&self) -> Option<String> {
        let paging = self.paging.as_ref().filter(|paging| paging.next.is_some())?;
        paging.cursors.as_ref()?.after.clone()
    }
}
