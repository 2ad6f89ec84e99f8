//! What an operator watches, as Prometheus reads it (OpenMetrics 1.0): numbers of all environments together. Labels are names that
//! operators approved and words of Attaché's own, and there are no more of them than a scraper can bear.
//!
//! What must never happen here: a secret, a URL, or the name of a caller, an account or a connection.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    audit::Counted,
    error::{Kind, Result},
    host::Host,
    outbox::Outcome,
    sync::lock,
};

/// Operations that are told apart. Those that come when there are so many are told as one.
const OPERATIONS: usize = 500;
const OTHER: &str = "other";
/// In seconds: from a call that reads a cache to one that takes all the time it may.
const DURATIONS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// What becomes of calls.
pub(crate) struct Metrics {
    calls: Family<CallLabels, Counter>,
    durations: Family<ConnectorLabels, Histogram, fn() -> Histogram>,
    told: Mutex<Told>,
}

/// Connectors and operations that are told apart, at hand: every call comes here when it is over.
#[derive(Default)]
struct Told {
    connectors: HashMap<String, Connector>,
    operations: usize,
}

struct Connector {
    took: Histogram,
    /// By operation and what came of them.
    operations: HashMap<String, Vec<(&'static str, Counter)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    connector: String,
    operation: String,
    /// `done`, `cancelled`, or the kind of the failure.
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectorLabels {
    connector: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            told: Mutex::default(),
        }
    }
}

impl Metrics {
    /// A call is over.
    pub(crate) fn call_ended(&self, connector: &str, operation: &str, outcome: &'static str, took: Duration) {
        let mut told = lock(&self.told);
        if let Some(known) = told.connectors.get(connector)
            && let Some(outcomes) = known.operations.get(operation)
            && let Some((_, counter)) = outcomes.iter().find(|(known, _)| *known == outcome)
        {
            known.took.observe(took.as_secs_f64());
            counter.inc();
            return;
        }
        let (took_by, counter) = self.tell(&mut told, connector, operation, outcome);
        took_by.observe(took.as_secs_f64());
        counter.inc();
    }

    /// From now on it is told, unless there are too many already.
    fn tell(&self, told: &mut Told, connector: &str, operation: &str, outcome: &'static str) -> (Histogram, Counter) {
        let is_told = told.connectors.get(connector).is_some_and(|known| known.operations.contains_key(operation));
        let (connector, operation) = match told.operations {
            OPERATIONS.. if !is_told => (OTHER, OTHER),
            _ => (connector, operation),
        };
        let of = ConnectorLabels { connector: connector.to_owned() };
        let known = told.connectors.entry(connector.to_owned()).or_insert_with(|| Connector {
            took: self.durations.get_or_create(&of).clone(),
            operations: HashMap::new(),
        });
        let outcomes = known.operations.entry(operation.to_owned()).or_insert_with(|| {
            told.operations += 1;
            Vec::new()
        });
        let ConnectorLabels { connector } = of;
        let labels = CallLabels { connector, operation: operation.to_owned(), outcome };
        let counter = self.calls.get_or_create(&labels).clone();
        if !outcomes.iter().any(|(known, _)| *known == outcome) {
            outcomes.push((outcome, counter.clone()));
        }
        (known.took.clone(), counter)
    }
}

impl Host {
    /// The numbers as they are now, in the text form of OpenMetrics.
    ///
    /// # Errors
    /// Those of the store.
    pub fn metrics(&self) -> Result<String> {
        let mut all = Registry::with_prefix("attache");
        let metrics = &self.metrics;
        all.register("calls", "Calls that are over, by what came of them", metrics.calls.clone());
        all.register("call_duration_seconds", "How long calls took", metrics.durations.clone());
        let under_way = gauge(gauged(self.underway.calls()));
        all.register("calls_under_way", "Calls that run or wait for their turn", under_way);
        let resting = gauge(gauged(self.resting.count()));
        all.register("resting_instances", "Connectors' instances that rest between two calls", resting);

        let counts = self.audit.counts();
        all.register("requests", "Requests to services that left", counter(counts.of(Counted::Sent)));
        let spared = self.transport.get().map_or(0, |transport| transport.spared());
        all.register(
            "spared_requests",
            "Requests that did not leave since their service had failed again and again",
            counter(spared),
        );
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(1..);
        let answers = classes.map(|(name, class)| (name, counts.of(Counted::Answered(class))));
        let others = [("denied", Counted::Denied), ("failed", Counted::Failed)].map(|(name, it)| (name, counts.of(it)));
        let outcomes = counters("outcome", answers.chain(others));
        all.register("request_outcomes", "What came of requests to services, redirects included", outcomes);
        let obtaining = |[done, refused, failed]: [Counted; 3]| {
            counters(
                "outcome",
                [("done", done), ("refused", refused), ("failed", failed)].map(|(name, it)| (name, counts.of(it))),
            )
        };
        let sign_ins = obtaining([Counted::SignedIn, Counted::SignInRefused, Counted::SignInFailed]);
        all.register("sign_ins", "Sign-ins, by what came of them; refused is for good, failed may pass", sign_ins);
        let renewals = obtaining([Counted::Renewed, Counted::RenewalRefused, Counted::RenewalFailed]);
        all.register("renewals", "Renewals, by what came of them; refused is for good, failed may pass", renewals);

        let messages = [("delivered", Outcome::Delivered), ("failed", Outcome::Failed), ("dropped", Outcome::Dropped)];
        let messages = counters("outcome", messages.map(|(name, it)| (name, self.outbox.counted(it))));
        all.register(
            "webhook_messages",
            "Attempts to tell webhooks what happened, and messages that were given up",
            messages,
        );

        let refused = counters("limit", self.traffic.refused());
        all.register("refused", "Calls and attempts that a limit refused", refused);
        let (mut connected, mut need_reconnect) = (0, 0);
        for environment in self.environments()? {
            let survey = self.survey(&environment.name)?;
            connected += survey.connections - survey.need_reconnect;
            need_reconnect += survey.need_reconnect;
        }
        let states = Family::<Labels, Gauge>::default();
        states.get_or_create(&vec![("state", "connected")]).set(gauged(connected));
        states.get_or_create(&vec![("state", "needs-reconnect")]).set(gauged(need_reconnect));
        all.register("connections", "Connections, by how they stand", states);
        let lag = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        lag.set(self.audit.lag().as_secs_f64());
        all.register("audit_lag_seconds", "Age of the oldest line of the audit that is not on the disk", lag);

        let mut written = String::new();
        text::encode(&mut written, &all).map_err(|_| Kind::Internal.error("The metrics could not be written."))?;
        Ok(written)
    }
}

type Labels = Vec<(&'static str, &'static str)>;

fn gauged(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

fn counters(label: &'static str, of: impl IntoIterator<Item = (&'static str, u64)>) -> Family<Labels, Counter> {
    let all = Family::<Labels, Counter>::default();
    for (name, value) in of {
        all.get_or_create(&vec![(label, name)]).inc_by(value);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_names_than_a_scraper_can_bear() {
        let metrics = Metrics::default();
        for number in 0..2 * OPERATIONS {
            metrics.call_ended("c", &format!("o{number}"), "done", Duration::ZERO);
        }
        let told: usize = lock(&metrics.told).connectors.values().map(|known| known.operations.len()).sum();
        assert_eq!(told, OPERATIONS + 1);
        metrics.call_ended("c", "o0", "done", Duration::ZERO);
        metrics.call_ended("c", "o0", "cancelled", Duration::ZERO);
        let label = |connector: &str, operation: &str| CallLabels {
            connector: connector.into(),
            operation: operation.into(),
            outcome: "done",
        };
        assert_eq!(metrics.calls.get_or_create(&label("c", "o0")).get(), 2);
        assert_eq!(metrics.calls.get_or_create(&label("other", "other")).get(), OPERATIONS as u64);
    }
}
