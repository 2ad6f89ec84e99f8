//! A long text sealed as it goes: chunks of [`CHUNK`] bytes, each XChaCha20-Poly1305 in the STREAM construction (Hoang,
//! Reyhanitabar, Rogaway and Vizár, 2015). The nonce of a chunk is its number and whether it is the last, so that none can be
//! left out, swapped or taken from elsewhere, nothing cut off and nothing added. Neither side holds more than a chunk.

use std::io::{self, ErrorKind, Read, Write};

use aead_stream::{DecryptorBE32, EncryptorBE32, Nonce, StreamBE32};
use chacha20poly1305::XChaCha20Poly1305;
use zeroize::Zeroizing;

/// How much of the text one chunk holds; the last one may hold less.
pub(super) const CHUNK: usize = 64 << 10;

/// What sealing adds to a chunk.
pub(super) const TAG: usize = 16;

/// The key of one text and no other, which is why the nonce begins with zeroes.
pub(super) type StreamKey = [u8; 32];

type Prefix = Nonce<XChaCha20Poly1305, StreamBE32<XChaCha20Poly1305>>;

/// Seals what is written to it.
pub(crate) struct SealedWriter<W> {
    stream: EncryptorBE32<XChaCha20Poly1305>,
    /// Bound to every chunk.
    bound: Vec<u8>,
    chunk: Zeroizing<Vec<u8>>,
    to: W,
}

impl<W: Write> SealedWriter<W> {
    /// Seals under this key; what is bound must be the same when it is read.
    pub(super) fn new(key: &StreamKey, bound: Vec<u8>, to: W) -> Self {
        let chunk = Zeroizing::new(Vec::with_capacity(CHUNK + TAG));
        Self { stream: EncryptorBE32::new(key.into(), &Prefix::default()), bound, chunk, to }
    }

    /// Ends the text. Without it, what was written cannot be read.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.stream.encrypt_last_in_place(&self.bound, &mut *self.chunk).map_err(|_| too_long())?;
        self.to.write_all(&self.chunk)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until it is known whether it is the last.
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.stream.encrypt_next_in_place(&self.bound, &mut *self.chunk).map_err(|_| too_long())?;
            self.to.write_all(&self.chunk)?;
            self.chunk.clear();
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Reads what [`SealedWriter`] sealed. What is not authentic is an error of the kind `InvalidData`, and nothing of it is given.
pub(crate) struct SealedReader<R> {
    /// None once the last chunk was opened.
    stream: Option<DecryptorBE32<XChaCha20Poly1305>>,
    bound: Vec<u8>,
    from: R,
    /// The first byte of the next chunk, which shows that there is one.
    ahead: Option<u8>,
    chunk: Zeroizing<Vec<u8>>,
    given: usize,
}

impl<R: Read> SealedReader<R> {
    /// Opens with the key and what was bound.
    pub(super) fn new(key: &StreamKey, bound: Vec<u8>, from: R) -> Self {
        let stream = Some(DecryptorBE32::new(key.into(), &Prefix::default()));
        Self { stream, bound, from, ahead: None, chunk: Zeroizing::default(), given: 0 }
    }

    fn open_next(&mut self) -> io::Result<()> {
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let sealed = CHUNK + TAG;
        self.chunk.clear();
        self.chunk.reserve(sealed + 1);
        self.chunk.extend(self.ahead.take());
        let missing = sealed + 1 - self.chunk.len();
        self.from.by_ref().take(missing as u64).read_to_end(&mut self.chunk)?;
        if self.chunk.len() > sealed {
            self.ahead = self.chunk.pop();
            stream.decrypt_next_in_place(&self.bound, &mut *self.chunk).map_err(|_| altered())?;
            self.stream = Some(stream);
        } else {
            stream.decrypt_last_in_place(&self.bound, &mut *self.chunk).map_err(|_| altered())?;
        }
        self.given = 0;
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() && self.stream.is_some() {
            self.open_next().inspect_err(|_| self.chunk.clear())?;
        }
        let taken = to.len().min(self.chunk.len() - self.given);
        to[..taken].copy_from_slice(&self.chunk[self.given..self.given + taken]);
        self.given += taken;
        Ok(taken)
    }
}

fn altered() -> io::Error {
    ErrorKind::InvalidData.into()
}

fn too_long() -> io::Error {
    io::Error::other("it is longer than can be sealed as one")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: StreamKey = [7; 32];

    fn sealed(text: &[u8], pieces: &[usize]) -> Vec<u8> {
        let mut writer = SealedWriter::new(&KEY, b"bound".to_vec(), Vec::new());
        let mut rest = text;
        for piece in pieces {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            writer.write_all(now).unwrap();
            rest = later;
        }
        writer.write_all(rest).unwrap();
        writer.finish().unwrap()
    }

    fn opened(sealed: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        SealedReader::new(&KEY, b"bound".to_vec(), sealed).read_to_end(&mut text)?;
        Ok(text)
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 3) as u8).collect()
    }

    #[track_caller]
    fn is_refused(sealed: &[u8]) {
        assert_eq!(opened(sealed).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn texts_of_every_length_around_a_chunk_come_back() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
            let sealed = sealed(&text(length), &[]);
            assert_eq!(sealed.len(), length + length.div_ceil(CHUNK).max(1) * TAG);
            assert!(opened(&sealed).unwrap() == text(length), "{length}");
        }
    }

    #[test]
    fn what_was_cut_added_swapped_left_out_or_put_together_is_refused() {
        let whole = sealed(&text(3 * CHUNK), &[]);
        let chunk = CHUNK + TAG;
        let [one, two, three] = [0, 1, 2].map(|at| &whole[at * chunk..(at + 1) * chunk]);
        assert!(opened(&[one, two, three].concat()).is_ok());
        for cut in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, whole.len() - 1] {
            is_refused(&whole[..cut]);
        }
        is_refused(&[&whole[..], b"x"].concat());
        is_refused(&[&whole[..], &whole[..]].concat());
        is_refused(&[two, one, three].concat());
        is_refused(&[one, three].concat());
        is_refused(&[one, one, two, three].concat());
        let other = sealed(&text(3 * CHUNK + 1), &[]);
        is_refused(&[one, two, three, &other[3 * chunk..]].concat());
    }

    #[test]
    fn another_key_or_other_things_bound_open_nothing() {
        let sealed = sealed(b"text", &[]);
        for (key, bound) in [([8; 32], &b"bound"[..]), (KEY, b"other"), (KEY, b"")] {
            let error = SealedReader::new(&key, bound.to_vec(), &sealed[..]).read_to_end(&mut Vec::new());
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn nothing_of_a_chunk_that_is_refused_is_given_and_reading_on_gives_nothing() {
        let mut bad = sealed(&text(2 * CHUNK), &[]);
        *bad.last_mut().unwrap() ^= 1;
        let mut reader = SealedReader::new(&KEY, b"bound".to_vec(), &bad[..]);
        let mut all = vec![0; CHUNK];
        reader.read_exact(&mut all).unwrap();
        assert!(reader.read(&mut all).is_err());
        assert_eq!(reader.read(&mut all).unwrap(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn however_it_is_written_the_same_is_read(length in 0..3 * CHUNK, pieces in prop::collection::vec(0..CHUNK + 9, 0..12)) {
            let text = text(length);
            let pieced = sealed(&text, &pieces);
            prop_assert!(pieced == sealed(&text, &[]));
            prop_assert!(opened(&pieced).unwrap() == text);
        }

        #[test]
        fn no_changed_byte_is_read(length in 0..2 * CHUNK, at in any::<prop::sample::Index>(), change in 1..=255_u8) {
            let mut bad = sealed(&text(length), &[]);
            let at = at.index(bad.len());
            bad[at] ^= change;
            prop_assert!(opened(&bad).is_err());
        }

        #[test]
        fn no_cut_is_read(length in 0..2 * CHUNK, at in any::<prop::sample::Index>()) {
            let whole = sealed(&text(length), &[]);
            prop_assert!(opened(&whole[..at.index(whole.len())]).is_err());
        }
    }
}
