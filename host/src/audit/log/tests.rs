use std::{fs, io::Write};

use super::{
    super::event::{About, Subject},
    *,
};
use crate::{digest::Digest, store::trial};

fn key() -> Secret {
    Secret::new([7; 32])
}

fn event(connection: &str) -> Event {
    Event::connected(&Subject::new(About {
        environment: "default".into(),
        connection: connection.into(),
        connector: "c".into(),
        digest: Digest::of(b""),
        operation: String::new(),
        call: uuid::Uuid::nil(),
        caller: "test".into(),
    }))
}

/// Writes some lines and gives the head that a finished command would note.
fn written(folder: &Path, lines: usize) -> Head {
    let audit = Audit::open(folder, key(), None).unwrap();
    for line in 0..lines {
        audit.write(&event(&format!("c{line}"))).unwrap();
    }
    audit.sync().unwrap();
    audit.head().unwrap()
}

/// One that fails. A file that is open for reading only stands for a disk that takes no more.
fn failing(folder: &Path) -> Audit {
    let audit = Audit::open(folder, key(), None).unwrap();
    lock(&audit.shared.end).file = Arc::new(File::open(Audit::path(folder)).unwrap());
    audit
}

fn verify(folder: &Path, anchor: &Head) -> std::result::Result<u64, String> {
    Audit::verify(&Audit::path(folder), &key(), Some(anchor)).map_err(|error| error.to_string())
}

/// Changes the file's lines, and says what verifying finds.
fn after(change: impl FnOnce(&mut Vec<String>)) -> std::result::Result<u64, String> {
    let folder = tempfile::tempdir().unwrap();
    let head = written(folder.path(), 4);
    let path = Audit::path(folder.path());
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    verify(folder.path(), &head)
}

#[test]
fn a_chain_goes_on_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 2);
    let head = written(folder.path(), 2);
    assert_eq!(head.seq, 4);
    assert_eq!(verify(folder.path(), &head), Ok(4));
}

#[test]
fn a_changed_dropped_swapped_added_or_cut_line_is_found() {
    assert_eq!(after(|_| {}), Ok(4));
    assert!(after(|lines| lines[1] = lines[1].replace("c1", "c9")).unwrap_err().contains("line 2 was changed"));
    assert!(after(|lines| drop(lines.remove(1))).unwrap_err().contains("line 2 has the number 3"));
    assert!(after(|lines| lines.swap(1, 2)).unwrap_err().contains("line 2 has the number 3"));
    assert!(after(|lines| lines.insert(1, lines[1].clone())).unwrap_err().contains("line 3 has the number 2"));
    assert!(after(|lines| drop(lines.pop())).unwrap_err().contains("ends at line 3"));
    assert!(after(|lines| lines.clear()).unwrap_err().contains("ends at line 0"));
    assert!(after(|lines| lines[2] = "{}".into()).unwrap_err().contains("line 3 is not a line"));
}

#[test]
fn a_cut_stays_visible_however_much_is_written_after_it() {
    // Regression: the next command noted the end of what was left as the end of all.
    let folder = tempfile::tempdir().unwrap();
    let anchor = written(folder.path(), 4);
    let path = Audit::path(folder.path());
    let kept: String = fs::read_to_string(&path).unwrap().lines().take(2).map(|line| format!("{line}\n")).collect();
    fs::write(&path, kept).unwrap();
    let audit = Audit::open(folder.path(), key(), Some(anchor)).unwrap();
    audit.write(&event("after")).unwrap();
    audit.sync().unwrap();
    let head = audit.head().unwrap();
    assert_eq!(head.seq, 5);
    assert!(verify(folder.path(), &head).unwrap_err().contains("line 3 has the number 5 where 3 belongs"));
}

#[test]
fn another_key_does_not_continue_the_chain_unnoticed() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 1);
    let audit = Audit::open(folder.path(), Secret::new([8; 32]), None).unwrap();
    audit.write(&event("forged")).unwrap();
    audit.sync().unwrap();
    assert!(
        Audit::verify(&Audit::path(folder.path()), &key(), None).unwrap_err().message().contains("line 2 was changed")
    );
}

#[test]
fn a_line_torn_by_a_crash_is_set_aside_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 2);
    let path = Audit::path(folder.path());
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":3,\"ti").unwrap();
    let head = written(folder.path(), 1);
    assert_eq!(verify(folder.path(), &head), Ok(3));
    let aside: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .filter(|it| it.file_name().to_string_lossy().contains("torn"))
        .collect();
    assert_eq!(fs::read(aside[0].path()).unwrap(), b"{\"seq\":3,\"ti");
}

#[test]
fn an_audit_that_cannot_be_written_refuses_everything_after() {
    let folder = tempfile::tempdir().unwrap();
    let audit = failing(folder.path());
    for _ in 0..2 {
        assert_eq!(audit.write(&event("c")).unwrap_err().kind(), Kind::StoreUnavailable);
    }
    assert_eq!(audit.sync().unwrap_err().kind(), Kind::StoreUnavailable);
}

#[test]
fn many_tasks_write_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(folder.path(), key(), None).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let audit = &audit;
            scope.spawn(move || (0..50).for_each(|_| audit.write(&event(&format!("t{thread}"))).unwrap()));
        }
    });
    audit.sync().unwrap();
    assert_eq!(verify(folder.path(), &audit.head().unwrap()), Ok(200));
}

#[test]
fn what_was_noted_is_there_for_whoever_reads() {
    // Regression: a call's end was not yet in the list that was asked for right after it.
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(folder.path(), key(), None).unwrap();
    audit.note(&event("over")).unwrap();
    audit.settle();
    assert!(fs::read_to_string(Audit::path(folder.path())).unwrap().contains("over"));
}

#[tokio::test]
async fn the_line_of_a_request_is_in_the_file_before_it_leaves_however_many_leave_together() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Arc::new(Audit::open(folder.path(), key(), None).unwrap());
    let path = Audit::path(folder.path());
    let leaving = (0..20).map(|number| {
        let (audit, path) = (audit.clone(), path.clone());
        tokio::spawn(async move {
            let name = format!("c{number}");
            audit.leaving(&event(&name)).await.unwrap();
            assert!(fs::read_to_string(path).unwrap().contains(&format!("\"{name}\"")), "{name}");
        })
    });
    for left in leaving.collect::<Vec<_>>() {
        left.await.unwrap();
    }
    audit.sync().unwrap();
    assert_eq!(verify(folder.path(), &audit.head().unwrap()), Ok(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lines_that_come_from_everywhere_at_once_are_one_chain_in_the_order_of_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Arc::new(Audit::open(folder.path(), key(), None).unwrap());
    let path = Audit::path(folder.path());
    let work = (0..40).map(|number| {
        let (audit, path) = (audit.clone(), path.clone());
        tokio::spawn(async move {
            for turn in 0..10 {
                let name = format!("leaves-{number}-{turn}");
                audit.leaving(&event(&name)).await.unwrap();
                assert!(fs::read_to_string(&path).unwrap().contains(&format!("\"{name}\"")), "{name}");
                audit.note(&event(&format!("over-{number}-{turn}"))).unwrap();
                match turn % 4 {
                    0 => audit.write(&event("written")).unwrap(),
                    1 => audit.settle(),
                    _ => {}
                }
            }
        })
    });
    for done in work.collect::<Vec<_>>() {
        done.await.unwrap();
    }
    audit.sync().unwrap();
    assert_eq!(verify(folder.path(), &audit.head().unwrap()), Ok(40 * (10 + 10 + 3)));
    let text = fs::read_to_string(path).unwrap();
    let times: Vec<&str> = text.lines().map(|line| line.split('"').nth(5).unwrap()).collect();
    assert!(times[0].ends_with('Z') && times.is_sorted(), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_leaves_once_the_audit_cannot_be_written_however_many_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Arc::new(failing(folder.path()));
    let leaving = (0..40).map(|_| {
        let audit = audit.clone();
        tokio::spawn(async move { audit.leaving(&event("c")).await.unwrap_err().kind() })
    });
    for refused in leaving.collect::<Vec<_>>() {
        assert_eq!(refused.await.unwrap(), Kind::StoreUnavailable);
    }
}

#[test]
fn a_full_disk_takes_nothing_into_the_chain_and_what_was_held_back_is_written_once_there_is_room() {
    trial::on_small_disk(
        "64k",
        module_path!(),
        "a_full_disk_takes_nothing_into_the_chain_and_what_was_held_back_is_written_once_there_is_room",
        |disk| {
            let audit = Audit::open(disk, key(), None).unwrap();
            audit.write(&event("before")).unwrap();
            let (path, head) = (disk.join("filler"), audit.head());
            let mut filler = File::create(&path).unwrap();
            while filler.write_all(&[0; 512]).is_ok() {}
            // The page that the file has already takes some more; what does not fit whole is not begun.
            let refused = (0..).find_map(|_| audit.write(&event("full")).err()).unwrap();
            assert_eq!(refused.kind(), Kind::StoreUnavailable);
            assert!(refused.message().starts_with("The disk that holds the audit is full"), "{refused}");
            let (full, text) = (audit.head(), fs::read_to_string(Audit::path(disk)).unwrap());
            assert_ne!(full, head);
            assert!(text.ends_with("\"}\n"), "no line is torn");
            // What is over already is held back.
            audit.note(&event("over")).unwrap();
            assert!(audit.sync().is_err());
            assert!(audit.write(&event("full")).is_err());
            assert_eq!(audit.head().unwrap().seq, full.unwrap().seq + 1);
            // It takes up room as long as it is open.
            drop(filler);
            fs::remove_file(path).unwrap();
            audit.write(&event("after")).unwrap();
            audit.sync().unwrap();
            let lines = verify(disk, &audit.head().unwrap()).unwrap();
            let text = fs::read_to_string(Audit::path(disk)).unwrap();
            let last: Vec<&str> = text.lines().rev().take(2).collect();
            assert!(last[0].contains("\"after\"") && last[1].contains("\"over\""), "{last:?}");
            assert_eq!(lines as usize, text.lines().count());
        },
    );
}
