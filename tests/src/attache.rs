//! The command line, run like a person or a script runs it.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{self, Receiver},
    },
    thread,
};

use attache::{
    Host,
    settings::{Given, Settings, Source, Sourced},
};
use serde_json::Value;
use tempfile::TempDir;

/// A machine with nothing on it but the command line: home, configuration and data directory are fresh.
pub struct Attache {
    /// Ends before its data directory goes.
    served: OnceLock<Served>,
    folder: TempDir,
    binary: PathBuf,
    variables: Vec<(String, String)>,
}

/// The environment variable that has commands go through a host that runs, where the story does not start one itself: through
/// its `socket`, or by its `url` with a caller key that may do everything.
const SERVED: &str = "ATTACHE_TESTS_SERVED";

struct Served {
    host: Child,
    /// What tells commands where it is, if they do not find it beside the data.
    variables: Vec<(&'static str, String)>,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Outcome {
    /// Demands success, and gives standard output.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self.out
    }

    /// Demands success, and gives standard output as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let out = self.done();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Demands a failure with this exit code whose sentence or hint has these words.
    #[track_caller]
    pub fn refused(self, code: i32, words: &str) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert!(self.err.contains(words), "expected “{words}” in:\n{}", self.err);
        self
    }
}

impl Attache {
    /// A fresh machine. `binary` is the command under test: `env!("CARGO_BIN_EXE_attache-under-test")`.
    pub fn new(binary: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { served: OnceLock::new(), folder, binary: binary.into(), variables: Vec::new() }
    }

    /// The folder that everything of it is in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The machine's host in this process, which owns the data directory until it is dropped.
    pub fn host(&self) -> Host {
        let given = |value| Some(Sourced { value, source: Source::Flag });
        let settings = Settings::load(Given {
            data_dir: given(self.data()),
            key: Some(Sourced { value: format!("file:{}", self.key_file().display()), source: Source::Flag }),
            environment: None,
        });
        Host::open(&settings.unwrap()).unwrap()
    }

    /// What commands are called in consents and in the audit.
    pub fn caller(&self) -> &'static str {
        match env::var(SERVED).as_deref() {
            Ok("url") => "key:story",
            _ => "cli:tester",
        }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder().join("home/.local/share/attache")
    }

    /// The key file.
    pub fn key_file(&self) -> PathBuf {
        self.folder().join("home/.config/attache/key")
    }

    /// Sets an environment variable for every command from now on.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Writes `attache.toml`.
    pub fn configure(&self, text: &str) {
        let folder = self.folder().join("home/.config/attache");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("attache.toml"), text).unwrap();
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A command, ready to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_behind(&[], arguments)
    }

    /// A command that another one runs.
    pub fn command_behind(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let home = self.folder().join("home");
        fs::create_dir_all(&home).unwrap();
        let mut command = match wrapper {
            [] => Command::new(&self.binary),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.binary);
                command
            }
        };
        command
            .args(arguments)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("USER", "tester")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(self.served.get().into_iter().flat_map(|it| it.variables.iter().map(|(name, value)| (name, value))))
            .current_dir(self.folder())
            .stdin(Stdio::null());
        command
    }

    /// Where [`SERVED`] is set, a host runs from the first command on, and all go through it.
    fn serve_where_wanted(&self) {
        let Some(way) = env::var_os(SERVED) else { return };
        self.served.get_or_init(|| {
            let serve = ["serve", "--listen", "127.0.0.1:0"];
            let mut host = self.command(&serve).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut url = String::new();
            BufReader::new(host.stdout.take().unwrap()).read_line(&mut url).unwrap();
            assert!(url.starts_with("http"), "the host did not start: {url}");
            let variables = match way.to_str() {
                Some("socket") => Vec::new(),
                Some("url") => vec![("ATTACHE_SERVER", url.trim().to_owned()), ("ATTACHE_CALLER_KEY", self.any_key())],
                _ => panic!("{SERVED} is `socket` or `url`"),
            };
            Served { host, variables }
        });
    }

    /// A key that may do everything in the environment that commands go to.
    fn any_key(&self) -> String {
        let may = ["--may", "administer", "--may", "connect", "--may", "call"];
        let create = ["caller", "create", "story", "--allow", "write", "--allow", "destructive"];
        let made = self.command(&[&create[..], &may].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        outcome(made.unwrap()).done().trim().to_owned()
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.serve_where_wanted();
        outcome(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Begins a command.
    pub fn begin(&self, arguments: &[&str]) -> Running {
        self.serve_where_wanted();
        Running::new(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Runs a command that reads standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Outcome {
        self.serve_where_wanted();
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that does not read all of it is free not to.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        outcome(child)
    }

    /// Adds a connector that was built, without being asked.
    #[track_caller]
    pub fn add(&self, name: &str) {
        self.run(&["connector", "add", &connector(name), "--yes"]).done();
    }

    /// Calls an operation and gives its output.
    #[track_caller]
    pub fn call(&self, connection: &str, operation: &str, input: &Value) -> Value {
        self.try_call(connection, operation, input).json()
    }

    /// Calls an operation, whatever comes of it.
    pub fn try_call(&self, connection: &str, operation: &str, input: &Value) -> Outcome {
        self.run(&["call", connection, operation, "--input", &input.to_string()])
    }
}

/// A command that is under way.
pub struct Running {
    child: Child,
    /// Lines of standard error, read by a thread: a command whose pipe is full would wait.
    lines: Receiver<String>,
    said: String,
}

impl Running {
    pub(crate) fn new(mut child: Child) -> Self {
        let err = BufReader::new(child.stderr.take().unwrap());
        let (give, lines) = mpsc::channel();
        thread::spawn(move || err.lines().map_while(Result::ok).try_for_each(|line| give.send(line)));
        Self { child, lines, said: String::new() }
    }

    /// Waits for a line on standard error that has these words, and gives it.
    #[track_caller]
    pub fn said(&mut self, words: &str) -> String {
        loop {
            let line = self.lines.recv();
            let line = line.unwrap_or_else(|_| panic!("it ended without “{words}”:\n{}", self.said));
            self.said += &format!("{line}\n");
            if line.contains(words) {
                return line.trim().to_owned();
            }
        }
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Outcome {
        let mut ended = outcome(self.child);
        self.said.extend(self.lines.into_iter().map(|line| format!("{line}\n")));
        ended.err = self.said;
        ended
    }

    /// Ends it as if the machine had lost power. It may have come to its end before, which its status tells.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Waits for its end, whatever it is.
    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

pub(crate) fn outcome(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The file of a connector or guest that `./dev connectors` built.
pub fn connector(name: &str) -> String {
    let path = target().join("connectors").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `./dev connectors` (or all of it by `./dev test`)", path.display());
    path.to_str().unwrap().to_owned()
}

pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").canonicalize().unwrap()
}
