//! The audit's disk is full, or fails: what would have to be written down does not happen, and once there is room again everything
//! goes on.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    process::{Child, ChildStdout, Stdio},
};

use attache_tests::{Attache, service::Service};
use serde_json::json;

use crate::{
    connect, connected,
    mcp::{Slow, soon},
    store::on_a_small_disk,
    with_echo,
};

/// A shell that has a copy of a machine's data directory on a small disk, and `run` for commands on it.
struct Small {
    shell: Child,
    said: BufReader<ChildStdout>,
}

impl Small {
    fn start(attache: &Attache) -> Self {
        let script = "exec 2>&1\n\
            cp -a $DATA $SMALL/data\n\
            run() { $ATTACHE --data-dir $SMALL/data \"$@\"; }\n\
            fill() { dd if=/dev/zero of=$SMALL/filler bs=$1 2>/dev/null || true; }\n\
            while read -r line; do code=0; eval \"$line\" || code=$?; echo \"== $code\"; done\n\
            [ -z \"$host\" ] || kill -9 $host\n";
        let mut shell = on_a_small_disk(attache, script);
        shell.env("DATA", attache.data()).env("host", "").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("util-linux is not installed: run `apt-get install util-linux`");
        let said = BufReader::new(shell.stdout.take().unwrap());
        Self { shell, said }
    }

    /// Runs a line of shell, and gives its exit code and what it said.
    #[track_caller]
    fn run(&mut self, line: &str) -> (i32, String) {
        writeln!(self.shell.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.ended()
    }

    /// Waits for the end of what runs.
    #[track_caller]
    fn ended(&mut self) -> (i32, String) {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let read = self.said.read_line(&mut line).unwrap();
            assert!(read > 0, "user namespaces must be allowed for this test; it said:\n{all}");
            match line.trim().strip_prefix("== ") {
                Some(code) => return (code.parse().unwrap(), all),
                None => all += &line,
            }
        }
    }

    #[track_caller]
    fn done(&mut self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, 0, "{line}: {said}");
        said
    }

    #[track_caller]
    fn refused(&mut self, line: &str, words: &str) {
        let (code, said) = self.run(line);
        assert!(code == 8 && said.contains(words), "{line}: {code} {said}");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // It ends what it runs when nothing more comes.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn call(service: &Service, path: &str, times: usize) -> String {
    let input = json!({ "url": format!("{}{path}", service.base()), "times": times });
    format!("run call echo send --input '{input}'")
}

#[test]
fn a_command_sends_nothing_while_its_disk_is_full_and_works_when_there_is_room() {
    let service = Service::plain();
    let attache = connected(&service);
    let mut small = Small::start(&attache);
    small.done(&call(&service, "/before", 1));
    let asked = service.received().len();
    for fill in [
        "fill 1k",
        "dd if=/dev/zero of=$SMALL/filler bs=1k count=$(($(df --output=avail $SMALL | tail -n 1) - 4500)) 2>/dev/null",
    ] {
        small.done(fill);
        for _ in 0..2 {
            small.refused(&call(&service, "/full", 1), "full");
            small.refused("run connection check echo", "full");
        }
        assert_eq!(service.received().len(), asked, "{fill}");
        small.done("rm $SMALL/filler");
    }
    small.done(&call(&service, "/after", 1));
    assert_eq!(service.received().len(), asked + 1);
    small.done("run audit verify");
    small.done("run store check");
}

#[test]
fn calls_that_are_under_way_when_the_disk_fills_send_nothing_more_and_a_host_goes_on_when_there_is_room() {
    let slow = Slow::start();
    let attache = with_echo();
    connect(&attache, "header", &slow.service, &[]).done();
    let mut small = Small::start(&attache);
    small.done("$ATTACHE --data-dir $SMALL/data serve --listen 127.0.0.1:0 >$HOME/url 2>/dev/null & host=$!");
    small.done("until [ -s $HOME/url ]; do sleep 0.02; done");
    let sent = |path: &str| slow.service.received().iter().filter(|it| it.line.contains(path)).count();
    // Its first request is out when the disk fills, and its second is never sent.
    small.done(&format!(
        "{{ code=0; {} >$HOME/under-way 2>&1 || code=$?; echo \"ended $code\" >>$HOME/under-way; }} & calling=$!",
        call(&slow.service, "/slow", 2)
    ));
    slow.asked(1);
    small.done("fill 512");
    small.refused(&call(&slow.service, "/full", 1), "is full, so nothing is done that it would have to know of");
    slow.release();
    small.done("wait $calling");
    let ended = small.done("cat $HOME/under-way");
    assert!(ended.contains("ended 8") && ended.contains("Free some space"), "{ended}");
    assert_eq!((sent("/slow"), sent("/full")), (1, 0));
    small.done("rm $SMALL/filler");
    // The host was not started anew.
    small.done(&call(&slow.service, "/after", 1));
    assert_eq!(sent("/after"), 1);
    small.done("run audit verify");
    let listed = small.done("run --output json audit list");
    let lines: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let of = |event: &str, path: &str| {
        let all = lines.as_array().unwrap().iter().filter(|it| it["event"] == event);
        all.filter(|it| it["path"].as_str().is_none_or(|it| it == path)).count()
    };
    // What came of the request that was out was held back until there was room.
    assert_eq!((of("credential-used", "/slow"), of("credential-used", "/full")), (1, 0), "{lines:#}");
    let ended = lines.as_array().unwrap().iter().filter(|it| it["event"] == "call-ended");
    let outcomes: Vec<_> = ended.map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["store-unavailable", "store-unavailable", "done"], "{lines:#}");
}

const WRITES: &str = "write,fdatasync";

/// What strace does to a call on the audit's file alone.
fn on_the_audit(attache: &Attache, inject: &str, arguments: &[&str]) -> attache_tests::traced::Traced {
    let path = attache.data().join("audit.log");
    attache.traced(WRITES, &[inject, &format!("path:{}", path.display())], arguments)
}

#[test]
fn a_disk_that_takes_no_line_has_nothing_leave_whatever_it_says() {
    let service = Service::plain();
    let attache = connected(&service);
    let input = json!({ "url": format!("{}/x", service.base()) }).to_string();
    let arguments = ["call", "echo", "send", "--input", &input];
    for error in ["EIO", "ENOSPC", "EDQUOT", "EROFS", "EFBIG"] {
        let asked = service.received().len();
        let traced = on_the_audit(&attache, &format!("write:error={error}:when=1"), &arguments);
        traced.outcome.refused(8, "so nothing is done that it would have to know of");
        assert_eq!(service.received().len(), asked, "{error}");
        attache.run(&arguments).done();
        attache.run(&["audit", "verify"]).done();
    }
}

#[test]
fn a_disk_that_cannot_be_waited_for_ends_a_command_and_every_call_of_a_host() {
    let service = Service::plain();
    let attache = connected(&service);
    let input = json!({ "url": format!("{}/x", service.base()) }).to_string();
    let arguments = ["call", "echo", "send", "--input", &input];
    let failing = "fdatasync:error=EIO:when=1+";
    let path = format!("path:{}", attache.data().join("audit.log").display());
    on_the_audit(&attache, failing, &arguments).outcome.refused(8, "The audit cannot be written");
    let host = attache.begin_traced(WRITES, &[failing, &path], &["serve", "--listen", "127.0.0.1:0"]);
    soon("it never listened", || UnixStream::connect(attache.data().join("attache.sock")).is_ok());
    // The line is written, and lost to a power cut; from then on nothing is done any longer.
    let _ = attache.run(&arguments);
    soon("it never noticed", || host.seen().iter().any(|it| it.is("fdatasync", "INJECTED")));
    let asked = service.received().len();
    for _ in 0..3 {
        attache.run(&arguments).refused(8, "so nothing is done that it would have to know of");
    }
    assert_eq!(service.received().len(), asked);
    drop(host);
    attache.run(&arguments).done();
    attache.run(&["audit", "verify"]).done();
}
