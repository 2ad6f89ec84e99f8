//! What a service says where it gives nothing: whether that passes, and its own words, which it may make of what it was given.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::Value;

use super::{answer::Answer, step::Failure};
use crate::{egress, error::Kind, pause, secret::Secret, text};

/// A service that asks for more patience than this is asked again all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
pub(super) const LONGEST_WORDS: usize = 300;
/// Words for what passes, beside the standard's own (RFC 6749, 4.1.2.1): providers say them with any status, 200 too.
const PASSING: [&str; 10] = [
    "temporarily_unavailable",
    "server_error",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "rate_limited",
    "ratelimited",
    "rate_limit_exceeded",
    "too_many_requests",
];

/// How long is to be waited, where it said.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    pause::asked(headers).map(|wait| wait.min(LONGEST_WAIT))
}

/// Whether this status says that it may be otherwise later.
pub(super) fn is_passing_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500..)
}

/// Whether this word says so.
pub(super) fn is_passing(word: &str) -> bool {
    PASSING.contains(&word.to_ascii_lowercase().as_str())
}

/// A service's words, bounded; none of them where they repeat one of these secrets, whole or in part.
pub(super) fn told<'a>(words: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    match egress::stands_in(secrets, words) {
        // Some repeat what they were given: "Invalid refresh token: …". Whole, since a part of it is still a part.
        true => "(its words repeat a secret)".to_owned(),
        false => text::foreign(words, LONGEST_WORDS),
    }
}

/// What an answer to a step says of why it gives nothing, as a sentence to put behind another; empty where it says nothing.
pub(super) fn says<'a>(content: &Value, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let places = ["/error_description", "/error/message", "/message", "/error"];
    let words = places.iter().find_map(|place| content.pointer(place)?.as_str()).unwrap_or_default();
    // Most answers say nothing, and what there is to look for is not made ready for that.
    match words {
        "" => String::new(),
        words => text::says(&told(words, secrets), LONGEST_WORDS),
    }
}

/// Demands that a step was answered as one that went well, as far as the status tells.
pub(super) fn judge(status: StatusCode, answer: &Answer, origin: &str, says: &str) -> Result<(), Failure> {
    // A redirect after a form was accepted is not followed: what is wanted stands in its headers.
    if (200..=399).contains(&status.as_u16()) {
        return Ok(());
    }
    let asks_for_patience = answer.headers().contains_key(RETRY_AFTER);
    Err(match asks_for_patience || is_passing_status(status) || passes(answer.content()) {
        true => Failure::Later(
            Kind::ServiceFailed
                .error(format!("Signing in at {origin} failed: it answered with status {status}.{says}"))
                .hint("Try again later."),
            wait(answer.headers()),
        ),
        false => Failure::Refused(
            Kind::ReconnectNeeded
                .error(format!(
                    "{origin} refuses to sign in with what it was given: it answered with status {status}.{says}"
                ))
                .hint("`attache connection reconnect NAME` signs in again."),
        ),
    })
}

/// Whether an answer says that it may be otherwise later, by a word, or as Facebook's Graph API does.
pub(super) fn passes(content: &Value) -> bool {
    content.get("error").is_some_and(|error| match error {
        Value::String(word) => is_passing(word),
        error => error.get("is_transient") == Some(&Value::Bool(true)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_passes_is_told_from_what_is_final() {
        for passing in [
            json!({ "error": "temporarily_unavailable" }),
            json!({ "ok": false, "error": "ratelimited" }),
            json!({ "error": { "code": 4, "message": "(#4) Application request limit reached", "is_transient": true } }),
        ] {
            assert!(passes(&passing), "{passing}");
        }
        for last in [
            json!({ "error": "invalid_grant" }),
            json!({ "error": { "code": 190, "is_transient": false } }),
            json!({ "error": { "is_transient": "true" } }),
            json!("temporarily_unavailable"),
        ] {
            assert!(!passes(&last), "{last}");
        }
    }

    #[test]
    fn a_services_words_are_bounded_and_never_a_secret() {
        let secret = Secret::new("a-refresh-token-77d0");
        let of = |content: Value| says(&content, [&secret]);
        assert_eq!(of(json!({ "error": "e", "error_description": "Too\nearly" })), " It says: “Too early”");
        assert_eq!(of(json!({ "error": { "message": "m" } })), " It says: “m”");
        assert_eq!(of(json!({ "error": 7 })), "");
        assert_eq!(of(json!({ "message": "not a-refresh-token-77d0" })), " It says: “(its words repeat a secret)”");
        assert!(of(json!({ "message": "x".repeat(5_000) })).chars().count() < 330);
    }
}
