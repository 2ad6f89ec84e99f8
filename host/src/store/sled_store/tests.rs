use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;
use crate::store::trial;

fn place(text: &str) -> Place {
    text.parse().unwrap()
}

fn batch(writes: &[(&str, &[u8])]) -> Batch {
    let mut batch = Batch::default();
    for (name, value) in writes {
        batch.put(place(name), value.to_vec());
    }
    batch
}

/// A store in which `commits` commits were made, each of one record, by two openings.
fn made(home: &Path, commits: u8) -> PathBuf {
    let directory = home.join("store");
    dir::create_private(&directory).unwrap();
    SledStore::create(&directory).unwrap();
    for half in [0..commits / 2, commits / 2..commits] {
        let store = SledStore::open(&directory).unwrap();
        for number in half {
            store.commit(batch(&[(&format!("r/{:03}", number % 50), &[number; 300])])).unwrap();
        }
    }
    directory
}

fn open_err(directory: &Path) -> Error {
    SledStore::open(directory).err().expect("the store should not open")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn what_was_committed_is_there_when_it_is_opened_again() {
    let home = tempfile::tempdir().unwrap();
    let directory = made(home.path(), 0);
    let store = SledStore::open(&directory).unwrap();
    store.commit(batch(&[("a/b", b"1"), ("a/c", b"2"), ("a/c/d", b"3"), ("ab", b"4")])).unwrap();
    let mut second = batch(&[("a/e", b"5")]);
    second.delete(place("a/c"));
    store.commit(second).unwrap();
    drop(store);
    let store = SledStore::open(&directory).unwrap();
    assert_eq!(store.get(&place("a/b")).unwrap().unwrap(), b"1");
    assert_eq!(store.get(&place("a/c")).unwrap(), None);
    let names: Vec<String> = store.list(&place("a")).unwrap().into_iter().map(|(place, _)| place.to_string()).collect();
    assert_eq!(names, ["a/b", "a/c/d", "a/e"]);
    assert!(store.list(&place("a/b")).unwrap().is_empty());
}

#[test]
fn a_page_has_what_a_list_has_from_there_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let store = SledStore::open(&made(home.path(), 0)).unwrap();
    let mut all = Batch::default();
    // Neighbours whose names begin alike, among them one of several pieces.
    for name in ["a", "a-b", "a.b", "a0", "a/b", "b", "c", "ca", "d"] {
        let size = if name == "c" { 20_000 } else { 10 };
        all.put(place(&format!("r/{name}")), vec![name.len() as u8; size]);
    }
    all.put(place("q/z"), vec![0]);
    all.put(place("r0/a"), vec![0]);
    all.put(place("r"), vec![0]);
    store.commit(all).unwrap();
    let whole = store.list(&place("r")).unwrap();
    assert_eq!(whole.len(), 9);
    for after in ["", "a", "a-b", "aa", "b", "c", "c\0", "c\0\0\0\0\u{1}", "c\u{1}", "d", "\u{10ffff}", "/", "z"] {
        let behind = whole.partition_point(|(place, _)| !after.is_empty() && place.to_string() <= format!("r/{after}"));
        for most in [1, 2, 3, 100] {
            let page = store.page(&place("r"), after, most).unwrap();
            let wanted = &whole[behind..(behind + most).min(whole.len())];
            assert!(page == wanted, "{most} after {after:?}: {:?}", page.iter().map(|it| &it.0).collect::<Vec<_>>());
        }
    }
}

#[test]
fn large_records_are_kept_in_the_log_and_leave_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let directory = made(home.path(), 0);
    let value = |size: usize, seed: usize| -> Vec<u8> { (0..size).map(|n| (n + seed) as u8).collect() };
    let mut model = BTreeMap::new();
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % below
    };
    for round in 0..3 {
        let store = SledStore::open(&directory).unwrap();
        assert_eq!(store.list(&place("r")).unwrap(), model.clone().into_iter().collect::<Vec<_>>());
        for number in 0..60 {
            let mut batch = Batch::default();
            for _ in 0..1 + next(4) {
                // Names as long as they may be, twice in a batch now and then.
                let name = place("r").join(&format!("{:0>255}", next(40))).unwrap();
                if next(5) == 0 {
                    model.remove(&name);
                    batch.delete(name);
                } else {
                    let value = value([0, 300, 4096, 10_000, 300_000][next(5)], round * number);
                    model.insert(name.clone(), value.clone());
                    batch.put(name, value);
                }
            }
            store.commit(batch).unwrap();
        }
    }
    let store = SledStore::open(&directory).unwrap();
    for (name, value) in &model {
        assert_eq!(store.get(name).unwrap().as_ref(), Some(value));
    }
    let mut last = Batch::default();
    model.into_keys().for_each(|name| last.delete(name));
    store.commit(last).unwrap();
    let left = store.read(|db| db.iter().keys().collect::<sled::Result<Vec<_>>>()).unwrap();
    assert_eq!(left, [COMMITS_KEY], "pieces are left");
    let files = fs::read_dir(directory.join("sled/blobs")).unwrap().count();
    assert_eq!(files, 0, "a page became too large for the log");
}

#[test]
fn the_last_write_to_a_place_counts() {
    let home = tempfile::tempdir().unwrap();
    let store = SledStore::open(&made(home.path(), 0)).unwrap();
    let mut writes = batch(&[("a", &[1; 20_000]), ("a", b"small"), ("b", &[1; 20_000])]);
    writes.delete(place("b"));
    store.commit(writes).unwrap();
    assert_eq!(store.get(&place("a")).unwrap().unwrap(), b"small");
    assert_eq!(store.get(&place("b")).unwrap(), None);
}

#[test]
fn its_files_are_for_their_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let directory = made(home.path(), 4);
    let _store = SledStore::open(&directory).unwrap();
    let mut waiting = vec![directory];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o777, expected, "{}", path.display());
        seen += 1;
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 6, "directories, log, configuration, snapshot and number");
}

#[test]
fn a_snapshot_that_was_cut_off_does_not_keep_the_store_shut() {
    let home = tempfile::tempdir().unwrap();
    let directory = made(home.path(), 4);
    fs::write(directory.join("sled/snap.00000000FFFFFFFF.generating"), b"half").unwrap();
    assert_eq!(SledStore::open(&directory).unwrap().list(&place("r")).unwrap().len(), 4);
}

#[test]
fn a_store_that_was_taken_away_is_not_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let directory = made(home.path(), 4);
    fs::remove_dir_all(directory.join("sled")).unwrap();
    let error = open_err(&directory);
    assert_eq!(error.kind(), Kind::StoreDamaged);
    assert!(error.message().contains("its files are missing"), "{error}");
}

#[test]
fn commits_that_are_gone_are_missed() {
    let home = tempfile::tempdir().unwrap();
    let directory = made(home.path(), 10);
    // An older copy of the records in the place of the newer ones.
    let elsewhere = tempfile::tempdir().unwrap();
    let older = made(elsewhere.path(), 7);
    fs::remove_dir_all(directory.join("sled")).unwrap();
    copy(&older.join("sled"), &directory.join("sled"));
    for _ in 0..2 {
        let error = open_err(&directory);
        assert_eq!(error.kind(), Kind::StoreDamaged);
        assert!(error.message().contains("the last 3 of 10 commits are gone"), "{error}");
    }
    // The way on that the error names.
    fs::remove_file(directory.join("commits")).unwrap();
    SledStore::open(&directory).unwrap().commit(batch(&[("a", b"")])).unwrap();
    SledStore::open(&directory).unwrap();
}

#[test]
fn a_crash_before_the_number_was_written_is_no_damage() {
    let home = tempfile::tempdir().unwrap();
    let directory = made(home.path(), 10);
    fs::write(directory.join("commits"), number(9)).unwrap();
    SledStore::open(&directory).unwrap();
}

/// One kind of damage to one file.
#[derive(Debug, Clone)]
enum Damage {
    Cut,
    Flip(u8),
    Garbage(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Cut),
        (1u8..).prop_map(Damage::Flip),
        prop::collection::vec(any::<u8>(), 1..2000).prop_map(Damage::Garbage),
        Just(Damage::Garbage(vec![0; 100_000])),
    ]
}

#[test]
fn no_damage_to_a_file_makes_it_answer_wrongly() {
    let home = tempfile::tempdir().unwrap();
    let original = made(home.path(), 100);
    let whole = SledStore::open(&original).unwrap().list(&place("r")).unwrap();
    assert_eq!(whole.len(), 50);
    // Its own snapshot would hide damage to the last commits, which are only in the log.
    fs::remove_dir_all(&original).unwrap();
    made(home.path(), 100);
    let snapshot = fs::read_dir(original.join("sled"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("snap."))
        .unwrap();
    let files = vec!["sled/db".to_owned(), "sled/db".to_owned(), "sled/conf".to_owned(), format!("sled/{snapshot}")];
    let refused = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(150), |(file in prop::sample::select(files), at: prop::sample::Index, damage in damage())| {
        let copied = home.path().join("copy");
        copy(&original, &copied);
        let path = copied.join(file);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        match damage {
            Damage::Cut => bytes.truncate(at),
            Damage::Flip(bits) => bytes[at] ^= bits,
            Damage::Garbage(garbage) => {
                let end = bytes.len().min(at + garbage.len());
                bytes[at..end].copy_from_slice(&garbage[..end - at]);
            }
        }
        fs::write(&path, bytes).unwrap();
        match SledStore::open(&copied).and_then(|store| store.list(&place("r"))) {
            Ok(records) => prop_assert!(records == whole, "it opened with other records"),
            Err(error) => {
                refused.set(refused.get() + 1);
                prop_assert_eq!(error.kind(), Kind::StoreDamaged);
            }
        }
        fs::remove_dir_all(&copied).unwrap();
    });
    let refused = refused.get();
    assert!(refused > 20, "only {refused} damaged stores were refused: was there any damage?");
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    trial::on_small_disk("12m", module_path!(), "a_full_disk_is_said_and_nothing_is_lost", |disk| {
        let directory = made(disk, 10);
        let store = SledStore::open(&directory).unwrap();
        let filler = disk.join("filler");
        fs::write(&filler, vec![0; 8 << 20]).unwrap();
        for _ in 0..3 {
            let error = store.commit(batch(&[("r/000", b"new"), ("r/new", b"new")])).unwrap_err();
            assert_eq!(error.kind(), Kind::StoreUnavailable);
            assert!(error.message().ends_with("is full, so nothing can be written."), "{error}");
            assert_eq!(store.get(&place("r/000")).unwrap().unwrap(), [0; 300]);
            assert_eq!(store.list(&place("r")).unwrap().len(), 10);
        }
        // Another process can still read it.
        drop(store);
        let store = SledStore::open(&directory).unwrap();
        assert_eq!(store.list(&place("r")).unwrap().len(), 10);
        fs::remove_file(&filler).unwrap();
        store.commit(batch(&[("r/new", b"new")])).unwrap();
        assert_eq!(store.list(&place("r")).unwrap().len(), 11);
    });
}

#[test]
fn a_disk_that_fills_up_under_sled_takes_nothing_back() {
    trial::on_small_disk("6m", module_path!(), "a_disk_that_fills_up_under_sled_takes_nothing_back", |disk| {
        let directory = made(disk, 10);
        let mut store = SledStore::open(&directory).unwrap();
        store.room_needed = |_| 0;
        let filler = disk.join("filler");
        fs::write(&filler, vec![0; 2 << 20]).unwrap();
        let mut written = 0u32;
        let error = loop {
            let value = [written.to_be_bytes().as_slice(), &[7; 3000]].concat();
            match store.commit(batch(&[("last", &value), (&format!("filled/{written:05}"), &[7; 3000])])) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(written > 50, "{written}");
        assert!(matches!(*store.state.read().unwrap(), State::Failed));
        fs::remove_file(&filler).unwrap();
        // The same handle goes on, with every acknowledged commit and the failed one whole or not at all.
        let last = store.get(&place("last")).unwrap().unwrap();
        let filled = store.list(&place("filled")).unwrap().len() as u32;
        assert_eq!(last[..4], (filled - 1).to_be_bytes());
        assert!((written..=written + 1).contains(&filled), "{filled} of {written}");
        store.commit(batch(&[("after", b"")])).unwrap();
        drop(store);
        assert!(SledStore::open(&directory).unwrap().get(&place("after")).unwrap().is_some());
    });
}

/// What somebody does while a moment is read.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, usize),
    Delete(u8),
    Read,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![0..20_usize, 8_000..20_000_usize];
    let step = prop_oneof![
        (0..12_u8, sizes).prop_map(|(name, size)| Step::Put(name, size)),
        (0..12_u8).prop_map(Step::Delete),
        Just(Step::Read)
    ];
    prop::collection::vec(step, 0..40)
}

fn take_step(store: &SledStore, step: &Step, mark: u8) {
    let name = |number: &u8| place(&format!("r/{number}"));
    let mut batch = Batch::default();
    match step {
        Step::Put(number, size) => batch.put(name(number), vec![mark; *size]),
        Step::Delete(number) => batch.delete(name(number)),
        Step::Read => return,
    }
    store.commit(batch).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_moment_stays_what_it_was_whatever_is_committed_while_it_is_read(before in steps(), meanwhile in steps()) {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(SledStore::open(&made(home.path(), 0)).unwrap());
        before.iter().for_each(|step| take_step(&store, step, 1));
        let then = store.all().unwrap();
        let (mut moment, mut read) = (store.clone().moment().unwrap(), Vec::new());
        for step in &meanwhile {
            take_step(&store, step, 2);
            if let Step::Read = step {
                read.extend(moment.next().transpose().unwrap().unwrap_or_default());
            }
        }
        let now = store.all().unwrap();
        read.extend(moment.flat_map(Result::unwrap));
        prop_assert!(read == then);
        prop_assert!(store.all().unwrap() == now);
        let again: Vec<_> = store.clone().moment().unwrap().flat_map(Result::unwrap).collect();
        prop_assert!(again == now);
    }
}
