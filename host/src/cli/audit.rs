//! `attache audit list|verify`.

use jiff::{Span, Timestamp, ZonedDateTime, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::{Answer, Context, print};
use crate::{error::Result, server::api::Verified, text};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Audit {
    /// List what was done, the newest last
    #[command(after_help = LIST_HELP)]
    List {
        /// Only this connection
        #[arg(long)]
        connection: Option<String>,
        /// Only this event, like credential-used
        #[arg(long)]
        event: Option<String>,
        /// Only from then on: a time (2026-11-24T08:00:00Z), a day (2026-11-24), or so long ago (90m, 2h, 7d)
        #[arg(long, value_name = "WHEN", value_parser = when)]
        since: Option<Timestamp>,
        /// Only lines before the one of this number: the first SEQ of a list, for what came before it
        #[arg(long, value_name = "SEQ")]
        before: Option<u64>,
        /// How many lines at the most
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Check that no line was changed, dropped, swapped or cut off
    Verify,
}

impl Audit {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let client = context.client()?;
        match self {
            Audit::List { connection, event, since, before, limit } => {
                let mut query = vec![("limit", limit.to_string())];
                query.extend(connection.map(|it| ("connection", it)));
                query.extend(event.map(|it| ("event", it)));
                query.extend(since.map(|it| ("since", it.to_string())));
                query.extend(before.map(|it| ("before", it.to_string())));
                let lines: Vec<Value> = client.get(&["audit"], &query).await?;
                let rows: Vec<_> = lines.iter().map(row).collect();
                let table = print::table(&["SEQ", "TIME", "EVENT", "CONNECTION", "OPERATION", "WHAT", "CALLER"], &rows);
                Ok(Answer::new(json!(lines), table))
            }
            Audit::Verify => {
                let Verified { lines } = client.post(&["audit", "verification"], &json!({})).await?;
                Ok(Answer::new(json!({ "lines": lines }), format!("The audit is whole: {lines} lines.")))
            }
        }
    }
}

const LIST_HELP: &str = "\
Examples:
  attache audit list --connection weather --limit 20
  attache audit list --since 2h --event request-denied
  attache audit list --limit 1000 --before 5001";

/// A time, a day of this machine's time zone, or so long ago.
fn when(text: &str) -> Result<Timestamp, String> {
    let ago = || {
        let span: Span = text.parse().ok()?;
        ZonedDateTime::now().checked_sub(span.abs()).ok().map(|then| then.timestamp())
    };
    let day = || {
        let day: Date = text.parse().ok()?;
        day.to_zoned_datetime(TimeZone::system()).ok().map(|then| then.timestamp())
    };
    text.parse::<Timestamp>()
        .ok()
        .or_else(day)
        .or_else(ago)
        .ok_or_else(|| "it is no time (2026-11-24T08:00:00Z), no day (2026-11-24) and no while (90m, 2h, 7d)".into())
}

fn row(line: &Value) -> Vec<String> {
    let field = |name: &str| match &line[name] {
        Value::Null => String::new(),
        Value::String(value) => text::foreign(value, 200),
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let what: Vec<String> = ["method", "origin", "path", "attached", "status", "masked", "reason", "outcome", "moment"]
        .into_iter()
        .map(|name| (name, field(name)))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| match name {
            "method" | "origin" | "path" | "reason" | "outcome" => value,
            name => format!("{name} {value}"),
        })
        .collect();
    vec![
        field("seq"),
        field("time"),
        field("event"),
        field("connection"),
        field("operation"),
        what.join(" "),
        field("caller"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_a_day_and_a_while_ago_are_understood() {
        assert_eq!(when("2026-11-24T08:00:00Z").unwrap().as_second(), 1_795_507_200);
        assert!(when("2026-11-24").is_ok());
        let ago = |text| Timestamp::now().as_second() - when(text).unwrap().as_second();
        for (text, seconds) in [("90m", 5_400), ("2h", 7_200)] {
            assert!((seconds..seconds + 60).contains(&ago(text)), "{text}");
        }
        // A day may be an hour shorter or longer.
        assert!((7 * 86_400 - 7_200..=7 * 86_400 + 7_200).contains(&ago("7d")));
        for text in ["", "yesterday", "7", "-", "25:00"] {
            assert!(when(text).is_err(), "{text}");
        }
    }
}
