use std::{
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::Stdio,
    time::Instant,
};

use serde::Deserialize;

use super::*;
use crate::{error::Error, store::trial};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    name: String,
    number: u64,
}

fn record(name: &str, number: u64) -> Record {
    Record { name: name.into(), number }
}

fn place(text: &str) -> Place {
    text.parse().unwrap()
}

/// A home with a data directory and a key file beside it, neither of which is there yet.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn key(&self) -> KeySource {
        KeySource::File(self.0.path().join("config/key"))
    }

    fn open(&self) -> Vault {
        open(self.0.path()).unwrap()
    }

    fn open_err(&self) -> Error {
        open(self.0.path()).unwrap_err()
    }
}

fn open(home: &Path) -> Result<Vault> {
    Vault::open(&home.join("data"), &KeySource::File(home.join("config/key")), Duration::from_secs(30))
}

fn put(vault: &Vault, name: &str, record: &Record) {
    vault.commit(Changes::new().put(&place(name), record).unwrap()).unwrap();
}

#[test]
fn records_are_there_for_the_next_owner() {
    let home = Home::new();
    let vault = home.open();
    assert_eq!(vault.get::<Record>(&place("a/b")).unwrap(), None);
    let changes = Changes::new()
        .put(&place("a/b"), &record("b", 1))
        .and_then(|changes| changes.put(&place("a/c"), &record("c", 2)))
        .and_then(|changes| changes.put(&place("a/d"), &record("d", 3)));
    vault.commit(changes.unwrap()).unwrap();
    vault.commit(Changes::new().delete(&place("a/c")).put(&place("a/d"), &record("d", 4)).unwrap()).unwrap();
    drop(vault);
    let vault = home.open();
    assert_eq!(vault.get(&place("a/b")).unwrap(), Some(record("b", 1)));
    assert_eq!(
        vault.list::<Record>(&place("a")).unwrap(),
        [(place("a/b"), record("b", 1)), (place("a/d"), record("d", 4))]
    );
}

#[test]
fn data_and_key_are_for_their_owner_alone() {
    let home = Home::new();
    let _vault = home.open();
    let KeySource::File(key) = home.key() else { unreachable!() };
    for (path, mode) in [(home.data(), 0o700), (home.data().join("lock"), 0o600), (key, 0o600)] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode, "{}", path.display());
    }
}

#[test]
fn subkeys_differ_by_purpose_and_store_and_stay() {
    let home = Home::new();
    let vault = home.open();
    let audit = vault.subkey(b"audit");
    assert_eq!(audit.len(), 32);
    assert_ne!(audit.expose(), vault.subkey(b"cache").expose());
    assert_ne!(audit.expose(), Home::new().open().subkey(b"audit").expose());
    drop(vault);
    assert_eq!(audit.expose(), home.open().subkey(b"audit").expose());
}

#[test]
fn no_value_and_no_key_is_on_disk_in_clear() {
    let home = Home::new();
    let KeySource::File(key) = home.key() else { unreachable!() };
    put(&home.open(), "connection/canary", &record("canary-value-1234567890", 1));
    let key = hex::decode(fs::read_to_string(key).unwrap().trim()).unwrap();
    let mut waiting = vec![home.data()];
    let mut everything = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            everything.extend(fs::read(path).unwrap());
        }
    }
    let found = |needle: &[u8]| everything.windows(needle.len()).any(|window| window == needle);
    assert!(found(b"connection/canary"), "the search finds the record's place, which is not secret");
    assert!(!found(b"canary-value") && !found(b"1234567890"));
    assert!(!found(&key) && !found(hex::encode(&key).as_bytes()));
}

#[test]
fn a_wrong_key_opens_nothing_and_harms_nothing() {
    let home = Home::new();
    put(&home.open(), "a", &record("a", 1));
    let KeySource::File(key) = home.key() else { unreachable!() };
    let right = fs::read(&key).unwrap();
    fs::write(&key, "00".repeat(32)).unwrap();
    let error = home.open_err();
    assert_eq!(error.kind(), Kind::WrongKey);
    assert!(error.message().starts_with("The key does not open the store in "), "{error}");
    fs::write(&key, right).unwrap();
    assert_eq!(home.open().get(&place("a")).unwrap(), Some(record("a", 1)));
}

#[test]
fn a_missing_key_file_is_never_made_anew_for_a_store_that_exists() {
    let home = Home::new();
    put(&home.open(), "a", &record("a", 1));
    let KeySource::File(key) = home.key() else { unreachable!() };
    fs::rename(&key, key.with_extension("away")).unwrap();
    let error = home.open_err();
    assert_eq!(error.kind(), Kind::StoreUnavailable);
    assert!(
        error.message().contains("is missing") && error.mend().unwrap().starts_with("Restore the key file"),
        "{error}"
    );
    assert!(!key.exists());
}

#[test]
fn the_key_may_come_from_a_command() {
    let home = Home::new();
    let open = |byte: &str| {
        let source = KeySource::Command(format!("echo {}", byte.repeat(32)));
        Vault::open(&home.data(), &source, Duration::from_secs(30))
    };
    drop(open("5a").unwrap());
    assert_eq!(open("5b").unwrap_err().kind(), Kind::WrongKey);
    open("5a").unwrap();
}

#[test]
fn a_key_file_in_the_data_directory_is_refused_before_it_is_made() {
    let home = Home::new();
    let inside = KeySource::File(home.data().join("key"));
    let error = Vault::open(&home.data(), &inside, Duration::ZERO).unwrap_err();
    assert!(error.message().contains("lies inside the data directory"), "{error}");
    assert!(!home.data().join("key").exists() && !home.data().join("store").exists());
}

#[test]
fn a_moved_record_is_refused_and_the_others_are_not() {
    let home = Home::new();
    let vault = home.open();
    for (name, number) in [("c/one", 1), ("c/two", 2), ("c/three", 3)] {
        put(&vault, name, &record(name, number));
    }
    // Swapped, as somebody with access to the files could.
    let [one, two] = ["c/one", "c/two"].map(|name| vault.kept().store().unwrap().get(&place(name)).unwrap().unwrap());
    let mut batch = Batch::default();
    batch.put(place("c/one"), two);
    batch.put(place("c/two"), one);
    vault.kept().store().unwrap().commit(batch).unwrap();
    for name in ["c/one", "c/two"] {
        let error = vault.get::<Record>(&place(name)).unwrap_err();
        assert_eq!(error.kind(), Kind::StoreDamaged);
        assert!(error.message().starts_with(&format!("The record {name} is not what was stored there")), "{error}");
    }
    assert_eq!(vault.get(&place("c/three")).unwrap(), Some(record("c/three", 3)));
    assert!(vault.list::<Record>(&place("c")).unwrap_err().message().contains("c/one"));
    put(&vault, "c/one", &record("mended", 1));
    assert_eq!(vault.get(&place("c/one")).unwrap(), Some(record("mended", 1)));
}

#[test]
fn a_record_of_another_form_is_said_without_showing_it() {
    let home = Home::new();
    let vault = home.open();
    vault.commit(Changes::new().put(&place("a"), "canary").unwrap()).unwrap();
    let error = vault.get::<u64>(&place("a")).unwrap_err();
    assert_eq!(error.kind(), Kind::StoreDamaged);
    assert!(error.message().contains("The record a does not have the form") && !error.message().contains("canary"));
}

#[test]
fn a_newer_store_is_left_alone() {
    let home = Home::new();
    drop(home.open());
    let header = home.data().join("store/header");
    let text = fs::read_to_string(&header).unwrap();
    fs::write(&header, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
    let error = home.open_err();
    assert_eq!(error.kind(), Kind::StoreUnavailable);
    assert!(error.message().contains("was written by a newer Attaché: its format is 7"), "{error}");
}

#[test]
fn a_store_that_was_being_made_when_its_owner_died_is_made_anew() {
    let home = Home::new();
    fs::create_dir_all(home.data().join("store.new/sled")).unwrap();
    fs::set_permissions(home.data(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(home.data().join("store.new/header"), "half").unwrap();
    put(&home.open(), "a", &record("a", 1));
    assert!(!home.data().join("store.new").exists());
    assert_eq!(home.open().get(&place("a")).unwrap(), Some(record("a", 1)));
}

#[test]
fn a_second_owner_waits_and_is_then_told_who_the_first_is() {
    let test = "a_second_owner_waits_and_is_then_told_who_the_first_is";
    if let Some(home) = trial::place() {
        let _vault = open(&home).unwrap();
        println!("\nopened");
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let home = Home::new();
    let mut first = trial::again(&[], module_path!(), test, home.0.path());
    let mut first = first.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "opened"));
    let error = Vault::open(&home.data(), &home.key(), Duration::from_millis(10)).unwrap_err();
    assert_eq!(error.kind(), Kind::StoreLocked);
    assert!(
        error.message().starts_with(&format!("Another process (pid {}) holds the data directory", first.id())),
        "{error}"
    );
    // Who waits gets it as soon as the first is done.
    drop(first.stdin.take());
    home.open();
    first.wait().unwrap();
    // Neither a second owner in the same process gets in.
    let vault = home.open();
    let error = Vault::open(&home.data(), &home.key(), Duration::ZERO).unwrap_err();
    assert!(error.message().starts_with("This process itself holds"), "{error}");
    drop(vault);
    home.open();
}

/// What the child of the next test writes in one commit, over and over: two small records, a new one, and now and then one
/// that is large.
fn write_generation(vault: &Vault, generation: u64) {
    let large = "x".repeat(if generation.is_multiple_of(16) { 400_000 } else { 10 });
    let changes = Changes::new()
        .put(&place("state/first"), &generation)
        .and_then(|changes| changes.put(&place("state/large"), &(generation, large)))
        .and_then(|changes| changes.put(&place(&format!("log/{generation:06}")), &generation))
        .and_then(|changes| changes.put(&place("state/second"), &generation));
    vault.commit(changes.unwrap()).unwrap();
}

/// The last generation, after checking that everything of it is there.
fn generation(vault: &Vault) -> u64 {
    let first: u64 = vault.get(&place("state/first")).unwrap().unwrap_or(0);
    assert_eq!(vault.get(&place("state/second")).unwrap().unwrap_or(0), first, "half a commit");
    assert_eq!(
        vault.get::<(u64, String)>(&place("state/large")).unwrap().map_or(0, |large| large.0),
        first,
        "half a commit"
    );
    let log: Vec<u64> = vault.list(&place("log")).unwrap().into_iter().map(|(_, number)| number).collect();
    assert_eq!(log, (1..=first).collect::<Vec<_>>(), "an earlier commit is gone");
    first
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let test = "what_was_acknowledged_survives_a_kill";
    if let Some(home) = trial::place() {
        println!("\nopening");
        let vault = open(&home).unwrap();
        let mut next = generation(&vault);
        loop {
            next += 1;
            write_generation(&vault, next);
            println!("\nacknowledged {next}");
        }
    }
    let home = Home::new();
    let mut acknowledged = 0;
    for round in 0..24u64 {
        let mut child = trial::again(&[], module_path!(), test, home.0.path()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // A third is killed while it opens the store, at moments spread over the time that this takes; the others after
        // some commits, in the middle of whatever comes next.
        let commits = if round % 3 == 0 { 0 } else { 1 + round * 7 % 20 };
        let mut seen = 0;
        for line in said {
            if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = number.parse().unwrap();
                seen += 1;
            }
            if (line == "opening" || seen > 0) && seen == commits {
                let moment = Instant::now() + Duration::from_micros(round * 800);
                while commits == 0 && Instant::now() < moment {
                    std::hint::spin_loop();
                }
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        let found = generation(&home.open());
        assert!(found >= acknowledged, "{acknowledged} was acknowledged, {found} is there");
        assert!(found <= acknowledged + 1, "{acknowledged} was acknowledged, {found} is there");
        acknowledged = found;
    }
    assert!(acknowledged > 50, "only {acknowledged} commits were made");
}

#[test]
fn a_directory_that_may_not_be_used_is_said() {
    trial::without_privilege(module_path!(), "a_directory_that_may_not_be_used_is_said", |home| {
        let data = home.join("data");
        drop(open(home).unwrap());
        for (path, mode) in [
            (data.clone(), 0o000),
            (data.clone(), 0o500),
            (data.join("store"), 0o000),
            (data.join("store/header"), 0o000),
            (data.join("store/sled"), 0o000),
            (data.join("store/sled/db"), 0o400),
            (home.join("config/key"), 0o000),
        ] {
            let before = fs::metadata(&path).unwrap().permissions();
            // A missing lock has to be made, a present one is only opened.
            let _ = fs::remove_file(data.join("lock"));
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let result = open(home);
            fs::set_permissions(&path, before).unwrap();
            let error = result.err().unwrap_or_else(|| panic!("{} with {mode:o} was used", path.display()));
            assert_eq!(error.kind(), Kind::StoreUnavailable, "{error}");
            assert!(error.message().ends_with("may not be read or written by this user."), "{error}");
        }
        open(home).unwrap();
    });
}

#[test]
fn a_read_only_file_system_is_said() {
    trial::on_small_disk("16m", module_path!(), "a_read_only_file_system_is_said", |disk| {
        let home = tempfile::tempdir().unwrap();
        let key = KeySource::File(home.path().join("key"));
        drop(Vault::open(&disk.join("data"), &key, Duration::ZERO).unwrap());
        let remounted = std::process::Command::new("mount").args(["-o", "remount,bind,ro"]).arg(disk).status().unwrap();
        assert!(remounted.success());
        let error = Vault::open(&disk.join("data"), &key, Duration::from_secs(30)).unwrap_err();
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().ends_with("is on a file system that is mounted read-only."), "{error}");
    });
}

#[test]
fn a_disk_without_room_for_a_new_store_is_said() {
    trial::on_small_disk("40k", module_path!(), "a_disk_without_room_for_a_new_store_is_said", |disk| {
        let home = tempfile::tempdir().unwrap();
        let key = KeySource::File(home.path().join("key"));
        fs::write(disk.join("filler"), vec![0; 20 << 10]).unwrap();
        let error = Vault::open(&disk.join("data"), &key, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), Kind::StoreUnavailable);
        assert!(error.message().ends_with("is full, so nothing can be written."), "{error}");
    });
}
