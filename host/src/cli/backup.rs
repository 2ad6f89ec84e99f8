//! `attache backup`.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{Answer, Context, connector::progress, given, prompt};
use crate::{
    backup::BackedUp,
    error::{Error, Kind, Result},
    store::{dir, fault, unwritten},
};

/// Files that are not whole yet have another name, which nobody takes for a backup.
const PREFIX: &str = ".attache-backup-";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Backup {
    /// Where to; - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Have it open with a passphrase instead of the store's key: env:NAME, file:PATH, - for standard input, or prompt
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<String>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

const HELP: &str = "\
All environments with their connectors, apps, connections, consents and caller keys, and the audit, as they are at one moment.
Where a host runs it goes on: calls and changes of that time are in the next backup. The file is there whole or not at all.

It opens with the key of the store, which is not in it: keep that elsewhere, after `key rotate` the old one too. With
`--passphrase` it opens with that and nothing else. Whoever has both the file and what opens it has every secret in it.

Examples:
  attache backup /mnt/backup/attache-2026-11-26
  attache backup - | ssh elsewhere 'cat > attache-backup'
  attache backup attache-backup --passphrase file:/root/backup-passphrase --force
  attache restore attache-backup --check";

impl Backup {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let to = To::of(&self.file, self.force)?;
        let passphrase = self.passphrase.map(|source| given::passphrase(&source, true)).transpose()?;
        let opens_with = if passphrase.is_some() { "passphrase" } else { "key" };
        let client = context.client()?;
        match to {
            To::Output => {
                let mut counting = Counting::new(io::stdout().lock());
                let made = client.back_up(passphrase, &mut counting).await;
                let bytes = counting.end();
                let made = made?;
                // Standard output is the backup's.
                prompt::show(&format!("{}\n", told(&made, bytes, "standard output", opens_with)));
                Ok(Answer::new(Value::Null, ""))
            }
            To::File { mut new, path, force } => {
                let mut counting = Counting::new(&mut new);
                let made = client.back_up(passphrase, &mut counting).await;
                let bytes = counting.end();
                let made = made?;
                keep(new, &path, force)?;
                let mut json = json!(made);
                json["file"] = path.display().to_string().into();
                json["bytes"] = bytes.into();
                json["opens-with"] = opens_with.into();
                Ok(Answer::new(json, told(&made, bytes, &path.display().to_string(), opens_with)))
            }
        }
    }
}

/// Where a backup goes.
enum To {
    Output,
    File { new: NamedTempFile, path: PathBuf, force: bool },
}

impl To {
    fn of(file: &Path, force: bool) -> Result<Self> {
        if file == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(Kind::Usage
                    .error("A backup is not for a terminal.")
                    .hint("Name a file, or lead standard output to one or into another command."));
            }
            return Ok(Self::Output);
        }
        let path = std::path::absolute(file).map_err(|error| fault::io(file, &error))?;
        if path.is_dir() {
            return Err(Kind::Usage.error(format!("{} is a directory; name a file.", path.display())));
        }
        // Before anything is asked or read; it is looked again when it gets its name.
        if !force && path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        let parent = path.parent().unwrap_or(&path).to_owned();
        let new = begin_in(&parent).map_err(|error| fault::io(&parent, &error))?;
        Ok(Self::File { new, path, force })
    }
}

/// A file that is to become one, and is locked as long as somebody writes it. Those that were left by somebody who was killed
/// are taken away.
fn begin_in(directory: &Path) -> io::Result<NamedTempFile> {
    for entry in fs::read_dir(directory)?.flatten() {
        let is_left = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_left {
            // Whose it is may be somebody else.
            let _ = fs::remove_file(entry.path());
        }
    }
    // Mode 0600 is what this crate always uses.
    let new = tempfile::Builder::new().prefix(PREFIX).tempfile_in(directory)?;
    new.as_file().lock()?;
    Ok(new)
}

/// Gives the file its name, once all of it is on the disk.
fn keep(new: NamedTempFile, path: &Path, force: bool) -> Result<()> {
    new.as_file().sync_all().map_err(|error| unwritten(&error))?;
    let kept = if force { new.persist(path) } else { new.persist_noclobber(path) };
    match kept {
        Ok(_) => dir::sync(path.parent().unwrap_or(path)),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(fault::io(path, &error.error)),
    }
}

fn exists(path: &Path) -> Error {
    Kind::AlreadyExists
        .error(format!("{} is there already.", path.display()))
        .hint("Choose another name, or replace it with `--force`.")
}

/// Counts what is written, and shows a person that it goes on.
struct Counting<W> {
    to: W,
    bytes: u64,
    bar: ProgressBar,
}

impl<W: Write> Counting<W> {
    fn new(to: W) -> Self {
        Self { to, bytes: 0, bar: progress("Backing up") }
    }

    fn end(self) -> u64 {
        self.bar.finish_and_clear();
        self.bytes
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        self.bar.set_message(format!("Backing up: {}", HumanBytes(self.bytes)));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn told(made: &BackedUp, bytes: u64, to: &str, opens_with: &str) -> String {
    let BackedUp { moment, records, connections, connectors, audit_lines, audit_fault } = made;
    let mut text = format!(
        "{} to {to}: {records} records ({connections} connections), {connectors} connectors and {audit_lines} lines of the audit, as they were at {moment}.",
        HumanBytes(bytes)
    );
    text += match opens_with {
        "key" => "\nIt opens with the key of this store, which is not in it: keep that too, and elsewhere.",
        _ => "\nIt opens with the passphrase, and with nothing else.",
    };
    if let Some(fault) = audit_fault {
        text += &format!("\nThe audit is in it as it is, and is not whole: {fault}");
    }
    text
}
