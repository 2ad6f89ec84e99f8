//! What was read of the store and is at hand for as long as nothing is committed: opening a sealed record costs more than
//! most of what a call does.

use std::{collections::HashMap, fmt, hash::Hash, sync::Mutex};

use super::Vault;
use crate::{error::Result, sync::lock};

/// Values by what they were asked for with. Only what was found is kept, so that nobody fills it with what is not there.
pub(crate) struct AtHand<K, V> {
    /// When there are so many, all are forgotten.
    most: usize,
    all: Mutex<HashMap<K, (u64, V)>>,
}

impl<K: Eq + Hash, V: Clone> AtHand<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, all: Mutex::default() }
    }

    /// What was read since the last commit; else what is read now. Whatever somebody committed before this began is seen.
    ///
    /// # Errors
    /// Those of whoever reads.
    pub(crate) fn find(&self, vault: &Vault, key: K, read: impl FnOnce() -> Result<Option<V>>) -> Result<Option<V>> {
        // Before it is read: what changes meanwhile is read again the next time.
        let revision = vault.revision();
        if let Some((of, value)) = lock(&self.all).get(&key)
            && *of == revision
        {
            return Ok(Some(value.clone()));
        }
        let found = read()?;
        if let Some(value) = &found {
            let mut all = lock(&self.all);
            if all.len() >= self.most {
                all.clear();
            }
            all.insert(key, (revision, value.clone()));
        }
        Ok(found)
    }
}

impl<K, V> fmt::Debug for AtHand<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtHand")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{Changes, KeySource, Place};

    #[test]
    fn what_is_at_hand_is_read_again_once_something_was_committed() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeySource::File(folder.path().join("key"));
        let vault = Vault::open(&folder.path().join("data"), &key, Duration::ZERO).unwrap();
        let place = Place::new(["one"]).unwrap();
        let (at_hand, reads) = (AtHand::new(2), std::cell::Cell::new(0));
        let find = |name: &'static str| {
            let read = || {
                reads.set(reads.get() + 1);
                vault.get::<String>(&place)
            };
            at_hand.find(&vault, name, read).unwrap()
        };
        assert_eq!((find("one"), find("one"), reads.get()), (None, None, 2), "what is not there is not kept");
        vault.commit(Changes::new().put(&place, "first").unwrap()).unwrap();
        assert_eq!((find("one").as_deref(), find("one").as_deref(), reads.get()), (Some("first"), Some("first"), 3));
        vault.commit(Changes::new().put(&place, "second").unwrap()).unwrap();
        assert_eq!((find("one").as_deref(), reads.get()), (Some("second"), 4));
        vault.commit(Changes::new().delete(&place)).unwrap();
        assert_eq!((find("one"), reads.get()), (None, 5));
        vault.commit(Changes::new().put(&place, "third").unwrap()).unwrap();
        for name in ["a", "b", "c", "d"] {
            assert!(find(name).is_some());
        }
        assert!(lock(&at_hand.all).len() <= 2);
    }
}
