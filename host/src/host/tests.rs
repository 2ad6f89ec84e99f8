//! What is done to one host by several at once.

use std::fs;

use super::*;
use crate::{
    callers,
    store::NewKey,
    testing::{self, among, at_once},
    transport::PrivateAllowed,
    webhooks::NewEndpoint,
};

/// Often enough for a window that is as wide as a write to the disk.
const ROUNDS: usize = 10;

fn key(environment: &str) -> callers::NewKey {
    callers::NewKey {
        environment: environment.into(),
        name: "app".into(),
        permissions: [callers::Permission::Call].into(),
        effects: BTreeSet::new(),
        connections: None,
        expires: None,
        caller: "tester".into(),
    }
}

#[test]
fn of_two_keys_of_one_name_that_are_made_at_once_one_is() {
    // Regression: both were, and whoever revoked that name ended one of them.
    let (host, _home) = testing::host();
    for _ in 0..ROUNDS {
        let make = || host.create_key(key("default")).map(drop).map_err(|error| error.kind());
        let (one, other) = at_once(make, make);
        assert!([(Ok(()), Err(Kind::AlreadyExists)), (Err(Kind::AlreadyExists), Ok(()))].contains(&(one, other)));
        host.revoke_key("default", "app", "tester").unwrap();
        assert!(host.keys("default").unwrap().is_empty());
    }
}

#[test]
fn no_key_that_is_made_while_its_environment_is_removed_opens_the_next_one_of_that_name() {
    // Regression: one that was kept after the look at which there are was left, and opened that.
    let (host, _home) = testing::host();
    for _ in 0..ROUNDS {
        host.create_environment("other").unwrap();
        let made = Mutex::new(Vec::new());
        let make = || {
            let named = callers::NewKey { name: Uuid::new_v4().to_string(), ..key("other") };
            lock(&made).extend(host.create_key(named).ok());
        };
        among(make, || host.remove_environment("other")).unwrap();
        host.create_environment("other").unwrap();
        assert!(host.keys("other").unwrap().is_empty());
        for (_, shown) in made.into_inner().unwrap() {
            host.key_shown(std::str::from_utf8(shown.expose()).unwrap()).unwrap_err();
        }
        host.remove_environment("other").unwrap();
    }
}

#[test]
fn no_webhook_that_is_added_while_its_environment_is_removed_is_told_of_the_next_one_of_that_name() {
    // Regression: whether there is the environment was looked at before the address was looked up, and not again.
    let (host, _home) = testing::host();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..ROUNDS {
        host.create_environment("other").unwrap();
        let add = || {
            let new = NewEndpoint {
                environment: "other".into(),
                url: "http://127.0.0.1:1/hooks".into(),
                name: Some(Uuid::new_v4().to_string()),
                private: PrivateAllowed::parse(["127.0.0.1:1"]).unwrap(),
                ..NewEndpoint::default()
            };
            drop(runtime.block_on(host.add_webhook(new)));
        };
        among(add, || host.remove_environment("other")).unwrap();
        host.create_environment("other").unwrap();
        assert!(host.webhooks("other").unwrap().is_empty());
        host.remove_environment("other").unwrap();
    }
}

#[test]
fn of_two_who_make_an_environment_of_one_name_at_once_one_does() {
    let (host, _home) = testing::host();
    for _ in 0..ROUNDS {
        let make = || host.create_environment("other").is_ok();
        let (one, other) = at_once(make, make);
        assert!(one ^ other, "{one} {other}");
        host.remove_environment("other").unwrap();
    }
}

#[test]
fn of_two_rotations_at_once_the_later_begins_with_the_key_of_the_earlier() {
    // Regression: both began with the key file. Where the store moved away from that first, the other put a new key there all the
    // same, and whoever had moved it was locked out.
    for _ in 0..ROUNDS {
        let (host, home) = testing::host();
        let file = home.path().join("elsewhere");
        fs::write(&file, "5c".repeat(32)).unwrap();
        // One that the host cannot write.
        let elsewhere = format!("command:cat {}", file.display());
        let to = NewKey::from(elsewhere.parse().unwrap(), host.data_dir()).unwrap();
        let (_, moved) = at_once(|| host.rotate_key(&NewKey::Made, "tester"), || host.rotate_key(&to, "tester"));
        moved.unwrap();
        assert_eq!(host.key_source().unwrap().to_string(), elsewhere);
        drop(host);
        Host::open(&testing::settings(home.path(), elsewhere)).unwrap();
    }
}
