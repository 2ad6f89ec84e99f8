//! `attache key show|generate|rotate`.

use serde_json::json;

use super::{Answer, Context};
use crate::{
    error::Result,
    store::{KeySource, NewKey, Rotated},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Key {
    /// Show where the key comes from, and a fingerprint of it
    Show,
    /// Print a new key, for a variable or for what a command prints
    Generate,
    /// Seal the whole store anew under another key
    #[command(after_help = ROTATE_HELP)]
    Rotate {
        /// Where the new key comes from: file:PATH (made if it is not there), env:NAME or command:CMD; without it, the key
        /// file gets a new key
        #[arg(long, value_name = "SOURCE")]
        to: Option<String>,
    },
}

const ROTATE_HELP: &str = "\
Examples:
  attache key rotate                                     (a new key in the key file; the old file is kept beside it)
  attache key rotate --to file:/secure/attache.key       (moves to another key file)
  attache key rotate --to 'command:pass show attache'    (moves to a password manager)

Nothing of what the old key opens is left in the data directory. Older backups still need the old key. A host that runs goes on:
what it writes waits until all is sealed anew. Where the key moved, start it with the new one from then on.";

impl Key {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Key::Show => {
                let source = context.settings.key_source()?;
                let fingerprint = source.fingerprint()?;
                Ok(Answer::new(
                    json!({ "source": source.to_string(), "fingerprint": fingerprint }),
                    format!("{source}\nfingerprint {fingerprint}"),
                ))
            }
            Key::Generate => {
                let key = KeySource::generate()?;
                Ok(Answer::new(json!({ "key": *key }), key.as_str()))
            }
            Key::Rotate { to } => {
                let to = to.map(|to| to.parse::<KeySource>()).transpose()?.map(absolute);
                let client = context.client()?;
                let moved = to.is_some();
                let new = match to {
                    Some(source) => NewKey::from(source, &context.settings.data_dir.value)?,
                    None => NewKey::Made,
                };
                let rotated = client.rotate_key(&new).await?;
                Ok(told(&rotated, moved, !client.is_here()))
            }
        }
    }
}

/// A file is named so that it is found from everywhere.
fn absolute(source: KeySource) -> KeySource {
    match source {
        KeySource::File(path) => KeySource::File(std::path::absolute(&path).unwrap_or(path)),
        other => other,
    }
}

fn told(rotated: &Rotated, moved: bool, runs: bool) -> Answer {
    let Rotated { records, source, kept } = rotated;
    let mut text = format!("{records} records are sealed under the new key, from {source}.");
    if moved {
        text += &format!("\nFrom now on it is needed: `--key {source}`, ATTACHE_KEY, or `key` in attache.toml.");
        if runs {
            text += " The host that runs has it; see to it before that is started again.";
        }
    }
    if let Some(kept) = kept {
        text += &format!(
            "\nThe old key file is kept as {}: older backups, and other data directories made with it, need it. Delete it once nothing does.",
            kept.display()
        );
    }
    let kept = kept.as_ref().map(|kept| kept.display().to_string());
    Answer::new(json!({ "records": records, "source": source, "kept": kept }), text)
}
