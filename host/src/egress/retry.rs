//! Asking again where a service says when (RFC 9110, 10.2.3): only for operations and methods that change nothing, a few times,
//! and while the call has time for it. Whatever else a service refuses is the connector's to handle.

use std::time::Duration;

use http::{Method, StatusCode, header::RETRY_AFTER};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{manifest::Effect, transport::Incoming};

/// How often a request is repeated. A service that is busy a third time is busy.
const REPETITIONS: u32 = 2;
/// What asks for more patience is told to the caller, who waits without an instance being kept for it.
const LONGEST: Duration = Duration::from_secs(10);
/// What the rest of the call may take.
const MARGIN: Duration = Duration::from_secs(1);
/// Those who were refused together do not come back together.
const LEAST_SPREAD: Duration = Duration::from_millis(100);

/// How long to wait before a request is sent again; none where it is not.
pub(super) fn wait(
    (effect, method): (Effect, &Method),
    answer: &Incoming,
    repeated: u32,
    until: Option<Instant>,
) -> Option<Duration> {
    let is_safe = effect == Effect::Read && matches!(*method, Method::GET | Method::HEAD);
    let is_busy = matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if !is_safe || !is_busy || repeated >= REPETITIONS {
        return None;
    }
    let asked = asked(answer.headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())?;
    let wait = asked + spread(asked);
    let left = until?.saturating_duration_since(Instant::now());
    (asked <= LONGEST && wait + MARGIN <= left).then_some(wait)
}

/// Seconds, or a date.
fn asked(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// Up to a quarter of what was asked for.
fn spread(asked: Duration) -> Duration {
    let mut random = [0; 2];
    // Without random bytes all come at once, which is no worse than what was asked for.
    let _ = getrandom::fill(&mut random);
    (asked / 4).max(LEAST_SPREAD).mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn busy(status: u16, retry_after: Option<&str>) -> Incoming {
        let mut headers = HeaderMap::new();
        retry_after.map(|value| headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap()));
        Incoming { status: StatusCode::from_u16(status).unwrap(), headers, body: bytes::Bytes::new() }
    }

    #[tokio::test]
    async fn only_what_changes_nothing_is_asked_again_and_only_where_the_service_says_when() {
        let until = Some(Instant::now() + Duration::from_secs(60));
        let waits = |effect, method: &Method, answer: &Incoming| wait((effect, method), answer, 0, until);
        for status in [429, 503] {
            let busy = busy(status, Some("2"));
            for method in [Method::GET, Method::HEAD] {
                let wait = waits(Effect::Read, &method, &busy).unwrap();
                assert!((Duration::from_secs(2)..=Duration::from_millis(2_500)).contains(&wait), "{wait:?}");
            }
            for method in [Method::POST, Method::PUT, Method::OPTIONS] {
                assert_eq!(waits(Effect::Read, &method, &busy), None);
            }
            assert_eq!(waits(Effect::Write, &Method::GET, &busy), None);
            assert_eq!(waits(Effect::Destructive, &Method::GET, &busy), None);
        }
        for status in [200, 302, 400, 500, 502, 504] {
            assert_eq!(waits(Effect::Read, &Method::GET, &busy(status, Some("0"))), None, "{status}");
        }
        for said in [None, Some(""), Some("soon"), Some("-1"), Some("11"), Some("99999999999999999999999")] {
            assert_eq!(waits(Effect::Read, &Method::GET, &busy(503, said)), None, "{said:?}");
        }
    }

    #[tokio::test]
    async fn it_is_asked_so_often_and_while_there_is_time() {
        let (busy, reads) = (busy(503, Some("1")), (Effect::Read, &Method::GET));
        let until = Some(Instant::now() + Duration::from_secs(60));
        assert!(wait(reads, &busy, REPETITIONS - 1, until).is_some());
        assert_eq!(wait(reads, &busy, REPETITIONS, until), None);
        assert_eq!(wait(reads, &busy, 0, Some(Instant::now() + Duration::from_millis(1_900))), None);
        assert_eq!(wait(reads, &busy, 0, None), None);
    }

    #[test]
    fn a_date_is_as_good_as_seconds() {
        let now: Timestamp = "1999-12-31T23:59:52Z".parse().unwrap();
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:00 GMT", now), Some(Duration::ZERO), "it is over");
        assert_eq!(asked(" 7 ", now), Some(Duration::from_secs(7)));
    }
}
