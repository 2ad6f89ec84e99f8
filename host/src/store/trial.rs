//! Tests that need a process of their own: to be killed, to have a disk that is full, or to lack a right.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Tells the process that runs a test again that it is the one, and in which directory to work.
const WHERE: &str = "ATTACHE_TRIAL_DIRECTORY";

/// The directory to work in, if this process was started by [`again`].
pub(crate) fn place() -> Option<PathBuf> {
    std::env::var_os(WHERE).map(PathBuf::from)
}

/// The command that runs this one test again, behind `wrapper`. `module` is `module_path!()`.
pub(crate) fn again(wrapper: &[&str], module: &str, test: &str, directory: &Path) -> Command {
    let (_, module) = module.split_once("::").expect("the crate's name comes first");
    let program = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(["--exact", &format!("{module}::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(WHERE, directory);
    command
}

/// Runs `body` in a process of its own, on a file system of `size` that goes away with it.
pub(crate) fn on_small_disk(size: &str, module: &str, test: &str, body: impl FnOnce(&Path)) {
    if let Some(directory) = place() {
        let options = format!("size={size}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&directory).status();
        assert!(status.unwrap().success(), "mounting a tmpfs failed");
        return body(&directory);
    }
    let home = tempfile::tempdir().unwrap();
    // A mount namespace of its own: nobody else sees the mount, and it ends with the process, however that ends.
    let wrapper: &[&str] = if is_root() { &["unshare", "--mount"] } else { &["unshare", "--mount", "--map-root-user"] };
    let output = again(wrapper, module, test, home.path()).output().expect("this test needs `unshare` of util-linux");
    assert_passed(&output, "This test mounts a small tmpfs; it needs root or unprivileged user namespaces.");
}

/// Runs `body` in a process of its own that has to respect the modes of files, even if root runs the tests.
pub(crate) fn without_privilege(module: &str, test: &str, body: impl FnOnce(&Path)) {
    if let Some(directory) = place() {
        return body(&directory);
    }
    let home = tempfile::tempdir().unwrap();
    let drop =
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"];
    let wrapper: &[&str] = if is_root() { &drop } else { &[] };
    let output = again(wrapper, module, test, home.path()).output().expect("this test needs `setpriv` of util-linux");
    assert_passed(&output, "Run by root, this test needs the capability to drop capabilities.");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn assert_passed(output: &Output, needs: &str) {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && stdout.contains("1 passed"), "{needs}\n{stdout}\n{stderr}");
}
