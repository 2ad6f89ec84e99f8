//! What happened, by the hour or the day: read from the audit, from its end, and no further than one page may take.

use std::{collections::BTreeMap, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    audit::{Backwards, Line},
    error::{Kind, Result},
};

/// How much of the audit is read for one page: some hundred thousand lines, and a fraction of a second.
pub(super) const MOST_BYTES: u64 = 32 << 20;

/// A picture's size, in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 120.0;

/// Which span is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// The last 24 hours, by the hour.
    Day,
    /// The last 14 days, by the day.
    Fortnight,
}

/// What happened in an hour or a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    calls: Pair,
    renewals: Pair,
    sign_ins: Pair,
}

/// How often it went well, and how often it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) done: u64,
    pub(super) failed: u64,
}

/// What the audit says of a span.
pub(super) struct Activity {
    pub(super) span: Span,
    /// Each with when it began, the oldest first; all that there are in the span.
    pub(super) counts: Vec<(Timestamp, Counts)>,
    /// Where the audit was not read to the span's beginning: since when it was.
    pub(super) since: Option<Timestamp>,
}

/// A picture of pairs of counts, one upon the other.
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) bars: Vec<Bar>,
    /// What the highest bar stands for.
    pub(super) most: u64,
    pub(super) in_all: Pair,
}

/// One hour or day.
pub(super) struct Bar {
    pub(super) when: String,
    /// What stands below it, where something does.
    pub(super) label: Option<String>,
    pub(super) counts: Pair,
    pub(super) x: f64,
    pub(super) middle: f64,
    pub(super) width: f64,
    pub(super) done_y: f64,
    pub(super) done_height: f64,
    pub(super) failed_y: f64,
    pub(super) failed_height: f64,
}

impl Span {
    pub(super) fn of(named: Option<&str>) -> Self {
        if named == Some("fortnight") { Self::Fortnight } else { Self::Day }
    }

    fn step(self) -> i64 {
        match self {
            Self::Day => 3_600,
            Self::Fortnight => 86_400,
        }
    }

    fn steps(self) -> i64 {
        match self {
            Self::Day => 24,
            Self::Fortnight => 14,
        }
    }
}

impl Activity {
    /// Reads what there is of one environment, until `now`.
    pub(super) fn read(audit: &Path, environment: &str, span: Span, now: Timestamp) -> Result<Self> {
        let last = now.as_second().div_euclid(span.step());
        let first = last - span.steps() + 1;
        let mut counts: BTreeMap<i64, Counts> = (first..=last).map(|step| (step, Counts::default())).collect();
        let mut since = None;
        let beginning = Timestamp::from_second(first * span.step()).map_err(|_| out_of_time())?;
        let mut walk = Walk::from_end(audit)?;
        while let Some(line) = walk.next()? {
            if !EVENTS.iter().any(|event| line.mentions(event)) {
                continue;
            }
            let Some(read) = line.read() else { continue };
            let Some(time) = time_of(&read) else { continue };
            if time < beginning {
                break;
            }
            if read["environment"] == environment
                && let Some(counts) = counts.get_mut(&time.as_second().div_euclid(span.step()))
            {
                counts.add(&read);
                since = Some(time);
            }
        }
        let since = since.filter(|_| walk.is_cut);
        let counts = counts
            .into_iter()
            .map(|(step, counts)| Ok((Timestamp::from_second(step * span.step()).map_err(|_| out_of_time())?, counts)));
        Ok(Self { span, counts: counts.collect::<Result<_>>()?, since })
    }

    /// What there is a picture of.
    pub(super) fn charts(&self) -> [Chart; 3] {
        [
            self.chart("calls", "Calls", |counts| counts.calls),
            self.chart("renewals", "Renewals", |counts| counts.renewals),
            self.chart("sign-ins", "Sign-ins", |counts| counts.sign_ins),
        ]
    }

    fn chart(&self, id: &'static str, title: &'static str, of: impl Fn(&Counts) -> Pair) -> Chart {
        let pairs: Vec<Pair> = self.counts.iter().map(|(_, counts)| of(counts)).collect();
        let most = pairs.iter().map(|Pair { done, failed }| done + failed).max().unwrap_or_default();
        let slot = WIDTH / self.counts.len().max(1) as f64;
        let every = match self.span {
            Span::Day => 6,
            Span::Fortnight => 2,
        };
        let bars = self.counts.iter().zip(&pairs).enumerate().map(|(index, ((when, _), counts))| {
            let high = |count: u64| if most == 0 { 0.0 } else { HEIGHT * count as f64 / most as f64 };
            let (done_height, failed_height) = (high(counts.done), high(counts.failed));
            let (long, short) = match self.span {
                Span::Day => ("%Y-%m-%d %H:00", "%H:00"),
                Span::Fortnight => ("%Y-%m-%d", "%d %b"),
            };
            let label = (self.counts.len() - 1 - index).is_multiple_of(every);
            Bar {
                when: when.strftime(long).to_string(),
                label: label.then(|| when.strftime(short).to_string()),
                counts: *counts,
                x: slot * index as f64 + slot * 0.12,
                middle: slot * (index as f64 + 0.5),
                width: slot * 0.76,
                done_y: HEIGHT - done_height,
                done_height,
                failed_y: HEIGHT - done_height - failed_height,
                failed_height,
            }
        });
        let in_all =
            Pair { done: pairs.iter().map(|pair| pair.done).sum(), failed: pairs.iter().map(|pair| pair.failed).sum() };
        Chart { id, title, bars: bars.collect(), most, in_all }
    }
}

/// What is counted.
const EVENTS: [&str; 7] = [
    "\"event\":\"call-ended\"",
    "\"event\":\"renewed\"",
    "\"event\":\"renewal-refused\"",
    "\"event\":\"renewal-failed\"",
    "\"event\":\"signed-in\"",
    "\"event\":\"sign-in-refused\"",
    "\"event\":\"sign-in-failed\"",
];

impl Counts {
    fn add(&mut self, line: &Value) {
        match line["event"].as_str() {
            Some("call-ended") => self.calls.add(line["outcome"] == "done"),
            Some("renewed") => self.renewals.add(true),
            Some("renewal-refused" | "renewal-failed") => self.renewals.add(false),
            Some("signed-in") => self.sign_ins.add(true),
            Some("sign-in-refused" | "sign-in-failed") => self.sign_ins.add(false),
            _ => {}
        }
    }
}

impl Pair {
    fn add(&mut self, is_done: bool) {
        if is_done {
            self.done += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// A way back through the audit that ends somewhere.
pub(super) struct Walk {
    lines: Backwards,
    began: Option<u64>,
    /// Whether it ended before the audit did.
    pub(super) is_cut: bool,
}

impl Walk {
    fn from_end(audit: &Path) -> Result<Self> {
        Self::from(audit, None)
    }

    /// From where a line begins.
    pub(super) fn from(audit: &Path, before: Option<u64>) -> Result<Self> {
        Ok(Self { lines: Backwards::open(audit, before)?, began: before, is_cut: false })
    }

    /// The next older line; none at the end of the way.
    pub(super) fn next(&mut self) -> Result<Option<Line>> {
        let Some(line) = self.lines.next().transpose()? else { return Ok(None) };
        let began = *self.began.get_or_insert(line.at);
        if began.saturating_sub(line.at) > MOST_BYTES {
            self.is_cut = true;
            return Ok(None);
        }
        Ok(Some(line))
    }
}

/// When a line was written.
pub(super) fn time_of(line: &Value) -> Option<Timestamp> {
    line["time"].as_str()?.parse().ok()
}

/// As pages have it: UTC, to the second.
pub(super) fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long ago, in words; nothing is said of what lies ahead.
pub(super) fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(time).max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

fn out_of_time() -> crate::Error {
    Kind::Internal.error("The clock of this machine is out of all time.")
}
