//! `attache config show`.

use serde_json::{Value, json};

use super::{Answer, Context, print};
use crate::{
    error::Result,
    settings::{Settings, Source, Sourced},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Config {
    /// Show every setting, its value and where it came from
    Show,
}

impl Config {
    pub(super) fn run(self, context: &Context) -> Result<Answer> {
        let Config::Show = self;
        let settings = &context.settings;
        let rows = rows(settings);
        let json: serde_json::Map<String, Value> = rows
            .iter()
            .map(|(name, value, source)| (name.clone(), json!({ "value": value, "source": source })))
            .collect();
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|(name, value, source)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                vec![name.clone(), value, source.to_string()]
            })
            .collect();
        let file = settings
            .file
            .as_ref()
            .map_or_else(|| "no attache.toml was found".into(), |file| format!("read {}", file.display()));
        Ok(Answer::new(json.into(), format!("{}\n\n{file}", print::table(&["SETTING", "VALUE", "FROM"], &cells))))
    }
}

fn rows(settings: &Settings) -> Vec<(String, Value, Source)> {
    let one = |name: &str, value: Value, source: &Source| (name.to_owned(), value, source.clone());
    let mut rows = vec![one("data-dir", json!(settings.data_dir.value), &settings.data_dir.source)];
    rows.push(match &settings.key {
        // A file or a variable is named; a command may have a secret in it, and so may what is no source at all.
        Some(key) if key.value.starts_with("file:") || key.value.starts_with("env:") => {
            one("key", json!(key.value), &key.source)
        }
        Some(key) => one("key", json!("command:…"), &key.source),
        None => one("key", json!("a key file of its own"), &Source::Default),
    });
    rows.push(one("environment", json!(settings.environment.value), &settings.environment.source));
    rows.push(match &settings.ca_file {
        Some(file) => one("ca-file", json!(file.value), &file.source),
        None => one("ca-file", json!("none"), &Source::Default),
    });
    rows.push(one("concurrency", json!(settings.concurrency.value), &settings.concurrency.source));
    rows.extend(table("limits", &settings.limits));
    rows.extend(table("transport", &settings.transport));
    rows.extend(table("traffic", &settings.traffic));
    rows
}

fn table<T: serde::Serialize>(name: &str, table: &Sourced<T>) -> Vec<(String, Value, Source)> {
    match json!(table.value) {
        Value::Object(members) => members
            .into_iter()
            .map(|(member, value)| (format!("{name}.{member}"), value, table.source.clone()))
            .collect(),
        _ => Vec::new(),
    }
}
