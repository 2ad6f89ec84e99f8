//! Everything in a store as it is at one moment, read some at a time while others go on writing. What a commit is about to
//! write over, and was not read yet, is remembered as it was; that is all that is held of a store that may be large.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use sled::IVec;

use super::{Records, SledStore, pieces};
use crate::{error::Result, sync::lock};

/// Pieces that are read at a time, of 4 KiB at the most; commits wait meanwhile. Tests have small stores.
const SOME: usize = if cfg!(test) { 3 } else { 1_000 };

/// What is still to be read of a moment.
pub(super) struct Past {
    /// The first key that was not read yet.
    next: Vec<u8>,
    /// What was there, of what was written over since.
    before: BTreeMap<Vec<u8>, Option<IVec>>,
}

impl Past {
    /// From this key on.
    pub(super) fn from(first: Vec<u8>) -> Self {
        Self { next: first, before: BTreeMap::new() }
    }

    /// Remembers what is there, which is about to be written over.
    pub(super) fn remember(
        &mut self,
        key: &[u8],
        there: impl FnOnce() -> sled::Result<Option<IVec>>,
    ) -> sled::Result<()> {
        if key >= self.next.as_slice() && !self.before.contains_key(key) {
            self.before.insert(key.to_vec(), there()?);
        }
        Ok(())
    }

    /// Reads some more, and says whether that was all. Nobody commits meanwhile.
    fn read(&mut self, db: &sled::Db) -> sled::Result<(BTreeMap<Vec<u8>, IVec>, bool)> {
        let mut some = BTreeMap::new();
        for entry in db.range(self.next.as_slice()..).take(SOME) {
            let (key, value) = entry?;
            some.insert(key.to_vec(), value);
        }
        let is_all = some.len() < SOME;
        let later = match some.last_key_value() {
            Some((last, _)) if !is_all => {
                // The very next key there can be.
                let next = [last.as_slice(), &[0]].concat();
                self.next = next.clone();
                self.before.split_off(&next)
            }
            _ => BTreeMap::new(),
        };
        for (key, before) in std::mem::replace(&mut self.before, later) {
            match before {
                Some(value) => drop(some.insert(key, value)),
                None => drop(some.remove(&key)),
            }
        }
        Ok((some, is_all))
    }
}

/// Gives the records of a moment, some at a time.
pub(super) struct Moment {
    store: Arc<SledStore>,
    past: Arc<Mutex<Past>>,
    /// Pieces of a record of which there may be more.
    rest: BTreeMap<Vec<u8>, IVec>,
    over: bool,
}

impl Moment {
    pub(super) fn new(store: Arc<SledStore>, past: Arc<Mutex<Past>>) -> Self {
        Self { store, past, rest: BTreeMap::new(), over: false }
    }

    fn some(&mut self) -> Result<Records> {
        let read = self.store.read(|db| lock(&self.past).read(db));
        // What failed once is not gone on with.
        self.over = true;
        let (mut some, is_all) = read?;
        self.over = is_all;
        some.append(&mut self.rest);
        if !is_all && let Some(last) = some.keys().rev().find(|key| pieces::is_first(key)).cloned() {
            self.rest = some.split_off(&last);
        }
        pieces::join(some.into_iter().map(|(key, piece)| (key.into(), piece)))
    }
}

impl Iterator for Moment {
    type Item = Result<Records>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.over).then(|| self.some())
    }
}
