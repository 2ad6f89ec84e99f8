//! When what was captured is renewed, and how long a failure that may pass is left alone.

use std::time::Duration;

use jiff::Timestamp;

use super::super::Captured;

/// Renewed so long before it runs out: a request may take a while to arrive, and clocks differ.
const AHEAD: Duration = Duration::from_secs(60);
/// Of a short lifetime, this part is kept ahead instead.
const AHEAD_PART: u32 = 10;
/// Of what is traded for its successor, this part: a person is needed once it has run out, so that there is time for many tries.
const TRADED_PART: u32 = 2;
/// Renewed up to a quarter of that earlier, in so many steps.
const SPREAD: u32 = 64;

/// After a failure that may pass, the next try waits: first so long, then twice as long each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
pub(super) fn is_good(captured: &Captured, ahead: Duration, now: Timestamp) -> bool {
    let ahead = i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
    captured.refused.is_none() && captured.expires.is_none_or(|expires| now.as_second().saturating_add(ahead) < expires)
}

/// A tenth of a short lifetime, a minute of a long one, and half of any that is traded; a little more for some, as `who` falls, so
/// that what was got together is not renewed together.
pub(super) fn ahead(captured: &Captured, is_traded: bool, who: u32) -> Duration {
    let ahead = match (captured.lifetime(), is_traded) {
        (Some(lifetime), true) => lifetime / TRADED_PART,
        (Some(lifetime), false) => AHEAD.min(lifetime / AHEAD_PART),
        (None, _) => AHEAD,
    };
    ahead + ahead / 4 * (who % SPREAD) / SPREAD
}

pub(super) fn next_pause(before: Option<Duration>) -> Duration {
    before.map_or(FIRST_PAUSE, |before| (before * 2).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pause;

    #[test]
    fn what_is_captured_is_renewed_before_it_runs_out() {
        let now = Timestamp::from_second(1_000).unwrap();
        let captured = |expires| Captured { obtained: 900, expires, ..Captured::default() };
        assert!(is_good(&captured(None), AHEAD, now), "no word of an end: good until it is refused");
        assert!(is_good(&captured(Some(1_061)), AHEAD, now));
        assert!(!is_good(&captured(Some(1_060)), AHEAD, now));
        assert!(is_good(&captured(Some(1_060)), Duration::ZERO, now));
        assert!(!is_good(&captured(Some(1_000)), Duration::ZERO, now));
        assert!(!is_good(&Captured { refused: Some(String::new()), ..captured(None) }, Duration::ZERO, now));
    }

    #[test]
    fn what_only_a_person_gets_anew_is_renewed_at_half_its_time_and_nothing_together() {
        let lasting = |seconds: i64| Captured { obtained: 900, expires: Some(900 + seconds), ..Captured::default() };
        assert_eq!(ahead(&lasting(3_600), false, 0), AHEAD);
        assert_eq!(ahead(&lasting(100), false, 0), Duration::from_secs(10));
        assert_eq!(ahead(&lasting(100), true, 0), Duration::from_secs(50));
        let all: std::collections::BTreeSet<Duration> =
            (0..1_000).map(|who| ahead(&lasting(3_600), false, who)).collect();
        assert_eq!(all.len(), 64);
        assert!(all.iter().all(|ahead| (AHEAD..AHEAD * 5 / 4).contains(ahead)), "{all:?}");
    }

    #[test]
    fn pauses_double_and_are_spread() {
        let mut pauses = vec![next_pause(None)];
        while pauses.len() < 8 {
            pauses.push(next_pause(pauses.last().copied()));
        }
        let seconds: Vec<u64> = pauses.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        let spread: Vec<Duration> = (0..100).map(|_| pause::spread(LONGEST_PAUSE)).collect();
        assert!(spread.iter().all(|wait| (LONGEST_PAUSE / 2..=LONGEST_PAUSE * 3 / 2).contains(wait)), "{spread:?}");
        assert!(spread.iter().any(|wait| *wait != spread[0]));
    }
}
