//! Large records in small pieces. sled writes a page (16 records or so) that does not fit into a quarter of its log's segment
//! to a file of its own, which it neither syncs nor, in practice, ever removes. Pieces are small enough that no page gets
//! that large.
//!
//! The first piece is under the record's place, the others behind it: `place NUL index`, which no place can be. Each value
//! starts with the number of pieces that follow the first.

use sled::IVec;

use super::{Place, place};
use crate::error::{Kind, Result};

/// How much of a record one piece holds. With the longest key, 20 of these (a full page with what sled may merge into it)
/// are less than the 128 KiB at which sled starts a file.
const PIECE: usize = 4 << 10;
const _: () = assert!(20 * (PIECE + place::MAX_LENGTH + 16) < 126 << 10);

/// The length of the number at a piece's start.
const COUNT: usize = 4;

/// A record's pieces, with their keys.
pub(super) fn cut(place: &Place, value: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let pieces = value.len().div_ceil(PIECE).max(1);
    let more = u32::try_from(pieces - 1)
        .map_err(|_| Kind::InvalidInput.error(format!("The record {place} is too large to be stored.")))?;
    Ok((0..=more)
        .map(|index| {
            let start = index as usize * PIECE;
            let piece = &value[start..value.len().min(start + PIECE)];
            (key(place, index), [&more.to_be_bytes(), piece].concat())
        })
        .collect())
}

/// The keys of a record whose first piece is this.
pub(super) fn keys(place: &Place, first: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<> {
    let more = first.first_chunk::<COUNT>().map_or(0, |count| u32::from_be_bytes(*count));
    let place = place.clone();
    (0..=more).map(move |index| key(&place, index))
}

/// What all pieces of a record but the first start with.
pub(super) fn behind(place: &Place) -> Vec<u8> {
    [place.as_str().as_bytes(), b"\0"].concat()
}

/// Whether a record begins with this piece.
pub(super) fn is_first(key: &[u8]) -> bool {
    !key.contains(&0)
}

/// Puts the pieces of many records, in the order of their keys, together again.
pub(super) fn join(pieces: impl IntoIterator<Item = (IVec, IVec)>) -> Result<Vec<(Place, Vec<u8>)>> {
    let mut records = Vec::new();
    let mut open: Option<Record> = None;
    for (key, piece) in pieces {
        let (name, index) = match key.iter().position(|&byte| byte == 0) {
            None => (&key[..], 0),
            Some(end) => (&key[..end], key[end + 1..].try_into().map_or(u32::MAX, u32::from_be_bytes)),
        };
        let place: Place = std::str::from_utf8(name)
            .ok()
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| Kind::StoreDamaged.error("The store holds a record at what is not a place."))?;
        let Some((count, piece)) = piece.split_first_chunk::<COUNT>() else { return Err(incomplete(&place)) };
        let more = u32::from_be_bytes(*count);
        match &mut open {
            _ if index == 0 => {
                records.extend(open.take().map(Record::close).transpose()?);
                open = Some(Record { place, value: piece.to_vec(), next: 1, more });
            }
            Some(record) if record.place == place && record.next == index && record.more == more => {
                record.value.extend_from_slice(piece);
                record.next += 1;
            }
            _ => return Err(incomplete(&place)),
        }
    }
    records.extend(open.map(Record::close).transpose()?);
    Ok(records)
}

/// A record of which not all pieces have been seen.
struct Record {
    place: Place,
    value: Vec<u8>,
    next: u32,
    more: u32,
}

impl Record {
    fn close(self) -> Result<(Place, Vec<u8>)> {
        if self.next == self.more + 1 { Ok((self.place, self.value)) } else { Err(incomplete(&self.place)) }
    }
}

fn key(place: &Place, index: u32) -> Vec<u8> {
    match index {
        0 => place.as_str().as_bytes().to_vec(),
        _ => [place.as_str().as_bytes(), b"\0", &index.to_be_bytes()].concat(),
    }
}

fn incomplete(place: &Place) -> crate::error::Error {
    Kind::StoreDamaged
        .error(format!("The record {place} is not what was stored there: pieces of it are missing."))
        .hint("Restore the data directory from a backup, or remove the record and make it anew.")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn stored(records: &[(&str, usize)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        records.iter().flat_map(|(name, size)| cut(&place(name), &value(*size)).unwrap()).collect()
    }

    fn value(size: usize) -> Vec<u8> {
        (0..size).map(|n| (n / 7) as u8).collect()
    }

    fn joined(stored: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Vec<(Place, Vec<u8>)>> {
        join(stored.iter().map(|(key, value)| (key.as_slice().into(), value.as_slice().into())))
    }

    #[test]
    fn records_of_every_size_come_back_in_order() {
        let sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 300 * PIECE + 5];
        let names = ["a", "a/b", "a/b/c", "a/b c", "ab", "b", "b/1"];
        let records: Vec<_> = names.into_iter().zip(sizes).collect();
        let mut expected: Vec<_> = records.iter().map(|(name, size)| (place(name), value(*size))).collect();
        expected.sort();
        assert_eq!(joined(&stored(&records)).unwrap(), expected);
    }

    #[test]
    fn a_missing_or_surplus_piece_is_damage_at_its_place() {
        let whole = stored(&[("a", 3 * PIECE), ("b", 3 * PIECE), ("c", 5)]);
        for key in whole.keys().filter(|key| key[0] != b'c') {
            let mut less = whole.clone();
            less.remove(key);
            let error = joined(&less).unwrap_err();
            assert_eq!(error.kind(), Kind::StoreDamaged);
            assert!(error.message().starts_with(&format!("The record {} ", key[0] as char)), "{error}");
        }
        let mut more = whole.clone();
        more.insert(key(&place("c"), 1), vec![0; 9]);
        assert!(joined(&more).unwrap_err().message().starts_with("The record c "));
    }

    #[test]
    fn all_keys_of_a_record_are_known_from_its_first_piece() {
        for size in [0, 5, 3 * PIECE, 3 * PIECE + 1] {
            let stored = stored(&[("a", size)]);
            let first = &stored[b"a".as_slice()];
            assert_eq!(keys(&place("a"), first).collect::<Vec<_>>(), stored.keys().cloned().collect::<Vec<_>>());
            assert!(stored.keys().skip(1).all(|key| key.starts_with(&behind(&place("a")))));
        }
    }
}
