//! The audit, from the newest line on, as far as it is the session's environment's.

use askama::Template;
use axum::http::StatusCode;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::form_urlencoded;

use super::{
    asked::In,
    charts::{Walk, shown, time_of},
    connections::aside,
    gate::{Shown, Visitor},
    view::Frame,
};
use crate::{
    audit::Name,
    error::{Kind, Result},
    server::page::html,
};

const HERE: &str = "Audit";

/// Lines of one page.
const PAGE: usize = 50;

/// Which lines; as it stands in the address.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Filter {
    connection: String,
    event: String,
    /// `done` or `failed`.
    outcome: String,
    caller: String,
    /// As an input of type `datetime-local` gives it, in UTC.
    since: String,
    until: String,
    /// Where the page before ended.
    before: Option<u64>,
}

#[derive(Template)]
#[template(path = "console/audit.html")]
struct Page {
    frame: Frame,
    filter: Filter,
    /// What is offered to filter by; a line may have another.
    events: &'static [Name],
    rows: Vec<Row>,
    /// The address of what is older.
    older: Option<String>,
    /// Whether there may be more of it, though a page's worth was not found.
    is_cut: bool,
}

struct Row {
    seq: u64,
    time: String,
    event: String,
    connection: String,
    operation: String,
    what: String,
    caller: String,
    is_bad: bool,
}

/// What there is.
pub(super) async fn show(visitor: Visitor, In(filter): In<Filter>) -> Shown {
    let (audit, environment) = (visitor.console.host.audit_path(), visitor.environment().to_owned());
    let wanted = Wanted::of(&filter, environment)?;
    let (before, asked) = (filter.before, filter.clone());
    let (rows, next, is_cut) = aside(move || find(Walk::from(&audit, before)?, &wanted)).await?;
    let older = next.map(|before| asked.address(before));
    let page = Page { frame: visitor.frame(HERE), filter, events: Name::ALL, rows, older, is_cut };
    Ok(html(StatusCode::OK, &page))
}

impl Filter {
    fn address(&self, before: u64) -> String {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        let named = [
            ("connection", &self.connection),
            ("event", &self.event),
            ("outcome", &self.outcome),
            ("caller", &self.caller),
            ("since", &self.since),
            ("until", &self.until),
        ];
        pairs.extend_pairs(named.into_iter().filter(|(_, value)| !value.is_empty()));
        pairs.append_pair("before", &before.to_string());
        format!("/audit?{}", pairs.finish())
    }

    fn is_narrow(&self) -> bool {
        [&self.connection, &self.event, &self.outcome, &self.caller, &self.since, &self.until]
            .iter()
            .any(|it| !it.is_empty())
    }
}

/// A filter that was understood.
struct Wanted {
    environment: String,
    filter: Filter,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Wanted {
    fn of(filter: &Filter, environment: String) -> Result<Self> {
        let time = |text: &str| match text {
            "" => Ok(None),
            text => text
                .parse::<DateTime>()
                .ok()
                .and_then(|time| TimeZone::UTC.to_timestamp(time).ok())
                .map(Some)
                .ok_or_else(|| Kind::Usage.error("That is no time; it is written as 2026-11-24T08:00.")),
        };
        let (since, until) = (time(&filter.since)?, time(&filter.until)?);
        Ok(Self { environment, filter: filter.clone(), since, until })
    }

    fn has(&self, line: &Value) -> bool {
        let is = |member: &str, wanted: &str| wanted.is_empty() || line[member] == *wanted;
        // What is of no environment is the operator's to know of.
        let is_ours = line["environment"].is_null() || line["environment"] == *self.environment;
        is_ours
            && is("connection", &self.filter.connection)
            && is("event", &self.filter.event)
            && line["caller"].as_str().unwrap_or_default().contains(self.filter.caller.as_str())
            && match self.filter.outcome.as_str() {
                "done" => line["outcome"] == "done",
                "failed" => is_bad(line),
                _ => true,
            }
    }
}

/// The newest lines that are wanted; where the page after begins, if there is one; and whether it was not found all that a page
/// has.
fn find(mut walk: Walk, wanted: &Wanted) -> Result<(Vec<Row>, Option<u64>, bool)> {
    let mut rows = Vec::new();
    let mut last = None;
    while let Some(line) = walk.next()? {
        let at = line.at;
        if let Some(line) = line.read()
            && let Some(time) = time_of(&line)
        {
            if wanted.since.is_some_and(|since| time < since) {
                return Ok((rows, None, false));
            }
            if wanted.until.is_none_or(|until| time <= until) && wanted.has(&line) {
                if rows.len() == PAGE {
                    return Ok((rows, last, false));
                }
                rows.push(Row::of(&line, time));
            }
        }
        last = Some(at);
    }
    Ok((rows, last.filter(|_| walk.is_cut), walk.is_cut))
}

/// Whether something went wrong.
fn is_bad(line: &Value) -> bool {
    match line["event"].as_str() {
        Some("call-ended") => line["outcome"] != "done",
        Some("request-failed" | "request-denied" | "webhook-disabled" | "webhook-dropped") => true,
        Some("sign-in-refused" | "sign-in-failed" | "renewal-refused" | "renewal-failed") => true,
        _ => false,
    }
}

impl Row {
    fn of(line: &Value, time: Timestamp) -> Self {
        let field = |name: &str| match &line[name] {
            Value::Null => String::new(),
            Value::String(value) => value.clone(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        let what = WHAT.map(|name| (name, field(name)));
        // A connection says which connector it is of.
        let is_said = |name: &str| name == "connector" && !line["connection"].is_null();
        let what =
            what.into_iter().filter(|(name, value)| !value.is_empty() && !is_said(name)).map(
                |(name, value)| match name {
                    "method" | "origin" | "path" | "reason" | "outcome" => value,
                    "milliseconds" => format!("in {value} ms"),
                    name => format!("{name} {value}"),
                },
            );
        Self {
            seq: line["seq"].as_u64().unwrap_or_default(),
            time: shown(time),
            event: field("event"),
            connection: field("connection"),
            operation: field("operation"),
            what: what.collect::<Vec<_>>().join(" "),
            caller: field("caller"),
            is_bad: is_bad(line),
        }
    }
}

/// What of a line says what was done.
const WHAT: [&str; 18] = [
    "connector",
    "app",
    "key",
    "webhook",
    "type",
    "owner",
    "isolation",
    "opens-with",
    "moment",
    "method",
    "origin",
    "path",
    "attached",
    "status",
    "masked",
    "reason",
    "outcome",
    "milliseconds",
];
