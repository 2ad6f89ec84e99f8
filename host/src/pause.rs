//! How long to wait before something is tried again.

use std::time::Duration;

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};
use jiff::Timestamp;

/// Where services say when more is allowed.
const RESETS: [&str; 2] = ["ratelimit-reset", "x-ratelimit-reset"];
/// What is less is no moment since 1970 but a while: as a moment it would be in 2001, as a while it is 30 years.
const LEAST_MOMENT: u64 = 1_000_000_000;

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

/// When more is allowed, of a service that limits how much it is asked: seconds (`RateLimit-Reset` of the IETF's drafts until
/// the seventh), or a moment in seconds since 1970 (`X-RateLimit-Reset` as GitHub and X have it) by the service's own clock.
pub(crate) fn reset(headers: &HeaderMap) -> Option<Duration> {
    let said = RESETS.iter().find_map(|name| headers.get(*name))?.to_str().ok()?.trim().parse::<u64>().ok()?;
    if said < LEAST_MOMENT {
        return Some(Duration::from_secs(said));
    }
    let date = headers.get(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
    let now = date.map_or_else(Timestamp::now, |date| date.timestamp()).as_second();
    Some(Duration::from_secs(said.saturating_sub(u64::try_from(now).ok()?)))
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
    fn a_reset_is_a_while_or_a_moment_by_the_services_own_clock() {
        let headers = |all: &[(&'static str, &str)]| -> HeaderMap {
            all.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
        };
        let date = ("date", "Sat, 06 Nov 2032 08:49:37 GMT");
        let moment = jiff::fmt::rfc2822::parse(date.1).unwrap().timestamp().as_second() + 7;
        let (moment, seven) = (moment.to_string(), Some(Duration::from_secs(7)));
        for name in RESETS {
            assert_eq!(reset(&headers(&[date, (name, &moment)])), seven, "{name}");
            assert_eq!(reset(&headers(&[date, (name, " 7 ")])), seven, "{name}");
            assert_eq!(reset(&headers(&[date, (name, "1000000000")])), Some(Duration::ZERO), "it is over");
            for nothing in ["", "soon", "-1", "7.5", "99999999999999999999999"] {
                assert_eq!(reset(&headers(&[(name, nothing)])), None, "{nothing}");
            }
        }
        let soon = (Timestamp::now().as_second() + 60).to_string();
        let by_our_clock = reset(&headers(&[("x-ratelimit-reset", &soon)])).unwrap().as_secs();
        assert!((58..=60).contains(&by_our_clock), "{by_our_clock}");
    }

    #[test]
    fn a_part_of_a_second_is_one() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (2_000, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
    }
}
