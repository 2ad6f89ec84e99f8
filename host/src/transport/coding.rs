//! Content codings (RFC 9110, 8.4.1), undone under a cap.
//!
//! Whatever reaches the guest has been read in clear, since a credential inside coded bytes would pass the scrubbing. An
//! answer in another coding, or in several, is therefore refused rather than handed on.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, header::CONTENT_ENCODING};
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

/// What `Accept-Encoding` asks for. `deflate` is left out: half of those who send it mean something else by it (RFC 9110,
/// 8.4.1.2).
pub(super) const ACCEPTED: &str = "gzip, br, zstd";

/// The window that a Zstandard frame may ask for, as a power of two: 8 MiB (RFC 9659, 3). Brotli and gzip are bounded by
/// their own formats, at 16 MiB and 32 KiB.
const ZSTD_WINDOW: u32 = 23;

/// What a decoder hands on at a time.
const STEP: usize = 32 << 10;

/// What an answer says its body is coded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// Something else, or more than one.
    Unknown,
}

impl Coding {
    /// Reads every `Content-Encoding` field there is.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut coding = Coding::Identity;
        for field in headers.get_all(CONTENT_ENCODING) {
            for name in field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let named = match name.to_ascii_lowercase().as_slice() {
                    b"" | b"identity" => continue,
                    // RFC 9110, 8.4.1.3: `x-gzip` is the same.
                    b"gzip" | b"x-gzip" => Coding::Gzip,
                    b"br" => Coding::Brotli,
                    b"zstd" => Coding::Zstd,
                    _ => Coding::Unknown,
                };
                coding = if coding == Coding::Identity { named } else { Coding::Unknown };
            }
        }
        coding
    }
}

/// Why decoding stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More came out than may.
    TooLarge,
    /// The bytes are not what the coding says, or end too early.
    Malformed,
    /// There is no decoder for this coding.
    Unknown,
}

/// Collects a body, decoded, piece by piece; what it holds never grows beyond the cap.
pub(super) enum Decoder {
    Identity(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
    Brotli(Box<DecompressorWriter<Capped>>),
    Zstd(Box<Zstd>),
}

impl Decoder {
    /// A decoder that lets `cap` bytes out at most. `expected` is how many bytes the service says will come, which is used
    /// for nothing but the size of the first allocation.
    pub(super) fn new(coding: Coding, cap: usize, expected: usize) -> Result<Self, Stop> {
        let sink = Capped { bytes: Vec::with_capacity(expected.min(cap).min(64 << 10)), cap, full: false };
        Ok(match coding {
            Coding::Identity => Decoder::Identity(sink),
            Coding::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Coding::Brotli => Decoder::Brotli(Box::new(DecompressorWriter::new(sink, STEP))),
            Coding::Zstd => Decoder::Zstd(Box::new(Zstd::new(sink).map_err(|_| Stop::Malformed)?)),
            Coding::Unknown => return Err(Stop::Unknown),
        })
    }

    /// Takes the next piece. After an error there is no next one.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Stop> {
        let outcome = match self {
            Decoder::Identity(sink) => sink.write_all(piece),
            Decoder::Gzip(gzip) => gzip.write_all(piece),
            Decoder::Brotli(brotli) => brotli.write_all(piece),
            Decoder::Zstd(zstd) => zstd.push(piece),
        };
        outcome.map_err(|_| self.stop())
    }

    /// The whole body; an error if the coding is not at its end.
    pub(super) fn finish(mut self) -> Result<Bytes, Stop> {
        let outcome = match &mut self {
            Decoder::Identity(_) => Ok(()),
            Decoder::Gzip(gzip) => gzip.try_finish(),
            Decoder::Brotli(brotli) => brotli.close(),
            Decoder::Zstd(zstd) if zstd.at_end => Ok(()),
            Decoder::Zstd(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        outcome.map_err(|_| self.stop())?;
        let sink = match &mut self {
            Decoder::Identity(sink) => sink,
            Decoder::Gzip(gzip) => gzip.get_mut(),
            Decoder::Brotli(brotli) => brotli.get_mut(),
            Decoder::Zstd(zstd) => &mut zstd.sink,
        };
        Ok(std::mem::take(&mut sink.bytes).into())
    }

    /// Makes room for so much at once, where that is known: growing takes twice as much.
    pub(super) fn expect(&mut self, length: usize) {
        if let Decoder::Identity(sink) = self {
            let more = length.min(sink.cap).saturating_sub(sink.bytes.len());
            sink.bytes.reserve_exact(more);
        }
    }

    /// How much came out so far.
    pub(super) fn length(&self) -> usize {
        self.sink().bytes.len()
    }

    fn stop(&self) -> Stop {
        if self.sink().full { Stop::TooLarge } else { Stop::Malformed }
    }

    fn sink(&self) -> &Capped {
        match self {
            Decoder::Identity(sink) => sink,
            Decoder::Gzip(gzip) => gzip.get_ref(),
            Decoder::Brotli(brotli) => brotli.get_ref(),
            Decoder::Zstd(zstd) => &zstd.sink,
        }
    }
}

/// Bytes up to a cap.
pub(super) struct Capped {
    bytes: Vec<u8>,
    cap: usize,
    full: bool,
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > self.cap - self.bytes.len() {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Zstandard by hand, since the crate's own writer does not tell whether a frame was whole.
pub(super) struct Zstd {
    decoder: zstd::stream::raw::Decoder<'static>,
    sink: Capped,
    step: Vec<u8>,
    at_end: bool,
}

impl Zstd {
    fn new(sink: Capped) -> io::Result<Self> {
        let mut decoder = zstd::stream::raw::Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
        Ok(Self { decoder, sink, step: vec![0; STEP], at_end: false })
    }

    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(piece);
        loop {
            let mut output = OutBuffer::around(self.step.as_mut_slice());
            self.at_end = self.decoder.run(&mut input, &mut output)? == 0;
            let produced = output.pos();
            self.sink.write_all(&self.step[..produced])?;
            // A full step may have left more behind, unless the frame is at its end.
            if input.pos() == piece.len() && (self.at_end || produced < STEP) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    /// `hello, hello, hello` as one uncompressed block (RFC 7932, 9.2): nothing here writes Brotli.
    const BROTLI: &[u8] = b"\x0b\x09\x80hello, hello, hello\x03";

    fn decode(coding: Coding, coded: &[u8], cap: usize, step: usize) -> Result<Bytes, Stop> {
        let mut decoder = Decoder::new(coding, cap, coded.len())?;
        for piece in coded.chunks(step) {
            decoder.push(piece)?;
        }
        decoder.finish()
    }

    #[test]
    fn every_coding_is_undone_in_pieces_of_any_size() {
        let plain = b"hello, hello, hello";
        let zstd = zstd::encode_all(&plain[..], 3).unwrap();
        for (coding, coded) in [
            (Coding::Identity, plain.to_vec()),
            (Coding::Gzip, gzip(plain)),
            (Coding::Gzip, [gzip(b"hello, "), gzip(b"hello, hello")].concat()),
            (Coding::Brotli, BROTLI.to_vec()),
            (Coding::Zstd, zstd),
        ] {
            for step in [1, 2, 7, 1000] {
                assert_eq!(decode(coding, &coded, 19, step).as_deref(), Ok(&plain[..]), "{coding:?} by {step}");
            }
            assert_eq!(decode(coding, &coded, 18, 1000), Err(Stop::TooLarge), "{coding:?}");
        }
    }

    #[test]
    fn a_body_of_many_steps_comes_out_whole() {
        let plain: Vec<u8> = (0..1_000_000u32).flat_map(|number| number.to_le_bytes()).collect();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for (coding, coded) in [(Coding::Gzip, gzip(&plain)), (Coding::Zstd, zstd)] {
            assert_eq!(decode(coding, &coded, plain.len(), 16 << 10).unwrap(), plain, "{coding:?}");
        }
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let zstd = zstd::encode_all(&b"hello, hello, hello"[..], 3).unwrap();
        for (coding, coded) in [(Coding::Gzip, gzip(b"hello")), (Coding::Brotli, BROTLI.to_vec()), (Coding::Zstd, zstd)]
        {
            for length in 1..coded.len() {
                let cut = decode(coding, &coded[..length], 1000, 1000);
                assert_eq!(cut, Err(Stop::Malformed), "{coding:?} cut to {length} of {}", coded.len());
            }
        }
    }

    #[test]
    fn what_is_not_that_coding_is_malformed() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            assert_eq!(decode(coding, b"plain text, never coded", 1000, 1000), Err(Stop::Malformed), "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_cap_and_takes_no_more_memory() {
        let bomb = vec![0; 16 << 20];
        let zstd = zstd::encode_all(&bomb[..], 3).unwrap();
        for (coding, coded) in [(Coding::Gzip, gzip(&bomb)), (Coding::Zstd, zstd)] {
            assert!(coded.len() < bomb.len() / 100);
            let mut decoder = Decoder::new(coding, 1 << 20, coded.len()).unwrap();
            assert_eq!(coded.chunks(8 << 10).find_map(|piece| decoder.push(piece).err()), Some(Stop::TooLarge));
            let sink = match &decoder {
                Decoder::Gzip(gzip) => gzip.get_ref(),
                Decoder::Zstd(zstd) => &zstd.sink,
                _ => unreachable!(),
            };
            assert!(sink.bytes.capacity() <= 2 << 20, "{coding:?}: {}", sink.bytes.capacity());
        }
    }

    #[test]
    fn a_zstandard_window_beyond_the_standards_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let coded = encoder.finish().unwrap();
        assert_eq!(decode(Coding::Zstd, &coded, 2 << 20, 1000), Err(Stop::Malformed));
    }

    #[test]
    fn the_header_is_read_whole() {
        for (fields, coding) in [
            (&[][..], Coding::Identity),
            (&["identity"], Coding::Identity),
            (&[""], Coding::Identity),
            (&["gzip"], Coding::Gzip),
            (&["GZip"], Coding::Gzip),
            (&["x-gzip"], Coding::Gzip),
            (&["identity, gzip"], Coding::Gzip),
            (&["br"], Coding::Brotli),
            (&["zstd"], Coding::Zstd),
            (&["deflate"], Coding::Unknown),
            (&["compress"], Coding::Unknown),
            (&["gzip, gzip"], Coding::Unknown),
            (&["gzip", "br"], Coding::Unknown),
            (&["br", "gzip"], Coding::Unknown),
            (&["gzip;q=1"], Coding::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(field));
            }
            assert_eq!(Coding::of(&headers), coding, "{fields:?}");
        }
    }
}
