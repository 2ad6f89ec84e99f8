//! Where the key comes from that opens a store: a file, a variable or a command. Nothing here ever prints a key, and a key's
//! text is wiped as soon as it has been read.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    sync::mpsc,
    time::{Duration, Instant},
};

use base64::{
    Engine,
    engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::GeneralPurpose as Base64},
};
use etcetera::BaseStrategy;
use zeroize::Zeroizing;

use super::{dir, fault, random, unfinished};
use crate::error::{Error, Kind, Result};

/// A key's text is at most 64 characters; what is longer than this is a mistake, such as a whole key ring.
const MAX_TEXT: u64 = 4096;

/// Time enough for a password manager that asks for a fingerprint, and not so long that a hanging one is taken for Attaché.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// The 256-bit key that a store is opened with.
pub struct Key(Zeroizing<[u8; Key::LENGTH]>);

impl Key {
    pub(super) const LENGTH: usize = 32;

    pub(super) fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        random(&mut *bytes)?;
        Ok(Self(bytes))
    }

    pub(super) fn expose(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// As 64 hexadecimal digits.
    pub(super) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.expose()))
    }

    /// Reads 64 hexadecimal digits, or 32 bytes in base64 (either alphabet, padded or not).
    fn parse(text: &[u8]) -> Option<Self> {
        const FORGIVING: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
        const ALPHABETS: [Base64; 2] = [
            GeneralPurpose::new(&base64::alphabet::STANDARD, FORGIVING),
            GeneralPurpose::new(&base64::alphabet::URL_SAFE, FORGIVING),
        ];
        let text = text.trim_ascii();
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        if text.len() == 2 * Self::LENGTH {
            hex::decode_to_slice(text, &mut *bytes).ok()?;
            return Some(Self(bytes));
        }
        if !matches!(text.len(), 43 | 44) {
            return None;
        }
        // The decoder wants room for the longest text of 44 characters, which is 33 bytes.
        let mut room = Zeroizing::new([0; Self::LENGTH + 1]);
        let length = ALPHABETS.iter().find_map(|alphabet| alphabet.decode_slice(text, &mut *room).ok())?;
        (length == Self::LENGTH).then(|| {
            bytes.copy_from_slice(&room[..Self::LENGTH]);
            Self(bytes)
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where the key comes from: `file:PATH`, `env:NAME` or `command:CMD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file that only its owner can read, outside the data directory. With a store that does not exist yet, it is made.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
    /// A command that `sh -c` runs; what it prints is the key.
    Command(String),
}

impl KeySource {
    /// The key file that is used when nothing else is said: `attache/key` in `$XDG_CONFIG_HOME` or `~/.config`.
    ///
    /// # Errors
    /// [`Kind::StoreUnavailable`] when this user has no home directory.
    pub fn default_file() -> Result<Self> {
        let places = etcetera::choose_base_strategy().map_err(|_| {
            Kind::StoreUnavailable
                .error("This user has no home directory to keep a key file in.")
                .hint("Say where the key is: --key file:PATH, env:NAME or command:CMD.")
        })?;
        Ok(Self::File(places.config_dir().join("attache").join("key")))
    }

    /// Refuses a key file inside the data directory: who copies or backs up the one must not get the other with it.
    pub(super) fn check_outside(&self, data_dir: &Path) -> Result<()> {
        let Self::File(path) = self else { return Ok(()) };
        // A key that does not exist yet is judged by the directory that it will be in, as far as that exists.
        let path = std::path::absolute(path).map_err(|error| fault::io(path, &error))?;
        let Some(real) = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok()) else { return Ok(()) };
        if real.starts_with(data_dir) {
            return Err(Kind::StoreUnavailable
                .error(format!(
                    "The key file {} lies inside the data directory {}: a copy of the one would come with the other.",
                    path.display(),
                    data_dir.display()
                ))
                .hint("Move it elsewhere and say where: --key file:PATH."));
        }
        Ok(())
    }

    /// Reads the key of a store that exists.
    pub(super) fn load(&self) -> Result<Key> {
        match self {
            Self::File(path) => read_file(path)?.ok_or_else(|| {
                Kind::StoreUnavailable
                    .error(format!(
                        "The key file {} is missing, and without it the store stays closed.",
                        path.display()
                    ))
                    .hint("Restore the key file from its backup, or say where the key is: --key file:PATH.")
            }),
            Self::Env(name) => {
                let text = std::env::var_os(name).ok_or_else(|| {
                    Kind::StoreUnavailable
                        .error(format!("The variable {name}, which should hold the key, is not set."))
                        .hint("Set it to 64 hexadecimal digits, or say where the key is: --key file:PATH.")
                })?;
                let text = Zeroizing::new(text.into_encoded_bytes());
                self.parse_key(&text)
            }
            Self::Command(command) => self.parse_key(&run(command, COMMAND_LIMIT)?),
        }
    }

    /// Reads the key for a store that does not exist yet; a key file that is missing is made now, on disk for good before
    /// anything is sealed with it.
    pub(super) fn load_or_create(&self) -> Result<Key> {
        if let Self::File(path) = self {
            if let Some(key) = read_file(path)? {
                return Ok(key);
            }
            create_file(path, &Key::generate()?)?;
        }
        self.load()
    }

    /// `file`, `env` or `command`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Env(_) => "env",
            Self::Command(_) => "command",
        }
    }

    /// Tells this key from others, and nothing more about it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let key = self.load()?;
        Ok(hex::encode(&super::seal::derive(key.expose(), b"", &[b"fingerprint"])[..8]))
    }

    /// A new key, as text: 64 hexadecimal digits.
    ///
    /// # Errors
    /// `internal` where the system has no random numbers.
    pub fn generate() -> Result<Zeroizing<String>> {
        Ok(Key::generate()?.text())
    }

    pub(super) fn parse_key(&self, text: &[u8]) -> Result<Key> {
        Key::parse(text).ok_or_else(|| {
            Kind::WrongKey
                .error(format!("What {} holds is not a key.", self.described()))
                .hint("A key is 64 hexadecimal digits, or 32 bytes in base64: `openssl rand -hex 32` makes one.")
        })
    }

    /// As an error names it. The command itself is left out, since it may have a secret in it.
    pub(super) fn described(&self) -> String {
        match self {
            Self::File(path) => format!("the key file {}", path.display()),
            Self::Env(name) => format!("the variable {name}"),
            Self::Command(_) => "the output of the key command".to_owned(),
        }
    }
}

impl FromStr for KeySource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // What was typed is not repeated: it may be the key itself.
        let malformed = || {
            Kind::Usage.error("The key is not given itself, but where it is.").hint(
                "Write --key file:PATH, env:NAME or command:CMD (or the same in ATTACHE_KEY); \
                 NAME is letters, digits and `_`.",
            )
        };
        match text.split_once(':') {
            Some((_, "")) | None => Err(malformed()),
            Some(("file", path)) => Ok(Self::File(path.into())),
            Some(("env", name)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                Ok(Self::Env(name.to_owned()))
            }
            Some(("command", command)) => Ok(Self::Command(command.to_owned())),
            Some(_) => Err(malformed()),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Command(command) => write!(f, "command:{command}"),
        }
    }
}

/// The key in this file; none if there is no such file.
fn read_file(path: &Path) -> Result<Option<Key>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault::io(path, &error)),
    };
    // The opened file is judged, not its name, so that nobody can swap it in between.
    refuse_shared(path, &file)?;
    let text = read_text(file).map_err(|error| fault::io(path, &error))?;
    KeySource::File(path.to_owned()).parse_key(&text).map(Some)
}

/// Refuses a file with a key in it that is not its owner's alone.
///
/// # Errors
/// [`Kind::StoreUnavailable`] if others can read or write it.
pub(crate) fn refuse_shared(path: &Path, file: &File) -> Result<()> {
    let mode = file.metadata().map_err(|error| fault::io(path, &error))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Kind::StoreUnavailable
        .error(format!("The key file {} can be read or written by others (mode {:03o}).", path.display(), mode & 0o777))
        .hint(format!("chmod 600 {}", path.display())))
}

/// Makes a key file: written in full under another name, on disk, and only then given its own.
pub(super) fn create_file(path: &Path, key: &Key) -> Result<()> {
    let fault = |error: io::Error| fault::io(path, &error);
    let path = std::path::absolute(path).map_err(fault)?;
    let parent = path.parent().unwrap_or(&path);
    dir::create_private(parent)?;
    let mut text = Zeroizing::new([0; 2 * Key::LENGTH + 1]);
    hex::encode_to_slice(key.expose(), &mut text[..2 * Key::LENGTH]).expect("twice as many digits as bytes");
    text[2 * Key::LENGTH] = b'\n';
    let mut file = unfinished::begin_in(parent).map_err(fault)?;
    file.write_all(&*text).map_err(fault)?;
    file.as_file().sync_all().map_err(fault)?;
    match file.persist_noclobber(&path) {
        Ok(_) => {}
        // Another process, with another data directory, made it at the same moment: that one is the key.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(fault(error.error)),
    }
    dir::sync(parent)
}

/// Runs the command and takes its output. It gets no standard input, since that may carry a secret for somebody else; what
/// it says on standard error passes through. The terminal stays its own, so that it can ask.
fn run(command: &str, limit: Duration) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |what: &str| Kind::StoreUnavailable.error(format!("The key command {what}."));
    let deadline = Instant::now() + limit;
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let output = child.stdout.take().ok_or_else(|| failed("has no output"))?;
    // Reading has a thread of its own, since a grandchild may keep the pipe open for as long as it likes.
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(read_text(output)));
    let text = receive.recv_timeout(limit);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) if text.is_ok() => break status,
            Err(error) => return Err(failed(&format!("cannot be waited for: {error}"))),
            Ok(_) if text.is_err() || Instant::now() >= deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(&format!("took longer than {} s", limit.as_secs())));
            }
            Ok(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if !status.success() {
        return Err(failed(&format!("failed ({status})")).hint("What it said is above; run it by itself to see more."));
    }
    match text {
        Ok(Ok(text)) => Ok(text),
        _ => Err(failed("cannot be read")),
    }
}

/// Reads a short text into one buffer that is wiped, without leaving grown-out copies behind.
fn read_text(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_TEXT as usize + 1));
    let mut from = from.take(MAX_TEXT);
    let mut chunk = Zeroizing::new([0; 512]);
    loop {
        match from.read(&mut *chunk) {
            Ok(0) => return Ok(text),
            Ok(length) => text.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
impl From<[u8; Key::LENGTH]> for Key {
    fn from(bytes: [u8; Key::LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{OpenOptionsExt, PermissionsExt},
    };

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn key_file(directory: &Path, text: &str) -> KeySource {
        let path = directory.join("key");
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        KeySource::File(path)
    }

    #[test]
    fn sources_are_written_with_their_kind() {
        assert_eq!("file:/a:b".parse::<KeySource>().unwrap(), KeySource::File("/a:b".into()));
        assert_eq!("env:KEY_1".parse::<KeySource>().unwrap(), KeySource::Env("KEY_1".into()));
        assert_eq!("command:pass show a:b".parse::<KeySource>().unwrap(), KeySource::Command("pass show a:b".into()));
        for text in ["file:/a:b", "env:KEY_1", "command:pass show a:b"] {
            assert_eq!(text.parse::<KeySource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_key_given_itself_is_refused_without_repeating_it() {
        for text in [HEX.to_owned(), format!("hex:{HEX}"), "file:".into(), "env:".into(), format!("env:{HEX}=")] {
            let error = text.parse::<KeySource>().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(!error.message().contains(HEX) && !error.mend().unwrap().contains(HEX), "{error}");
        }
    }

    #[test]
    fn hex_and_base64_give_the_same_key() {
        let expected: Vec<u8> = (0..32).collect();
        for text in [
            HEX,
            &HEX.to_uppercase(),
            " \n000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\r\n",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
        ] {
            assert_eq!(Key::parse(text.as_bytes()).unwrap().expose()[..], expected, "{text}");
        }
        let safe = base64::prelude::BASE64_URL_SAFE.encode([0xfb; 32]);
        assert_eq!(Key::parse(safe.as_bytes()).unwrap().expose(), &[0xfb; 32]);
    }

    #[test]
    fn anything_else_is_no_key() {
        let long = HEX.repeat(2);
        for text in ["", &HEX[1..], &HEX.replace('0', "g"), &long, "c2hvcnQ=", &"A".repeat(44), &"!".repeat(43)] {
            assert!(Key::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_key_is_said_without_showing_it() {
        let home = tempfile::tempdir().unwrap();
        let source = key_file(home.path(), "canary-password");
        let error = source.load().unwrap_err();
        assert_eq!(error.kind(), Kind::WrongKey);
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        let error = KeySource::Command("echo canary-output".into()).load().unwrap_err();
        assert_eq!(error.kind(), Kind::WrongKey);
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }

    #[test]
    fn a_key_file_is_made_once_and_only_for_a_new_store() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config/attache/key");
        let source = KeySource::File(path.clone());
        let error = source.load().unwrap_err();
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().contains("is missing") && error.mend().unwrap().contains("Restore"), "{error}");
        let made = source.load_or_create().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        assert_eq!(source.load_or_create().unwrap().expose(), made.expose());
        assert_eq!(source.load().unwrap().expose(), made.expose());
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let home = tempfile::tempdir().unwrap();
        let source = key_file(home.path(), HEX);
        let path = home.path().join("key");
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = source.load().unwrap_err();
            assert_eq!(error.kind(), Kind::StoreUnavailable);
            assert_eq!(error.mend().unwrap(), format!("chmod 600 {}", path.display()));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        source.load().unwrap();
    }

    #[test]
    fn a_key_file_inside_the_data_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, home.path().join("link")).unwrap();
        let data = data.canonicalize().unwrap();
        for inside in ["data/key", "data/deep/er/key", "link/key", "other/../data/key"] {
            fs::create_dir_all(home.path().join("other")).unwrap();
            let error = KeySource::File(home.path().join(inside)).check_outside(&data).unwrap_err();
            assert_eq!(error.kind(), Kind::StoreUnavailable);
            assert!(error.message().contains("inside the data directory"), "{error}");
        }
        for outside in ["key", "data-keys/key", "other/key"] {
            KeySource::File(home.path().join(outside)).check_outside(&data).unwrap();
        }
    }

    #[test]
    fn a_command_gives_the_key_or_its_failure() {
        assert_eq!(KeySource::Command(format!("echo {HEX}")).load().unwrap().expose()[31], 31);
        let error = KeySource::Command(format!("echo {HEX}; exit 3")).load().unwrap_err();
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().contains("failed (exit status: 3)"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_given_up() {
        for command in ["exec sleep 600", "echo x; exec sleep 600", "exec >&-; exec sleep 600"] {
            let error = run(command, Duration::from_millis(50)).unwrap_err();
            assert_eq!(error.message(), "The key command took longer than 0 s.", "{command}");
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = KeySource::Env("ATTACHE_TEST_NO_SUCH_KEY".into()).load().unwrap_err();
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().contains("ATTACHE_TEST_NO_SUCH_KEY"), "{error}");
    }
}
