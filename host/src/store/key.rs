//! Where the key-encryption key comes from. It lies outside the data directory, so that a copy of that directory alone is
//! of no use.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    sync::mpsc,
    thread,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use etcetera::BaseStrategy;
use zeroize::Zeroizing;

use super::{sealing::random, sled_store::unavailable};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

const KEY_BYTES: usize = 32;
/// A command may ask a keyring or a vault, but not a person for long.
const COMMAND_WAIT: Duration = Duration::from_secs(30);
/// A key is one short line; more is not a key.
const LONGEST: u64 = 4 << 10;

/// Where the key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The file that is made on first use, in the configuration directory.
    OwnFile(PathBuf),
    /// A file that is there.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// What a command of the shell prints.
    Command(String),
}

impl FromStr for KeySource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Variable(name.to_owned())),
            Some(("command", command)) if !command.is_empty() => Ok(Self::Command(command.to_owned())),
            // Somebody may have written the key itself there, so it is not repeated.
            _ => Err(Kind::Usage
                .error("A key's source is file:PATH, env:NAME or command:CMD; the key itself is never an argument.")
                .hint("Without --key, a key file is made on first use.")),
        }
    }
}

impl KeySource {
    /// The file in the configuration directory.
    ///
    /// # Errors
    /// `usage` where there is no home directory.
    pub fn own_file() -> Result<Self> {
        let base = etcetera::choose_base_strategy().map_err(|_| {
            Kind::Usage.error("There is no home directory for the key file.").hint("Set HOME, or pass --key.")
        })?;
        Ok(Self::OwnFile(base.config_dir().join("attache").join("key")))
    }

    /// Makes a key file where there is none.
    ///
    /// # Errors
    /// `store-unavailable` where it cannot be written.
    pub fn make_file(path: &Path) -> Result<()> {
        make_key_file(path).map(drop)
    }

    /// A key beside what it opens protects nothing.
    pub(super) fn refuse_inside(&self, data_directory: &Path) -> Result<()> {
        let (Self::OwnFile(path) | Self::File(path)) = self else { return Ok(()) };
        let absolute = |path: &Path| {
            fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
        };
        // The file may not be there yet; then its folder tells.
        let folder = absolute(path).parent().map(absolute).unwrap_or_default();
        if !folder.starts_with(absolute(data_directory)) {
            return Ok(());
        }
        Err(Kind::Usage
            .error(format!("The key file {} lies inside the data directory, which it is to protect.", path.display()))
            .hint("Put it elsewhere: a copy of the data directory alone must be of no use."))
    }

    /// Reads the key. The file of its own is made where the store is new.
    ///
    /// # Errors
    /// `store-unavailable` where it cannot be read, `wrong-key` where what is there is no key, or the file is gone.
    pub(super) fn read(&self, store_is_new: bool) -> Result<Secret> {
        match self {
            Self::OwnFile(path) if store_is_new && !path.exists() => make_key_file(path),
            Self::OwnFile(path) | Self::File(path) => read_key_file(path, matches!(self, Self::OwnFile(_))),
            Self::Variable(name) => {
                let text = env::var(name).map(Zeroizing::new).map_err(|_| {
                    Kind::StoreUnavailable
                        .error(format!("The environment variable `{name}` for the key is not set, or not text."))
                })?;
                parse(&text, &format!("the environment variable `{name}`"))
            }
            Self::Command(command) => parse(&run(command)?, "what the key command printed"),
        }
    }
}

fn read_key_file(path: &Path, own: bool) -> Result<Secret> {
    let file = fs::File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if own => Kind::WrongKey
            .error(format!("There is a store, but its key file {} is gone.", path.display()))
            .hint("Put the key file back from your backup, or name the key with --key. A new key could not open this store."),
        io::ErrorKind::NotFound => Kind::StoreUnavailable
            .error(format!("The key file {} is not there.", path.display()))
            .hint("`head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE` makes one for a new store."),
        _ => unavailable(path, &error),
    })?;
    let mode = file.metadata().map_err(|error| unavailable(path, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Kind::StoreUnavailable
            .error(format!("The key file {} can be read by others (mode {:03o}).", path.display(), mode & 0o777))
            .hint(format!("`chmod 600 {}`", path.display())));
    }
    let mut text = Zeroizing::new(String::new());
    Read::take(&file, LONGEST).read_to_string(&mut text).map_err(|error| unavailable(path, &error))?;
    parse(&text, &format!("the key file {}", path.display()))
}

/// Makes a key file that is there whole or not at all, and never replaces one.
fn make_key_file(path: &Path) -> Result<Secret> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unavailable(folder, &error))?;
    let key = random::<KEY_BYTES>()?;
    let text = Zeroizing::new(format!("{}\n", BASE64_STANDARD.encode(&*key)));
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()
    };
    match write() {
        Ok(()) => Ok(Secret::new(&key[..])),
        // Another process was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_key_file(path, true),
        Err(error) => Err(unavailable(path, &error)),
    }
}

fn run(command: &str) -> Result<Zeroizing<String>> {
    let failed = |why: String| Kind::StoreUnavailable.error(format!("The key command {why}."));
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("could not be started: {error}")))?;
    let Some(output) = child.stdout.take() else { return Err(failed("has no output".into())) };
    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Zeroizing::new(String::new());
        let read = output.take(LONGEST).read_to_string(&mut text);
        // Nobody waits any longer after the time is up.
        let _ = done.send(read.map(|_| text));
    });
    let Ok(read) = wait.recv_timeout(COMMAND_WAIT) else {
        // It may have ended this very moment.
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(format!("took longer than {} s", COMMAND_WAIT.as_secs())));
    };
    let status = child.wait().map_err(|error| failed(format!("could not be waited for: {error}")))?;
    if !status.success() {
        return Err(failed(format!("failed ({status})")));
    }
    read.map_err(|_| failed("printed something that is not text".into()))
}

/// 64 hex digits, or base64 of 32 bytes.
fn parse(text: &str, what: &str) -> Result<Secret> {
    let text = text.trim();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if hex::decode_to_slice(text, &mut *key).is_ok() {
        return Ok(Secret::new(&key[..]));
    }
    match BASE64_STANDARD.decode(text).map(Zeroizing::new) {
        Ok(bytes) if bytes.len() == KEY_BYTES => Ok(Secret::new(&bytes[..])),
        _ => Err(Kind::WrongKey
            .error(format!("There is no key in {what}: it is {KEY_BYTES} bytes, as 64 hex digits or in base64."))
            .hint("`head -c 32 /dev/urandom | base64` makes one, for a new store.")),
    }
}
