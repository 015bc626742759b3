//! How bodies are stored: as they are, or compressed with zstd if that is smaller.
//!
//! Both stores use this. The configuration decides which new bodies are compressed; stored ones can be read whatever
//! the configuration is now. Damaged bytes are an error, never a panic, and never take more memory than the largest
//! body.

use std::borrow::Cow;
use std::io::Read;

use bytes::Bytes;

/// How new bodies are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    Zstd,
}

/// The encoding of a stored body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Plain,
    Zstd,
}

/// A body as it is stored.
pub(super) struct Packed<'a> {
    pub bytes: Cow<'a, [u8]>,
    pub encoding: Stored,
}

/// A stored body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damaged {
    #[error("the compressed body is damaged: {0}")]
    Zstd(#[from] std::io::Error),
    #[error("the compressed body is longer than any that is stored")]
    TooLong,
}

/// Bodies shorter than this are not compressed: the frame's header would cost what is gained.
const WORTH_BYTES: usize = 1024;
/// Fast, and within a few percent of the best for vectors and JSON.
const LEVEL: i32 = 3;
/// The largest body that the configuration allows (`limits.body_bytes`).
const MOST_BYTES: u64 = 1 << 30;
/// The largest window a frame may need. Larger ones were not written by the edge, and the decoder would have to hold
/// the whole window in memory.
const WINDOW_LOG: u32 = 27;

/// Returns the body in the form in which it is stored.
pub(super) fn pack(body: &[u8], compression: Compression) -> Packed<'_> {
    if compression == Compression::Zstd
        && body.len() >= WORTH_BYTES
        && let Ok(packed) = zstd::bulk::compress(body, LEVEL)
        && packed.len() < body.len()
    {
        return Packed { bytes: Cow::Owned(packed), encoding: Stored::Zstd };
    }
    Packed { bytes: Cow::Borrowed(body), encoding: Stored::Plain }
}

/// Returns the body as it was received.
///
/// # Errors
/// If the bytes are not what [`pack`] made.
pub(super) fn unpack(stored: Vec<u8>, encoding: Stored) -> Result<Bytes, Damaged> {
    match encoding {
        Stored::Plain => Ok(stored.into()),
        Stored::Zstd => unpack_within(&stored, MOST_BYTES),
    }
}

/// Decompresses at most `most` bytes. Memory grows with the output, not with the size that the frame claims.
fn unpack_within(stored: &[u8], most: u64) -> Result<Bytes, Damaged> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
    decoder.window_log_max(WINDOW_LOG)?;
    let mut body = Vec::new();
    decoder.take(most + 1).read_to_end(&mut body)?;
    if body.len() as u64 > most { Err(Damaged::TooLong) } else { Ok(body.into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(body: &[u8], compression: Compression) -> Stored {
        let packed = pack(body, compression);
        assert!(packed.bytes.len() <= body.len());
        let encoding = packed.encoding;
        assert_eq!(unpack(packed.bytes.into_owned(), encoding).unwrap(), body);
        encoding
    }

    #[test]
    fn only_what_gets_smaller_is_compressed() {
        let text = "the same words again and again, ".repeat(100);
        assert_eq!(round_trip(text.as_bytes(), Compression::Zstd), Stored::Zstd);
        assert_eq!(round_trip(text.as_bytes(), Compression::None), Stored::Plain);
        assert_eq!(round_trip(&text.as_bytes()[..WORTH_BYTES - 1], Compression::Zstd), Stored::Plain);
        let packed = pack(text.as_bytes(), Compression::Zstd).bytes.into_owned();
        let noise: Vec<u8> = (0..4096_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut state = packed.len() as u64;
        let noise: Vec<u8> = noise
            .iter()
            .map(|byte| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                byte ^ (state >> 56) as u8
            })
            .collect();
        assert_eq!(round_trip(&noise, Compression::Zstd), Stored::Plain);
    }

    #[test]
    fn a_body_that_would_be_too_long_is_an_error_before_it_fills_the_memory() {
        let bomb = zstd::bulk::compress(&vec![0; 1 << 20], LEVEL).unwrap();
        assert!(bomb.len() < 200);
        assert!(matches!(unpack_within(&bomb, (1 << 20) - 1), Err(Damaged::TooLong)));
        assert_eq!(unpack_within(&bomb, 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let whole = zstd::bulk::compress("x".repeat(5000).as_bytes(), LEVEL).unwrap();
        assert!(unpack(whole[..whole.len() - 3].to_vec(), Stored::Zstd).is_err(), "cut short");
        assert!(unpack(b"no frame at all".to_vec(), Stored::Zstd).is_err());
    }

    proptest! {
        #[test]
        fn any_body_comes_back(body in proptest::collection::vec(any::<u8>(), 0..8192), repeat in 1_usize..4) {
            round_trip(&body.repeat(repeat), Compression::Zstd);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let framed = [&[0x28, 0xb5, 0x2f, 0xfd][..], &bytes].concat();
            for stored in [bytes, framed] {
                let _ = unpack_within(&stored, 1 << 16);
            }
        }
    }
}
