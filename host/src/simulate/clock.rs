//! The provider's clock: the machine's, moved by so much.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// It goes on with the machine's, from wherever it was moved to.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead: Duration,
}

impl Clock {
    /// Since 1970.
    pub(super) fn now(&self) -> Duration {
        Self::real() + self.ahead
    }

    /// As everybody else has it. What a client signs is judged by this one, since its clock cannot be moved along.
    pub(super) fn real() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Moves it ahead. It never goes back: a token that has expired stays expired.
    pub(super) fn advance(&mut self, by: Duration) {
        self.ahead = self.ahead.saturating_add(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ahead_by_all_that_it_was_moved() {
        let mut clock = Clock::default();
        clock.advance(Duration::from_secs(3_600));
        clock.advance(Duration::from_secs(60));
        let ahead = clock.now() - Clock::real();
        assert!(ahead > Duration::from_secs(3_659) && ahead < Duration::from_secs(3_661), "{ahead:?}");
    }
}
