//! Calls that are made once, however often they are asked for: whoever asks gives a call a key of their own
//! (draft-ietf-httpapi-idempotency-key-header-07), and what came of it is kept for a day.
//!
//! What must never happen here: a call that leaves a second time under the same key; a call that leaves before it is on disk
//! that it may have.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    call::Call,
    consent::Book,
    digest::Digest,
    error::{Error, Kind, Result},
    host::Host,
    manifest::Effects,
    store::{Changes, Place, Vault},
    sync::lock,
};

/// How long what came of a call is kept, in seconds: as long as whoever asks may reasonably try again.
pub const KEPT_SECONDS: i64 = 24 * 3_600;
/// Calls that are kept of one caller: one every nine seconds, all day.
const MOST_OF_CALLER: usize = 10_000;
/// And of all callers; each takes some 300 bytes of memory.
const MOST: usize = 200_000;
/// Bytes of answers that are kept of one caller. What came of a call whose answer finds no room is kept without it.
const MOST_BYTES: usize = 64 << 20;

/// What somebody calls one call of theirs.
#[derive(Debug, Clone)]
pub struct Name {
    /// Whose it is: nobody else's call has it.
    pub holder: String,
    /// As they chose it.
    pub key: String,
}

/// What came of a call.
#[derive(Debug)]
pub struct Told {
    /// As it was when the call ended.
    pub result: Result<Value>,
    /// Whether the call was made earlier.
    pub replayed: bool,
}

impl Host {
    /// Calls an operation as [`Host::call_within`] does, unless it was called under this name before: then that is told. What
    /// is refused before the connector runs is not kept, so that it may be mended and tried again. Dropped in the middle, it
    /// leaves a call of which nobody knows whether it was made.
    ///
    /// # Errors
    /// As for [`Host::call_within`] before the connector runs; `invalid-input` where the name was used for another input,
    /// `already-exists` while the call is under way, `outcome-unknown` where the host ended in the middle of it,
    /// `rate-limited` where too many are kept.
    pub async fn call_once(
        self: &Arc<Self>,
        call: &Call,
        connection: Uuid,
        allowed: Effects,
        name: &Name,
    ) -> Result<Told> {
        let places = Places::of(call, connection, name)?;
        let input = Digest::of(call.input.to_string().as_bytes());
        if let Some(result) = self.told_before(&places, input)? {
            return Ok(Told { result, replayed: true });
        }
        let prepared = self.prepare(call, allowed)?;
        let Some(begun) = self.begin_once(&places, &name.holder, input)? else {
            return Err(under_way());
        };
        begun.mark().await?;
        let result = self.go(prepared).await;
        begun.end(&result).await;
        Ok(Told { result, replayed: false })
    }

    /// Forgets what was kept long enough.
    ///
    /// # Errors
    /// Those of the store.
    pub fn forget_calls(&self, now: Timestamp) -> Result<()> {
        let mut ledger = lock(&self.ledger);
        let lines = ledger.loaded(&self.vault)?;
        let over = lines.over(now.as_second());
        if over.is_empty() {
            return Ok(());
        }
        let changes = over.iter().fold(Changes::new(), |changes, (mark, answer)| changes.delete(mark).delete(answer));
        self.vault.commit_aside(changes)?;
        over.iter().for_each(|(mark, _)| lines.forget(mark));
        Ok(())
    }

    /// What is known of a call of this name.
    fn told_before(&self, places: &Places, input: Digest) -> Result<Option<Result<Value>>> {
        {
            let mut ledger = lock(&self.ledger);
            let Some(line) = ledger.loaded(&self.vault)?.find(&places.mark, Timestamp::now().as_second()) else {
                return Ok(None);
            };
            if line.mark.input != input {
                return Err(Kind::InvalidInput
                    .error("This Idempotency-Key was used for a call with another input.")
                    .hint("A new call takes a new key; the same call takes the same input."));
            }
            match line.state {
                State::UnderWay => return Err(under_way()),
                State::Lost => return Err(lost()),
                State::Ended => {}
            }
        }
        let kept = self.vault.get::<Kept>(&places.answer)?.ok_or_else(lost)?;
        Ok(Some(kept.result()))
    }

    /// Takes the name; none where somebody was quicker.
    fn begin_once(self: &Arc<Self>, places: &Places, holder: &str, input: Digest) -> Result<Option<Begun>> {
        let now = Timestamp::now().as_second();
        let mark = Mark { holder: holder.to_owned(), input, begun: now, bytes: None };
        let mut ledger = lock(&self.ledger);
        let ledger = ledger.loaded(&self.vault)?;
        if ledger.find(&places.mark, now).is_some() {
            return Ok(None);
        }
        ledger.begin(&places.mark, mark.clone())?;
        Ok(Some(Begun { host: self.clone(), places: places.clone(), mark }))
    }
}

/// Where a call's records are.
#[derive(Debug, Clone)]
struct Places {
    mark: Place,
    answer: Place,
}

/// The folders of an environment that they are in.
pub(crate) const MARKS: &str = "call-once";
pub(crate) const ANSWERS: &str = "call-once-answer";

impl Places {
    /// One name is one call of one holder, of one operation of one connection. What somebody chose stands in no place as it is.
    fn of(call: &Call, connection: Uuid, name: &Name) -> Result<Self> {
        let said = [name.holder.as_str(), &connection.simple().to_string(), &call.operation, &name.key];
        let said = serde_json::to_vec(&said).map_err(|_| Kind::Internal.error("A call has no name."))?;
        let id = Digest::of(&said).to_string();
        let place = |folder: &str| Place::new(["environment", &call.environment, folder, &id]);
        Ok(Self { mark: place(MARKS)?, answer: place(ANSWERS)? })
    }
}

/// That a call may have been made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mark {
    holder: String,
    /// SHA-256 of its input.
    input: Digest,
    /// In seconds since 1970.
    begun: i64,
    /// Of what is kept of its answer; none until it has ended.
    bytes: Option<usize>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kept {
    Output(Value),
    /// As [`Error::to_json`] writes it.
    Problem(Value),
    /// It went well, and what it answered found no room.
    DoneWithoutAnswer,
}

impl Kept {
    fn result(self) -> Result<Value> {
        match self {
            Self::Output(output) => Ok(output),
            Self::Problem(problem) => {
                Err(Error::from_json(&problem).unwrap_or_else(|| Kind::Internal.error("A kept problem is none.")))
            }
            Self::DoneWithoutAnswer => Err(Kind::AlreadyExists
                .error("This call was made and went well; its answer was too large to be kept.")
                .hint("Read what you need with another operation; this key makes no second call.")),
        }
    }
}

/// A call that has its name. Dropped before its end, nobody knows what came of it.
struct Begun {
    host: Arc<Host>,
    places: Places,
    mark: Mark,
}

impl Begun {
    /// Writes down that the call may be made, before it is.
    async fn mark(&self) -> Result<()> {
        let changes = Changes::new().put(&self.places.mark, &self.mark)?.delete(&self.places.answer);
        let written = self.write(changes).await;
        if written.is_err() {
            // It may be on disk nevertheless, and nothing has left: in this process the name is free again.
            self.with_ledger(|ledger| ledger.forget(&self.places.mark));
        }
        written
    }

    async fn end(mut self, result: &Result<Value>) {
        let mut kept = match result {
            Ok(output) => Kept::Output(output.clone()),
            Err(error) => Kept::Problem(error.to_json()),
        };
        let bytes = serde_json::to_vec(&kept).map_or(0, |text| text.len());
        let fits = self.with_ledger(|ledger| ledger.end(&self.places.mark, bytes)).unwrap_or(false);
        if !fits {
            kept = Kept::DoneWithoutAnswer;
        }
        self.mark.bytes = Some(if fits { bytes } else { 0 });
        let changes =
            Changes::new().put(&self.places.mark, &self.mark).and_then(|it| it.put(&self.places.answer, &kept));
        let written = match changes {
            Ok(changes) => self.write(changes).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => drop(self.with_ledger(|ledger| ledger.set(&self.places.mark, State::Ended))),
            Err(error) => tracing::error!(%error, "what came of a call could not be kept"),
        }
    }

    /// A disk takes its time, in which others go on.
    async fn write(&self, changes: Changes) -> Result<()> {
        let vault = self.host.vault.clone();
        let written = tokio::task::spawn_blocking(move || vault.commit_aside(changes)).await;
        written.unwrap_or_else(|_| Err(Kind::Internal.error("A write was given up.")))
    }

    fn with_ledger<T>(&self, work: impl FnOnce(&mut Lines) -> T) -> Option<T> {
        lock(&self.host.ledger).loaded(&self.host.vault).ok().map(work)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.with_ledger(|ledger| ledger.lose(&self.places.mark));
    }
}

/// Which calls are kept, once it was read from the store.
#[derive(Default)]
pub(crate) struct Ledger(Option<Lines>);

impl Ledger {
    fn loaded(&mut self, vault: &Vault) -> Result<&mut Lines> {
        if self.0.is_none() {
            let mut lines = Lines::default();
            for (place, mark) in marks(vault)? {
                let state = if mark.bytes.is_some() { State::Ended } else { State::Lost };
                lines.add(&place, mark, state);
            }
            self.0 = Some(lines);
        }
        self.0.as_mut().ok_or_else(|| Kind::Internal.error("The calls that are kept were not read."))
    }
}

fn marks(vault: &Vault) -> Result<Vec<(Place, Mark)>> {
    let mut all = Vec::new();
    for environment in Book::environments(vault)? {
        all.append(&mut vault.list(&Place::new(["environment", &environment.name, MARKS])?)?);
    }
    Ok(all)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    UnderWay,
    Ended,
    /// The host ended in the middle of it.
    Lost,
}

struct Line {
    mark: Mark,
    state: State,
}

#[derive(Default)]
struct Lines {
    all: HashMap<Place, Line>,
    /// How many of each holder, and how many bytes of theirs.
    of_holder: HashMap<String, (usize, usize)>,
}

impl Lines {
    fn find(&self, place: &Place, now: i64) -> Option<&Line> {
        self.all.get(place).filter(|line| line.state == State::UnderWay || !is_over(&line.mark, now))
    }

    fn begin(&mut self, place: &Place, mark: Mark) -> Result<()> {
        self.forget(place);
        let own = self.of_holder.get(&mark.holder).map_or(0, |(calls, _)| *calls);
        if own >= MOST_OF_CALLER || self.all.len() >= MOST {
            return Err(Kind::RateLimited
                .error("Too many calls of the last 24 hours are kept for their Idempotency-Key.")
                .hint("Send a key only with calls that must not be made twice.")
                .retry_after(3_600));
        }
        self.add(place, mark, State::UnderWay);
        Ok(())
    }

    fn add(&mut self, place: &Place, mark: Mark, state: State) {
        let own = self.of_holder.entry(mark.holder.clone()).or_default();
        *own = (own.0 + 1, own.1 + mark.bytes.unwrap_or(0));
        self.all.insert(place.clone(), Line { mark, state });
    }

    /// Whether there is room for so many bytes, which then are taken.
    fn end(&mut self, place: &Place, bytes: usize) -> bool {
        let Some(line) = self.all.get_mut(place) else { return false };
        let Some(own) = self.of_holder.get_mut(&line.mark.holder) else { return false };
        let fits = own.1 + bytes <= MOST_BYTES;
        let taken = if fits { bytes } else { 0 };
        own.1 += taken;
        line.mark.bytes = Some(taken);
        fits
    }

    fn set(&mut self, place: &Place, state: State) {
        if let Some(line) = self.all.get_mut(place) {
            line.state = state;
        }
    }

    fn lose(&mut self, place: &Place) {
        if let Some(line) = self.all.get_mut(place)
            && line.state == State::UnderWay
        {
            line.state = State::Lost;
        }
    }

    fn forget(&mut self, place: &Place) {
        let Some(line) = self.all.remove(place) else { return };
        let hash_map::Entry::Occupied(mut own) = self.of_holder.entry(line.mark.holder) else { return };
        let (calls, bytes) = *own.get();
        *own.get_mut() = (calls.saturating_sub(1), bytes.saturating_sub(line.mark.bytes.unwrap_or(0)));
        if calls <= 1 {
            own.remove();
        }
    }

    /// What was kept long enough: marks, and the answers that belong to them.
    fn over(&self, now: i64) -> Vec<(Place, Place)> {
        let over = self.all.iter().filter(|(_, line)| line.state != State::UnderWay && is_over(&line.mark, now));
        over.filter_map(|(place, _)| Some((place.clone(), answer_of(place)?))).collect()
    }
}

fn answer_of(mark: &Place) -> Option<Place> {
    let segments: Vec<&str> = mark.segments().collect();
    let [environment, name, _, id] = segments.as_slice() else { return None };
    Place::new([environment, name, &ANSWERS, id]).ok()
}

fn is_over(mark: &Mark, now: i64) -> bool {
    now - mark.begun >= KEPT_SECONDS
}

fn under_way() -> Error {
    Kind::AlreadyExists
        .error("A call with this Idempotency-Key is under way.")
        .hint("Ask again with the same key and input: what comes of it is told then.")
        .retry_after(1)
}

fn lost() -> Error {
    Kind::OutcomeUnknown
        .error("The host ended in the middle of this call, so it is not known whether it was made.")
        .hint("Look at the service whether it was. A call with a new Idempotency-Key makes it (again).")
}
