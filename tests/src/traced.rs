//! Commands under strace: what they ask of the disk and of the network, in order, and commands that end, or whose disk fails, at
//! one of these very moments. Whether a disk was waited for shows nowhere else.

use std::{fs, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Attache, Outcome,
    attache::{Running, outcome},
};

/// Calls that change what is on a disk, that wait for it, and the process's last one. Not every processor has all of them.
pub const OF_A_DISK: &str = "write,pwrite64,writev,fsync,fdatasync,?sync_file_range,ftruncate,?mkdir,mkdirat,?rename,?renameat,\
     renameat2,?link,linkat,?unlink,unlinkat,?rmdir,exit_group";

/// A system call.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The thread that made it.
    pub thread: String,
    /// Its name.
    pub name: String,
    /// The whole line, with the paths behind descriptors.
    pub line: String,
    /// When it began, in seconds.
    pub at: f64,
    /// The same, counted in lines of the trace.
    pub began: usize,
    /// When it was done; never, where the process ended in it.
    pub ended: usize,
}

/// A command that ended, and what was seen of it.
#[derive(Debug)]
pub struct Traced {
    /// How it ended.
    pub outcome: Outcome,
    /// What it asked for.
    pub seen: Vec<Seen>,
}

impl Attache {
    /// Runs a command under strace, which sees these calls and does this to them: what `--inject` takes, or `path:` and a file
    /// whose calls alone are meant.
    pub fn traced(&self, calls: &str, inject: &[&str], arguments: &[&str]) -> Traced {
        let (trace, strace) = self.strace(calls, inject);
        let strace: Vec<&str> = strace.iter().map(String::as_str).collect();
        let mut command = self.command_behind(&strace, arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(MISSING);
        let outcome = outcome(child);
        let text = fs::read_to_string(&trace).unwrap();
        assert!(
            !text.is_empty(),
            "strace saw nothing; it takes ptrace(2), which containers may refuse:\n{}",
            outcome.err
        );
        Traced { seen: parse(&text), outcome }
    }

    /// Begins a command under strace, as [`Attache::traced`] does.
    pub fn begin_traced(&self, calls: &str, inject: &[&str], arguments: &[&str]) -> Tracing {
        let (trace, strace) = self.strace(calls, inject);
        let strace: Vec<&str> = strace.iter().map(String::as_str).collect();
        let mut command = self.command_behind(&strace, arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(MISSING);
        Tracing { running: Running::new(child), trace }
    }

    fn strace(&self, calls: &str, inject: &[&str]) -> (String, Vec<String>) {
        let trace = self.folder().join("strace").to_str().unwrap().to_owned();
        let _ = fs::remove_file(&trace);
        let traced = format!("trace={calls}");
        let fixed = ["strace", "-f", "-qq", "-yy", "-ttt", "-s", "4096", "-o", &trace, "-e", &traced];
        let injected = inject.iter().flat_map(|it| match it.strip_prefix("path:") {
            Some(path) => ["-P".to_owned(), path.to_owned()],
            None => ["-e".to_owned(), format!("inject={it}")],
        });
        let strace = fixed.iter().map(|it| (*it).to_owned()).chain(injected).collect();
        (trace, strace)
    }
}

const MISSING: &str = "strace is not installed: run `apt-get install strace`, or `./dev prepare --debian --peers`";

/// A command under strace that runs.
pub struct Tracing {
    /// The command.
    pub running: Running,
    trace: String,
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // strace ends with what it looks at, and not the other way round.
        let strace = self.running.id();
        let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|it| Pid::from_raw(it.parse().ok()?)) {
            let _ = kill_process(child, Signal::KILL);
        }
        self.running.wait();
    }
}

impl Tracing {
    /// What was seen of it so far.
    pub fn seen(&self) -> Vec<Seen> {
        parse(&fs::read_to_string(&self.trace).unwrap_or_default())
    }
}

impl Seen {
    /// Whether it is one of this name, or a later spelling of it (`renameat2` of `rename`), whose line has these words.
    pub fn is(&self, name: &str, words: &str) -> bool {
        self.name.starts_with(name) && self.line.contains(words)
    }
}

/// Demands that these calls, each a name and words of its line, were made one after the other: each was done before the next
/// began. Gives where each stands.
#[track_caller]
pub fn in_order(seen: &[Seen], steps: &[(&str, &str)]) -> Vec<usize> {
    let (mut found, mut from, mut time) = (Vec::new(), 0, 0);
    for (name, words) in steps {
        let at = (from..seen.len()).find(|at| seen[*at].began >= time && seen[*at].is(name, words));
        let at = at.unwrap_or_else(|| {
            let lines: Vec<&str> = seen.iter().map(|it| it.line.as_str()).collect();
            panic!("no `{name}` of “{words}” after {found:?} of {steps:?} in\n{}", lines.join("\n"))
        });
        found.push(at);
        (from, time) = (at + 1, seen[at].ended);
    }
    found
}

/// Moments at which a command was seen to ask the disk for something: each is what strace needs to kill it there.
pub fn moments(seen: &[Seen]) -> Vec<String> {
    let mut moments: Vec<String> = Vec::new();
    for (at, call) in seen.iter().enumerate() {
        // strace counts each call of each thread by itself.
        let before = seen[..at].iter().filter(|it| it.thread == call.thread && it.name == call.name).count();
        let moment = format!("{}:signal=KILL:when={}", call.name, before + 1);
        if !moments.contains(&moment) {
            moments.push(moment);
        }
    }
    moments
}

/// The last of these, if there is one: a call of one of these names whose line has these words.
pub fn last(seen: &[Seen], names: &[&str], words: &str) -> Option<usize> {
    seen.iter().rposition(|it| names.contains(&it.name.as_str()) && it.line.contains(words))
}

fn parse(text: &str) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((at, rest)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(at) = at.parse() else { continue };
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let name = resumed.split(' ').next().unwrap_or_default();
            let of_it = |it: &&mut Seen| it.thread == thread && it.name == name && it.ended == usize::MAX;
            if let Some(call) = seen.iter_mut().rev().find(of_it) {
                call.ended = number;
                call.line += rest;
            }
            continue;
        }
        let Some((name, _)) = rest.split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let is_done = rest.contains(" = ") && !rest.ends_with("<unfinished ...>") && !rest.ends_with("= ?");
        let ended = if is_done { number } else { usize::MAX };
        seen.push(Seen { thread: thread.into(), name: name.into(), line: rest.into(), at, began: number, ended });
    }
    seen
}
