//! What can be set, and where each value came from: a flag, the environment, `attache.toml`, or a default.

use std::{
    env, fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Kind, Result},
    runtime,
    store::KeySource,
    traffic::TrafficTable,
    transport,
};

/// How many calls may run at once; each keeps address space, and memory only while it is in use.
const CONCURRENCY: u32 = 64;

/// A day: nothing that takes longer is a call.
const LONGEST_SECONDS: u64 = 86_400;
/// What 32-bit WebAssembly can address.
const MOST_MEMORY: u64 = 4 << 30;
/// Each takes address space; this many fill what a process has.
const MOST_INSTANCES: u64 = 100_000;

/// More than any host serves.
const MOST_TRAFFIC: u64 = 1_000_000;

/// Everything that an operator may set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the store, the audit and the connectors' files are.
    pub data_dir: Sourced<PathBuf>,
    /// Where the key-encryption key comes from; none for the key file of its own.
    pub key: Option<Sourced<String>>,
    /// The environment that is worked in.
    pub environment: Sourced<String>,
    /// Certificate authorities beside the machine's own, as a PEM file.
    pub ca_file: Option<Sourced<PathBuf>>,
    /// How many calls may run at once.
    pub concurrency: Sourced<u32>,
    /// What one instance may use up.
    pub limits: Sourced<runtime::Limits>,
    /// What one request may take.
    pub transport: Sourced<TransportTable>,
    /// How much of the host one caller may have.
    pub traffic: Sourced<TrafficTable>,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

/// Where a setting came from; the first of these that has it wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A flag on the command line.
    Flag,
    /// An environment variable.
    Variable,
    /// `attache.toml`.
    File,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Flag => "flag",
            Source::Variable => "environment variable",
            Source::File => "attache.toml",
            Source::Default => "default",
        })
    }
}

/// What came from flags and environment variables.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--data-dir` or `ATTACHE_DATA_DIR`.
    pub data_dir: Option<Sourced<PathBuf>>,
    /// `--key` or `ATTACHE_KEY`.
    pub key: Option<Sourced<String>>,
    /// `--environment` or `ATTACHE_ENVIRONMENT`.
    pub environment: Option<Sourced<String>>,
}

/// `attache.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    data_dir: Option<PathBuf>,
    key: Option<String>,
    environment: Option<String>,
    ca_file: Option<PathBuf>,
    concurrency: Option<u32>,
    limits: Option<runtime::Limits>,
    transport: Option<TransportTable>,
    traffic: Option<TrafficTable>,
}

/// `[transport]`: what one request may take, in whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TransportTable {
    /// Looking up a name.
    pub resolve_seconds: u64,
    /// Until a connection can be used.
    pub connect_seconds: u64,
    /// Until the head of the answer.
    pub first_byte_seconds: u64,
    /// Between two pieces of a body.
    pub idle_seconds: u64,
    /// All of it.
    pub total_seconds: u64,
    /// How long a service is left alone that failed again and again.
    pub rest_seconds: u64,
    /// Header fields of an answer.
    pub header_count: usize,
    /// Bytes of the header fields of an answer.
    pub header_bytes: usize,
}

impl Default for TransportTable {
    fn default() -> Self {
        let limits = transport::Limits::default();
        Self {
            resolve_seconds: limits.resolve.as_secs(),
            connect_seconds: limits.connect.as_secs(),
            first_byte_seconds: limits.first_byte.as_secs(),
            idle_seconds: limits.idle.as_secs(),
            total_seconds: limits.total.as_secs(),
            rest_seconds: limits.rest.as_secs(),
            header_count: limits.header_count,
            header_bytes: limits.header_bytes,
        }
    }
}

impl TransportTable {
    /// With the body's cap, which is the instance's: what the guest may not be given need not be read.
    fn limits(&self, response_bytes: u64) -> transport::Limits {
        let body = usize::try_from(response_bytes).unwrap_or(usize::MAX);
        transport::Limits {
            resolve: Duration::from_secs(self.resolve_seconds),
            connect: Duration::from_secs(self.connect_seconds),
            first_byte: Duration::from_secs(self.first_byte_seconds),
            idle: Duration::from_secs(self.idle_seconds),
            total: Duration::from_secs(self.total_seconds),
            rest: Duration::from_secs(self.rest_seconds),
            header_count: self.header_count,
            header_bytes: self.header_bytes,
            body_on_wire: body,
            body_decoded: body,
        }
    }
}

impl Settings {
    /// Gathers the settings: what was given, then `attache.toml` (in `ATTACHE_CONFIG`, else in the configuration
    /// directory), then defaults.
    ///
    /// # Errors
    /// `usage` where the file cannot be read or says something that is not a setting.
    pub fn load(given: Given) -> Result<Self> {
        let directories = directories()?;
        let (file, path) = read_file(&directories.config)?;
        let relative_to_file = |path_in_file: PathBuf| {
            path.as_deref().and_then(Path::parent).map_or_else(|| path_in_file.clone(), |base| base.join(&path_in_file))
        };
        let limits = file.limits.map_or_else(|| default(runtime::Limits::default()), from_file);
        let transport = file.transport.map_or_else(|| default(TransportTable::default()), from_file);
        let traffic = file.traffic.map_or_else(|| default(TrafficTable::default()), from_file);
        let settings = Self {
            data_dir: given
                .data_dir
                .or(file.data_dir.map(relative_to_file).map(from_file))
                .unwrap_or_else(|| default(directories.data)),
            key: given.key.or(file.key.map(from_file)),
            environment: given
                .environment
                .or(file.environment.map(from_file))
                .unwrap_or_else(|| default("default".into())),
            ca_file: file.ca_file.map(relative_to_file).map(from_file),
            concurrency: file.concurrency.map_or_else(|| default(CONCURRENCY), from_file),
            limits,
            transport,
            traffic,
            file: path,
        };
        settings.refuse_absurd()?;
        Ok(settings)
    }
}

impl Settings {
    /// Refuses numbers that no clock or address space can hold.
    fn refuse_absurd(&self) -> Result<()> {
        let (limits, transport) = (&self.limits.value, &self.transport.value);
        let within = |name: &str, value: u64, most: u64| match value <= most {
            true => Ok(()),
            false => Err(Kind::Usage.error(format!("The setting `{name}` is {value}; it may be {most} at the most."))),
        };
        for (name, seconds) in [
            ("limits.wall-seconds", limits.wall_seconds),
            ("limits.compute-seconds", limits.compute_seconds),
            ("limits.compile-seconds", limits.compile_seconds),
            ("limits.describe-seconds", limits.describe_seconds),
            ("transport.resolve-seconds", transport.resolve_seconds),
            ("transport.connect-seconds", transport.connect_seconds),
            ("transport.first-byte-seconds", transport.first_byte_seconds),
            ("transport.idle-seconds", transport.idle_seconds),
            ("transport.total-seconds", transport.total_seconds),
            ("transport.rest-seconds", transport.rest_seconds),
        ] {
            within(name, seconds, LONGEST_SECONDS)?;
        }
        let traffic = &self.traffic.value;
        for (name, value) in [
            ("traffic.caller-per-second", traffic.caller_per_second),
            ("traffic.caller-burst", traffic.caller_burst),
            ("traffic.caller-at-once", traffic.caller_at_once),
            ("traffic.connection-per-second", traffic.connection_per_second),
            ("traffic.connection-burst", traffic.connection_burst),
            ("traffic.connection-at-once", traffic.connection_at_once),
            ("traffic.host-at-once", traffic.host_at_once),
            ("traffic.unknown-keys-per-minute", traffic.unknown_keys_per_minute),
        ] {
            within(name, value.into(), MOST_TRAFFIC)?;
            if value == 0 {
                return Err(Kind::Usage.error(format!("The setting `{name}` is 0, so nobody could be let in.")));
            }
        }
        within("limits.memory-bytes", limits.memory_bytes, MOST_MEMORY)?;
        within("concurrency", self.concurrency.value.into(), MOST_INSTANCES)?;
        if self.concurrency.value == 0 {
            return Err(Kind::Usage.error("The setting `concurrency` is 0, so nothing could run."));
        }
        Ok(())
    }

    /// Where the key comes from.
    ///
    /// # Errors
    /// `usage` where it is not one of the forms; `store-unavailable` without a home directory.
    pub fn key_source(&self) -> Result<KeySource> {
        match &self.key {
            Some(key) => key.value.parse(),
            None => KeySource::default_file(),
        }
    }

    /// The bounds of one request.
    pub fn transport_limits(&self) -> transport::Limits {
        self.transport.value.limits(self.limits.value.response_bytes)
    }
}

struct Directories {
    data: PathBuf,
    config: PathBuf,
}

fn directories() -> Result<Directories> {
    let base = etcetera::choose_base_strategy().map_err(|_| {
        Kind::Usage
            .error("There is no home directory to keep things in.")
            .hint("Set HOME, or pass --data-dir and --key.")
    })?;
    Ok(Directories { data: base.data_dir().join("attache"), config: base.config_dir().join("attache") })
}

fn read_file(config: &Path) -> Result<(File, Option<PathBuf>)> {
    let named = env::var_os("ATTACHE_CONFIG").map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| config.join("attache.toml"));
    let wrong = |why: String| -> Error { Kind::Usage.error(format!("{}: {why}", path.display())) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => return Ok((File::default(), None)),
        Err(error) => return Err(wrong(format!("{error}."))),
    };
    let file = toml::from_str(&text).map_err(|error| {
        wrong(error.to_string()).hint("`attache config show` lists what can be set, with its defaults.")
    })?;
    Ok((file, Some(path)))
}

fn default<T>(value: T) -> Sourced<T> {
    Sourced { value, source: Source::Default }
}

fn from_file<T>(value: T) -> Sourced<T> {
    Sourced { value, source: Source::File }
}
