//! Asking again where a service says when (RFC 9110, 10.2.3; where that is missing, when a limit is over): only for operations
//! and methods that change nothing, a few times, and while the call has time for it. Whatever else a service refuses is the
//! connector's to handle.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::{manifest::Effect, pause, transport::Incoming};

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
    let limited = || (answer.status == StatusCode::TOO_MANY_REQUESTS).then(|| pause::reset(&answer.headers)).flatten();
    // Before anything is added to it: a service says whatever it likes.
    let asked = pause::asked(&answer.headers).or_else(limited).filter(|asked| *asked <= LONGEST)?;
    // Up to a quarter more.
    let wait = asked + pause::part((asked / 4).max(LEAST_SPREAD));
    let left = until?.saturating_duration_since(Instant::now());
    (wait + MARGIN <= left).then_some(wait)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};

    use super::*;

    fn busy(status: u16, retry_after: Option<&str>) -> Incoming {
        let mut headers = HeaderMap::new();
        retry_after.map(|value| headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap()));
        Incoming { status: StatusCode::from_u16(status).unwrap(), headers, body: bytes::Bytes::new(), place: None }
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
        for said in [
            None,
            Some(""),
            Some("soon"),
            Some("-1"),
            Some("11"),
            Some("99999999999999999999999"),
            Some("18446744073709551615"),
        ] {
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
}
