//! How long to wait before something is tried again.

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};
use jiff::Timestamp;

/// What a service asks for (RFC 9110, 10.2.3): seconds, or a date; nothing of what is neither.
pub(crate) fn asked(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(RETRY_AFTER)?.to_str().ok()?.trim(), Timestamp::now())
}

fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// A random part of a while, from nothing to all of it, so that those who were refused together do not come back together.
/// Without random bytes it is nothing, for everybody.
pub(crate) fn part(of: Duration) -> Duration {
    let mut random = [0; 2];
    let _ = getrandom::fill(&mut random);
    of.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
}

/// Half as long to one and a half times as long.
pub(crate) fn spread(wait: Duration) -> Duration {
    wait / 2 + part(wait)
}

/// In whole seconds, as `Retry-After` has them, and never at once.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_as_good_as_seconds() {
        let now: Timestamp = "1999-12-31T23:59:52Z".parse().unwrap();
        assert_eq!(parse("Fri, 31 Dec 1999 23:59:59 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(parse("Fri, 31 Dec 1999 23:59:00 GMT", now), Some(Duration::ZERO), "it is over");
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, " 7 ".parse().unwrap());
        assert_eq!(asked(&headers), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_part_of_a_second_is_one() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (2_000, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
    }
}
