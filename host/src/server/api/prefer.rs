//! How long a caller would wait: the header `Prefer` (RFC 7240). What is not understood there is passed over, as that says.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, request::Parts},
};

/// The header that says what somebody would rather have.
const PREFER: &str = "prefer";
/// The header that says what of it was done.
const APPLIED: &str = "preference-applied";
/// Whoever waits longer asks again: proxies give up on an answer that does not begin at about this time.
const LONGEST_WAIT: u64 = 60;

/// What somebody would rather have.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefer {
    /// In seconds (RFC 7240, 4.3).
    wait: Option<u64>,
    /// RFC 7240, 4.1.
    respond_async: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let given = parts.headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        Ok(Self::of(given))
    }
}

impl Prefer {
    fn of<'a>(given: impl Iterator<Item = &'a str>) -> Self {
        let mut prefer = Self::default();
        for preference in given.flat_map(|value| value.split(',')) {
            // Parameters mean nothing here.
            let (name, value) = match preference.split(';').next().unwrap_or_default().split_once('=') {
                Some((name, value)) => (name.trim(), value.trim().trim_matches('"')),
                None => (preference.split(';').next().unwrap_or_default().trim(), ""),
            };
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            }
            // Of several, the first counts (RFC 7240, 2).
            if name.eq_ignore_ascii_case("wait") && prefer.wait.is_none() {
                prefer.wait = value.parse().ok().map(|seconds: u64| seconds.min(LONGEST_WAIT));
            }
        }
        prefer
    }

    /// Whether an answer may come before there is a result.
    pub(super) fn may_come_early(self) -> bool {
        self.respond_async || self.wait.is_some()
    }

    /// How long is waited for a result.
    pub(super) fn patience(self) -> Duration {
        Duration::from_secs(self.wait.unwrap_or(0))
    }

    /// Says what was done of it; `early` where there was no result yet.
    pub(super) fn note(self, early: bool, headers: &mut HeaderMap) {
        let wait = self.wait.map(|seconds| format!("wait={seconds}"));
        let early = (early && self.respond_async).then(|| "respond-async".to_owned());
        let applied: Vec<String> = early.into_iter().chain(wait).collect();
        if let (false, Ok(applied)) = (applied.is_empty(), HeaderValue::try_from(applied.join(", "))) {
            headers.insert(APPLIED, applied);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_counts_and_the_rest_is_passed_over() {
        let of = |given: &[&str]| Prefer::of(given.iter().copied());
        let (wait, both) =
            (Prefer { wait: Some(10), respond_async: false }, Prefer { wait: Some(10), respond_async: true });
        assert_eq!(of(&["wait=10"]), wait);
        assert_eq!(of(&["Wait = \"10\" ; x=y, wait=20"]), wait);
        assert_eq!(of(&["respond-async, wait=10"]), both);
        assert_eq!(of(&["handling=lenient", "respond-async", "wait=10"]), both);
        assert_eq!(of(&["wait=86400"]).patience(), Duration::from_secs(LONGEST_WAIT));
        for nothing in ["", "wait", "wait=", "wait=-1", "wait=soon", "return=minimal", "respond-asynchronously", ",;=,"]
        {
            assert_eq!(of(&[nothing]), Prefer::default(), "{nothing}");
        }
    }
}
