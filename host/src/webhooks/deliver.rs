//! Who is told next, and when again. Each endpoint has a courier of its own, which brings it one message at a time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use uuid::Uuid;

use super::attempt::Answer;
use crate::{
    consent::now,
    error::{Error, Result},
    host::Host,
    outbox::{Due, Endpoint, Last, Settled},
    pause,
    transport::Fault,
};

/// How long is waited after each attempt that failed, as Standard Webhooks recommends it and on to five days, so that a receiver
/// that fails on a Friday night is mended on Monday without anything lost. After the last one the message is given up.
const PAUSES: [Duration; 11] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
    Duration::from_secs(24 * HOUR),
    Duration::from_secs(24 * HOUR),
];
const HOUR: u64 = 3_600;
/// A receiver may ask to be left alone for so long; and is, after it failed several times, at most for the second.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * HOUR);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// After the first failure; twice as long with each that follows.
const FIRST_REST: Duration = Duration::from_secs(1);
/// Until the store is asked again that failed.
const STORE_PAUSE: Duration = Duration::from_secs(30);

impl Host {
    /// Tells endpoints what happened, for as long as it is polled.
    pub async fn deliver_webhooks(self: Arc<Self>) {
        let mut changes = self.outbox.endpoint_changes();
        // All of them end with this.
        let (mut couriers, mut running) = (HashMap::new(), JoinSet::new());
        loop {
            changes.borrow_and_update();
            match self.all_webhooks() {
                Ok(all) => {
                    couriers.retain(|_, courier: &mut tokio::task::AbortHandle| !courier.is_finished());
                    for endpoint in all.into_iter().filter(|endpoint| endpoint.disabled.is_none()) {
                        let courier = || running.spawn(Courier::of(&self, &endpoint).run());
                        couriers.entry(endpoint.id).or_insert_with(courier);
                    }
                }
                Err(error) => tracing::error!(%error, "the webhooks cannot be read"),
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                Some(_) = running.join_next() => {}
            }
        }
    }

    pub(super) fn all_webhooks(&self) -> Result<Vec<Endpoint>> {
        let environments = self.environments()?.into_iter();
        environments.map(|it| self.outbox.endpoints(&it.name)).collect::<Result<Vec<_>>>().map(|all| all.concat())
    }
}

/// Brings one endpoint its messages.
struct Courier {
    host: Arc<Host>,
    environment: String,
    name: String,
    id: Uuid,
    judging: Judging,
}

/// Says what becomes of messages, by what the receiver made of those before.
#[derive(Default)]
struct Judging {
    /// How often in a row it did not take one.
    failures: u32,
}

impl Courier {
    fn of(host: &Arc<Host>, endpoint: &Endpoint) -> Self {
        let (environment, name) = (endpoint.environment.clone(), endpoint.name.clone());
        Self { host: host.clone(), environment, name, id: endpoint.id, judging: Judging::default() }
    }

    async fn run(mut self) {
        let mut messages = self.host.outbox.new_messages();
        loop {
            messages.borrow_and_update();
            match self.host.outbox.due(&self.environment, &self.name, self.id) {
                Ok(Due::Never) => return,
                Ok(Due::Nothing) => until_changed(&mut messages).await,
                Ok(Due::At(at)) => {
                    let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
                    tokio::select! { () = sleep(wait) => {}, () = until_changed(&mut messages) => {} }
                }
                Ok(Due::Now(tried)) => {
                    let message = &tried.message;
                    let answer = self.host.send_message(&tried.endpoint, &message.id, &message.payload).await;
                    let (settled, rest) = self.judging.judge(&answer, message.attempts);
                    let last = said(&answer);
                    tracing::debug!(
                        webhook = self.name,
                        message = message.id,
                        outcome = last.what,
                        "a message was tried"
                    );
                    if let Err(error) = self.host.outbox.settle(&tried, last, &settled) {
                        // It would be sent again at once.
                        tracing::error!(webhook = self.name, %error, "what came of a message cannot be kept");
                        sleep(STORE_PAUSE).await;
                    }
                    sleep(rest).await;
                }
                Err(error) => {
                    tracing::error!(webhook = self.name, %error, "what waits for a webhook cannot be read");
                    sleep(STORE_PAUSE).await;
                }
            }
        }
    }
}

impl Judging {
    /// What becomes of a message that was tried so often before, and how long the receiver is left alone.
    fn judge(&mut self, answer: &Result<Answer, Fault>, attempts: usize) -> (Settled, Duration) {
        let asked = match answer {
            Ok(answer) if answer.is_taken() => {
                self.failures = 0;
                return (Settled::Delivered, Duration::ZERO);
            }
            Ok(answer) if answer.status == http::StatusCode::GONE => return (Settled::Gone, Duration::ZERO),
            Ok(answer) => answer.wait.map(|wait| wait.clamp(FIRST_REST, LONGEST_ASKED)),
            Err(_) => None,
        };
        let growing = FIRST_REST.saturating_mul(1 << self.failures.min(10)).min(LONGEST_REST);
        self.failures += 1;
        let rest = asked.unwrap_or_else(|| pause::spread(growing));
        let settled = match PAUSES.get(attempts) {
            Some(pause) => {
                let wait = asked.unwrap_or_else(|| pause::spread(*pause));
                let wait = jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::from_hours(24));
                Settled::Again(Timestamp::now() + wait)
            }
            None => Settled::GivenUp,
        };
        (settled, rest)
    }
}

async fn until_changed(messages: &mut watch::Receiver<()>) {
    if messages.changed().await.is_err() {
        // Nothing more comes.
        std::future::pending::<()>().await;
    }
}

/// What came of an attempt, as it is shown.
fn said(answer: &Result<Answer, Fault>) -> Last {
    let what = match answer {
        Ok(answer) => format!("The receiver answered with status {}.", answer.status.as_u16()),
        Err(fault) => Error::from(fault.clone()).message().to_owned(),
    };
    Last { at: now(), delivered: answer.as_ref().is_ok_and(Answer::is_taken), what }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn courier(failures: u32) -> Judging {
        Judging { failures }
    }

    fn answered(status: u16, wait: Option<u64>) -> Result<Answer, Fault> {
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Answer { status, wait: wait.map(Duration::from_secs), said: String::new() })
    }

    fn again(settled: &Settled) -> Duration {
        match settled {
            Settled::Again(at) => Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default(),
            _ => panic!("it is not tried again"),
        }
    }

    #[test]
    fn a_message_is_tried_for_five_days_and_then_given_up() {
        let days = PAUSES.iter().sum::<Duration>().as_secs_f64() / (24 * HOUR) as f64;
        assert!((5.0..5.5).contains(&days), "{days}");
        for (attempts, pause) in PAUSES.into_iter().enumerate() {
            let (settled, _) = courier(0).judge(&answered(500, None), attempts);
            let wait = again(&settled) + Duration::from_secs(1);
            assert!(wait >= pause / 2 && wait <= pause * 3 / 2 + Duration::from_secs(1), "{attempts}: {wait:?}");
        }
        let (settled, _) = courier(0).judge(&answered(500, None), PAUSES.len());
        assert!(matches!(settled, Settled::GivenUp));
        let unreachable = Err(Fault::Unreachable(String::new()));
        assert!(matches!(courier(0).judge(&unreachable, PAUSES.len()).0, Settled::GivenUp));
    }

    #[test]
    fn a_receiver_is_left_alone_for_as_long_as_it_asks_but_not_for_all_time() {
        for (asked, least, most) in [(0, 0, 1), (7, 6, 7), (u64::MAX, 24 * HOUR - 1, 24 * HOUR)] {
            let (settled, rest) = courier(0).judge(&answered(503, Some(asked)), 0);
            let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
            assert!((least..=most).contains(&again(&settled)), "{asked}");
            assert!(!rest.is_zero() && rest <= most, "{asked}");
        }
    }

    #[test]
    fn one_that_fails_again_and_again_is_tried_less_often_until_it_takes_something() {
        let mut judging = courier(0);
        let rests: Vec<Duration> = (0..40).map(|_| judging.judge(&answered(404, None), 0).1).collect();
        assert!(rests[0] <= Duration::from_millis(1_500) && rests[39] >= LONGEST_REST / 2, "{rests:?}");
        assert!(rests.iter().all(|rest| *rest <= LONGEST_REST * 3 / 2), "{rests:?}");
        assert!(matches!(judging.judge(&answered(204, None), 0), (Settled::Delivered, Duration::ZERO)));
        assert!(judging.judge(&answered(404, None), 0).1 <= Duration::from_millis(1_500));
        assert!(matches!(judging.judge(&answered(410, None), 0).0, Settled::Gone));
    }
}
