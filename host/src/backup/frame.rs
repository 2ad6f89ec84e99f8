//! What a backup is made of: frames, each `what (1) ‖ length (4) ‖ content`, inside the sealed stream. A beginning, records,
//! connectors, the audit and an end, in this order.

use std::io::{Read, Write};

use zeroize::Zeroizing;

use crate::{
    error::{Kind, Result},
    store::{Place, Plain, altered, unread, unwritten},
};

/// Nothing that is kept is larger.
const LONGEST: u32 = 1 << 30;

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum What {
    Beginning = 1,
    Record = 2,
    Connector = 3,
    Audit = 4,
    End = 5,
}

impl What {
    fn of(byte: u8) -> Option<Self> {
        [Self::Beginning, Self::Record, Self::Connector, Self::Audit, Self::End]
            .into_iter()
            .find(|it| *it as u8 == byte)
    }
}

/// Writes one.
pub(super) fn write(to: &mut impl Write, what: What, parts: &[&[u8]]) -> Result<()> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).ok().filter(|length| *length <= LONGEST).ok_or_else(|| {
        Kind::InvalidInput.error("Something that is kept is larger than what fits into a backup (1 GiB).")
    })?;
    let written = to.write_all(&[what as u8]).and_then(|()| to.write_all(&length.to_be_bytes()));
    written.and_then(|()| parts.iter().try_for_each(|part| to.write_all(part))).map_err(|error| unwritten(&error))
}

/// Writes a record.
pub(super) fn write_record(to: &mut impl Write, place: &Place, value: &[u8]) -> Result<()> {
    let place = place.as_str().as_bytes();
    let length = u16::try_from(place.len()).map_err(|_| Kind::Internal.error("A record's place is too long."))?;
    write(to, What::Record, &[&length.to_be_bytes(), place, value])
}

/// Reads one.
///
/// # Errors
/// `store-damaged` where there is none.
pub(super) fn read(from: &mut impl Read) -> Result<(What, Plain)> {
    let mut head = [0; 5];
    from.read_exact(&mut head).map_err(|error| unread(&error))?;
    let [what, length @ ..] = head;
    let (what, length) = (What::of(what).ok_or_else(altered)?, u32::from_be_bytes(length));
    if length > LONGEST {
        return Err(altered());
    }
    let mut content = Zeroizing::new(vec![0; length as usize]);
    from.read_exact(&mut content).map_err(|error| unread(&error))?;
    Ok((what, content))
}

/// Takes a record's frame apart.
pub(super) fn record(content: &[u8]) -> Result<(Place, &[u8])> {
    let apart = || {
        let (length, rest) = content.split_first_chunk::<2>()?;
        let (place, value) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        Some((std::str::from_utf8(place).ok()?.parse().ok()?, value))
    };
    apart().ok_or_else(altered)
}

/// Whether nothing follows.
pub(super) fn is_over(from: &mut impl Read) -> Result<bool> {
    Ok(from.read(&mut [0; 1]).map_err(|error| unread(&error))? == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_comes_back_and_nothing_else_is_taken_for_one() {
        let place: Place = "environment/default/connection/me".parse().unwrap();
        let mut written = Vec::new();
        write_record(&mut written, &place, b"{}").unwrap();
        let (what, content) = read(&mut &written[..]).unwrap();
        assert_eq!((what, record(&content).unwrap()), (What::Record, (place, &b"{}"[..])));
        for bad in [&b""[..], b"\0", b"\0\x09short", b"\0\0{}", b"\0\x03a//", b"\0\x02\xff\xff"] {
            assert_eq!(record(bad).unwrap_err().kind(), Kind::StoreDamaged, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_more_than_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut from = &bytes[..];
            while let Ok((_, content)) = read(&mut from) {
                let _ = record(&content);
            }
        }
    }
}
