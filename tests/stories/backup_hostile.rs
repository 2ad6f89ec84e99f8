//! A backup that is not what was written, and processes and disks that end in the middle: nothing, or all of it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use attache_tests::{Attache, service::Service};
use serde_json::json;

use crate::{
    KEY,
    backup::{backed_up, beside},
    connected,
    serving::serve,
    store::on_a_small_disk,
};

/// What is sealed at a time, and what sealing adds to it.
const CHUNK: usize = (64 << 10) + 16;

/// Where the first chunk begins.
fn header(backup: &[u8]) -> usize {
    let begins = b"attache backup\n".len();
    begins + 4 + u32::from_be_bytes(backup[begins..begins + 4].try_into().unwrap()) as usize
}

/// Demands that it is refused with a sentence, and that nothing is left of the attempt.
#[track_caller]
fn is_refused(attache: &Attache, backup: &[u8], what: &str) {
    let file = attache.file("bad", backup);
    let refused = beside(attache, "refused");
    let outcome = refused.run(&["restore", &file]);
    assert!(matches!(outcome.code, Some(2 | 8)), "{what}: {outcome:?}");
    let sentences = ["is not what was written", "is not a backup that", "was written by a newer Attaché"];
    assert!(sentences.iter().any(|sentence| outcome.err.contains(sentence)), "{what}: {}", outcome.err);
    assert!(!refused.data.exists(), "{what}");
}

#[test]
fn whatever_byte_was_changed_nothing_is_restored() {
    let service = Service::plain();
    let attache = connected(&service);
    let good = fs::read(backed_up(&attache, "good")).unwrap();
    let (body, length) = (header(&good), good.len());
    assert!(length > body + 2 * CHUNK, "there are several chunks: {length}");
    let in_header = (0..body).step_by(17);
    let around_chunks = [0, 1, CHUNK - 17, CHUNK - 16, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK].map(|at| body + at);
    for at in in_header.chain(around_chunks).chain([length - 17, length - 16, length - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        is_refused(&attache, &bad, &format!("byte {at} of {length}, {body} of them the header"));
    }
}

#[test]
fn what_was_cut_off_added_swapped_or_put_together_is_not_restored() {
    let service = Service::plain();
    let attache = connected(&service);
    let [one, two] = ["one", "two"].map(|name| fs::read(backed_up(&attache, name)).unwrap());
    let body = header(&one);
    for cut in [0, 7, 15, 17, 19, body - 1, body, body + 1, body + CHUNK, body + CHUNK + 5, one.len() - 1] {
        is_refused(&attache, &one[..cut], &format!("cut at {cut}"));
    }
    is_refused(&attache, &[&one[..], b"\n"].concat(), "a byte added");
    is_refused(&attache, &[&one[..], &two[..]].concat(), "another one added");
    is_refused(&attache, &[&one[..], &two[header(&two)..]].concat(), "chunks of another one added");
    is_refused(&attache, &[&one[..body], &two[header(&two)..]].concat(), "the header of another one");
    let other = header(&two) + CHUNK;
    is_refused(&attache, &[&one[..body + CHUNK], &two[other..]].concat(), "the end of another one");
    let (first, rest) = one[body..].split_at(CHUNK);
    let (second, rest) = rest.split_at(CHUNK);
    is_refused(&attache, &[&one[..body], second, first, rest].concat(), "two chunks swapped");
    is_refused(&attache, &[&one[..body], first, rest].concat(), "a chunk left out");
    is_refused(&attache, &[&one[..body], first, first, second, rest].concat(), "a chunk twice");
    is_refused(&attache, b"\x7fELF", "something else");
}

#[test]
fn a_backup_of_a_newer_format_is_said_to_be_one() {
    let service = Service::plain();
    let attache = connected(&service);
    let good = fs::read(backed_up(&attache, "good")).unwrap();
    let header = String::from_utf8(good[19..header(&good)].to_vec()).unwrap();
    let newer = header.replace("{\"format\":1,", "{\"format\":2,");
    assert_ne!(newer, header);
    let newer = [&good[..19], newer.as_bytes(), &good[19 + header.len()..]].concat();
    let file = attache.file("newer", newer);
    let again = beside(&attache, "again");
    again.run(&["restore", &file]).refused(8, "by a newer Attaché: its format is 2, this one reads up to 1");
    assert!(!again.data.exists());
}

#[test]
fn a_header_that_demands_all_memory_is_refused() {
    let service = Service::plain();
    let mut attache = connected(&service);
    attache.set("WORDS", "several words that nobody guesses");
    let file = attache.folder().join("good").to_str().unwrap().to_owned();
    attache.run(&["backup", &file, "--passphrase", "env:WORDS"]).done();
    let good = fs::read(&file).unwrap();
    let text: serde_json::Value = serde_json::from_slice(&good[19..header(&good)]).unwrap();
    let mut demanding = text.clone();
    demanding["opens-with"]["passphrase"]["cost"]["kibibytes"] = json!(u32::MAX);
    let fields =
        serde_json::to_vec(&(&demanding["format"], &demanding["opens-with"], &demanding["stream-key"])).unwrap();
    demanding["checksum"] = json!(hex::encode(attache::digest::Digest::of(&fields).as_bytes()));
    let demanding = demanding.to_string();
    let length = u32::try_from(demanding.len()).unwrap().to_be_bytes();
    let bad = [&good[..15], &length, demanding.as_bytes(), &good[header(&good)..]].concat();
    let file = attache.file("demanding", bad);
    let again = beside(&attache, "again");
    again.run(&["restore", &file, "--passphrase", "env:WORDS"]).refused(2, "demands more memory or time");
}

#[test]
fn nothing_that_is_there_is_written_over() {
    let service = Service::plain();
    let attache = connected(&service);
    let file = backed_up(&attache, "kept");
    let before = fs::read(&file).unwrap();
    attache.run(&["backup", &file]).refused(2, "is there already").refused(2, "--force");
    assert_eq!(fs::read(&file).unwrap(), before);
    attache.run(&["backup", &file, "--force"]).done();
    assert_ne!(fs::read(&file).unwrap(), before);
    attache.run(&["backup", attache.folder().to_str().unwrap()]).refused(2, "is a directory");
    attache.run(&["backup", "nowhere/file"]).refused(8, "does not exist");
    attache.run(&["restore", "nothing"]).refused(3, "cannot be read");
    // Neither a data directory in use nor anything else.
    attache.run(&["restore", &file]).refused(2, "has something in it").refused(2, "--data-dir DIR");
    let other = beside(&attache, "other");
    fs::create_dir(&other.data).unwrap();
    fs::write(other.data.join("letter"), "dear").unwrap();
    other.run(&["restore", &file]).refused(2, "has something in it");
    assert_eq!(fs::read_dir(&other.data).unwrap().count(), 1);
    let (_host, _) = serve(&attache, &[]);
    attache.run(&["restore", &file]).refused(2, "has something in it");
    // One that is empty is there to be restored to, as the root of a file system is.
    let empty = beside(&attache, "empty");
    fs::create_dir_all(empty.data.join("lost+found")).unwrap();
    fs::set_permissions(&empty.data, fs::Permissions::from_mode(0o700)).unwrap();
    empty.run(&["restore", &file]).done();
    assert!(empty.data.join("lost+found").exists());
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_restoring_that_is_killed_leaves_nothing_or_all_of_it() {
    let service = Service::plain();
    let attache = connected(&service);
    let file = backed_up(&attache, "kept");
    let whole = fs::read(&file).unwrap();
    let again = beside(&attache, "again");
    let data = again.data.to_str().unwrap();
    // In the very middle: half of it has come.
    let mut child = attache.command(&["--data-dir", data, "restore", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&whole[..whole.len() / 2]).unwrap();
    let began = Instant::now();
    while !again.data.join("restoring/store/sled/db").exists() {
        assert!(began.elapsed() < Duration::from_secs(60));
        thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(&again.data), ["lock", "restoring"]);
    again.run(&["restore", &file]).done();
    again.run(&["store", "check"]).done();
    assert!(names(&again.data).iter().all(|name| !name.starts_with("restor")), "{:?}", names(&again.data));
    // And at any other moment.
    let mut left = [0, 0];
    for round in 0..30u64 {
        let again = beside(&attache, &format!("killed-{round}"));
        let data = again.data.to_str().unwrap();
        let mut command = attache.command(&["--data-dir", data, "restore", &file]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(round * 5));
        child.kill().unwrap();
        child.wait().unwrap();
        let outcome = again.run(&["restore", &file]);
        left[usize::from(outcome.code != Some(0))] += 1;
        if outcome.code != Some(0) {
            outcome.refused(2, "has something in it");
        }
        let checked = again.run(&["--output", "json", "store", "check"]).json();
        assert_eq!(checked["findings"], json!([]), "{round}");
        let seen = again.run(&["call", "echo", "send", "--input", &json!({ "url": service.base() }).to_string()]);
        seen.done();
        assert_eq!(service.received().last().unwrap().header("x-api-key"), Some(KEY));
    }
    assert!(left[0] > 0, "{left:?}");
}

#[test]
fn a_backing_up_that_is_killed_leaves_no_file_that_is_taken_for_one() {
    let service = Service::plain();
    let attache = connected(&service);
    let folder = attache.folder().join("backups");
    fs::create_dir(&folder).unwrap();
    let (_host, _) = serve(&attache, &[]);
    for round in 0..20u64 {
        let file = folder.join(format!("b{round}"));
        let mut command = attache.command(&["backup", file.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(round * 4));
        child.kill().unwrap();
        child.wait().unwrap();
        if file.exists() {
            attache.run(&["restore", file.to_str().unwrap(), "--check"]).done();
        }
    }
    // What was left under other names is taken away by the next; the host may be busy with the last one yet.
    let last = folder.join("last");
    let began = Instant::now();
    while attache.run(&["backup", last.to_str().unwrap()]).code != Some(0) {
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    assert!(names(&folder).iter().all(|name| !name.starts_with('.')), "{:?}", names(&folder));
}

#[test]
fn a_host_that_is_killed_in_the_middle_of_a_backup_leaves_none() {
    let service = Service::plain();
    let attache = connected(&service);
    // More than fits into what lies between the host and whoever reads.
    for name in ["azure-blob", "dataverse", "facebook", "github", "http", "s3", "x"] {
        attache.add(name);
    }
    let (mut host, _) = serve(&attache, &[]);
    let mut child = attache.command(&["backup", "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = vec![0; 100];
    child.stdout.as_mut().unwrap().read_exact(&mut out).unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(8), "{said}");
    assert!(said.contains("which is therefore none"), "{said}");
    is_refused(&attache, &out, "what came");
}

#[test]
fn a_full_disk_leaves_neither_half_a_backup_nor_half_a_data_directory() {
    let service = Service::plain();
    let attache = connected(&service);
    let file = backed_up(&attache, "kept");
    let mut shell = on_a_small_disk(
        &attache,
        &format!(
            "fill() {{ dd if=/dev/zero of=$SMALL/filler bs=4k count=$1 2>/dev/null; }}\n\
             try() {{ code=0; $ATTACHE \"$@\" >$HOME.out 2>$HOME.err || code=$?; echo \"code $code\"; cat $HOME.err; ls -A $SMALL; }}\n\
             fill 3050; try backup $SMALL/backup\n\
             fill 2200; try --data-dir $SMALL/data restore {file}\n\
             fill 1; try backup $SMALL/backup\n\
             rm $SMALL/backup; try --data-dir $SMALL/data restore {file}\n"
        ),
    );
    let output = shell.output().expect("util-linux is not installed: run `apt-get install util-linux`");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let parts: Vec<&str> = said.split("code ").skip(1).collect();
    assert_eq!(parts.len(), 4, "user namespaces must be allowed for this test; it said:\n{said}");
    for (part, left) in parts.iter().zip(["filler\n", "filler\n", "backup\nfiller\n", "data\nfiller\n"]) {
        assert!(part.ends_with(left), "{said}");
    }
    for (part, code) in parts.iter().zip(["8", "8", "0", "0"]) {
        assert!(part.starts_with(code), "{said}");
    }
    assert!(parts[0].contains("full") && parts[1].contains("full"), "{said}");
}
