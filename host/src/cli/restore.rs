//! `attache restore`.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use indicatif::{HumanBytes, ProgressBar};
use serde_json::json;

use super::{Answer, Context, connector::progress, given};
use crate::{
    backup::{How, Restored, restore},
    error::{Kind, Result},
};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Restore {
    /// A backup; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where its passphrase is, if it has one: env:NAME, file:PATH, - for standard input, or prompt
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<String>,
    /// Read and check all of it, and write nothing
    #[arg(long)]
    check: bool,
    /// The host that it was made of has done nothing since, and never will again: use the renewal tokens in it
    #[arg(long, conflicts_with = "check")]
    moved: bool,
}

const HELP: &str = "\
The data directory must be missing or empty; what is restored to it is there whole or not at all. The key must be the one that
the store had when the backup was made. With a passphrase it may be another: everything is sealed under it, and a key file that is
missing is made.

A provider may have replaced renewal tokens since the backup, and ends everything when one that it replaced is presented. So a
connection whose provider replaces them, or may, works until its token runs out, and then asks its owner to sign in again.
`--moved` says that nothing was renewed since. What was revoked since the backup (consents, caller keys) is there again.

Examples:
  attache restore attache-backup --check
  attache --data-dir /srv/attache restore attache-backup
  attache --data-dir /srv/attache --key file:/root/key restore - --passphrase prompt < attache-backup
  systemctl stop attache && attache backup moving   # and there: attache restore moving --moved";

impl Restore {
    pub(super) fn run(self, context: &Context) -> Result<Answer> {
        let is_input = self.file == Path::new("-");
        if is_input && self.passphrase.as_deref() == Some("-") {
            return Err(Kind::Usage.error("Standard input can give the backup or its passphrase, not both."));
        }
        let passphrase = self.passphrase.map(|source| given::passphrase(&source, false)).transpose()?;
        let how = How { passphrase, only_checked: self.check, moved: self.moved, caller: context.caller.clone() };
        let doing = if self.check { "Checking" } else { "Restoring" };
        let bar = progress(doing);
        let from: Box<dyn Read> = if is_input { Box::new(io::stdin().lock()) } else { Box::new(opened(&self.file)?) };
        let restored =
            restore(&context.settings, BufReader::new(Counting { from, bytes: 0, doing, bar: bar.clone() }), &how);
        bar.finish_and_clear();
        let restored = restored?;
        let data_dir = &context.settings.data_dir.value;
        let mut json = json!(restored);
        if !self.check {
            json["data-dir"] = data_dir.display().to_string().into();
        }
        Ok(Answer::new(json, told(&restored, (!self.check).then_some(data_dir))))
    }
}

fn opened(file: &Path) -> Result<File> {
    File::open(file).map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Usage };
        kind.error(format!("{} cannot be read: {error}.", file.display()))
    })
}

/// Counts what is read, and shows a person that it goes on.
struct Counting {
    from: Box<dyn Read>,
    bytes: u64,
    doing: &'static str,
    bar: ProgressBar,
}

impl Read for Counting {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(to)?;
        self.bytes += read as u64;
        self.bar.set_message(format!("{}: {}", self.doing, HumanBytes(self.bytes)));
        Ok(read)
    }
}

fn told(restored: &Restored, data_dir: Option<&PathBuf>) -> String {
    let Restored { moment, version, records, connections, connectors, audit_lines, audit_fault, callers, unrenewed } =
        restored;
    let what = format!(
        "{records} records ({connections} connections, {callers} caller keys), {connectors} connectors and {audit_lines} lines of the audit, as they were at {moment} (Attaché {version})"
    );
    let mut text = match data_dir {
        Some(data_dir) => format!("Restored to {}: {what}.", data_dir.display()),
        None => format!("The backup is whole: {what}."),
    };
    if let Some(fault) = audit_fault {
        text += &format!("\nThe audit was not whole when the backup was made, and is as it was: {fault}");
    }
    if data_dir.is_some() && *unrenewed > 0 {
        text += &format!(
            "\n{unrenewed} connections ask their owners to sign in again when their tokens run out: the providers may have replaced the renewal tokens since."
        );
    }
    if data_dir.is_some() && *connections + *callers > 0 {
        text += "\nConsents and caller keys that were revoked after that moment are there again: `attache consent list` and `attache caller list` show them.";
    }
    text
}
