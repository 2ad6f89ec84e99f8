//! What fuzzing and people came up with, kept and tried again: see `attache_tests::fuzz` for what must hold.

use std::{fs, path::Path};

use attache_tests::fuzz::TARGETS;

#[test]
fn what_was_found_once_holds_ever_since() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut tried = 0;
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
            target(&fs::read(entry.path()).unwrap());
            tried += 1;
        }
        assert!(tried >= 5, "{name} has a corpus of {tried}");
    }
}

#[test]
fn a_broken_promise_would_be_found() {
    // A pattern that lets everything through is what the check must see.
    let found = std::panic::catch_unwind(|| {
        attache_tests::fuzz::url_policy(b"https://a.example\nhttps://a.example/x\nhttps://b.example/");
    });
    assert!(found.is_ok());
    assert!(!attache_tests::fuzz::agrees_by_text("https://*.a.example", "https://evil.example/"));
    assert!(!attache_tests::fuzz::agrees_by_text("https://*.a.example", "https://x.y.a.example/"));
    assert!(!attache_tests::fuzz::agrees_by_text("https://a.example", "https://a.example:8443/"));
    assert!(attache_tests::fuzz::agrees_by_text("https://*.a.example", "https://x.a.example/y"));
}
