//! Finds the end of a chunked body.
//!
//! Pure, and strict: extensions and trailers are refused. Chroma's clients never send them, and servers interpret them
//! differently.

use bytes::{Buf, BytesMut};

use super::head::{CHUNK, Flaw};

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// The length. Some of its digits may have been read.
    Length {
        so_far: u64,
        digits: u8,
    },
    /// LF, after the length and CR.
    LengthEnd(u64),
    Bytes(u64),
    /// CRLF after the bytes.
    BytesEnd,
    BytesEndLf,
    /// CRLF after the last length, 0.
    End,
    EndLf,
    Over,
}

/// The digits of the longest length, which is below 2^60.
const MOST_DIGITS: u8 = 15;

impl Chunks {
    pub const START: Chunks = Chunks::Length { so_far: 0, digits: 0 };

    /// Moves the bytes that belong to the body from `input` to `out`.
    ///
    /// # Errors
    /// The input is not a chunked body.
    pub fn feed(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<(), Flaw> {
        while let Some(&byte) = input.first() {
            if let Chunks::Bytes(left) = self {
                let taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&input.split_to(taken));
                *left -= taken as u64;
                if *left == 0 {
                    *self = Chunks::BytesEnd;
                }
                continue;
            }
            if *self == Chunks::Over {
                return Ok(());
            }
            *self = self.after(byte).ok_or(Flaw::Ambiguous(CHUNK))?;
            out.extend_from_slice(&[byte]);
            input.advance(1);
        }
        Ok(())
    }

    /// Returns what is expected after a byte that is not part of a chunk's content.
    fn after(self, byte: u8) -> Option<Chunks> {
        match (self, byte) {
            (Chunks::Length { so_far, digits }, _) if byte.is_ascii_hexdigit() && digits < MOST_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                Some(Chunks::Length { so_far: so_far * 16 + u64::from(digit), digits: digits + 1 })
            }
            (Chunks::Length { so_far, digits: 1.. }, b'\r') => Some(Chunks::LengthEnd(so_far)),
            (Chunks::LengthEnd(0), b'\n') => Some(Chunks::End),
            (Chunks::LengthEnd(length), b'\n') => Some(Chunks::Bytes(length)),
            (Chunks::BytesEnd, b'\r') => Some(Chunks::BytesEndLf),
            (Chunks::BytesEndLf, b'\n') => Some(Chunks::START),
            (Chunks::End, b'\r') => Some(Chunks::EndLf),
            (Chunks::EndLf, b'\n') => Some(Chunks::Over),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the length of the body, fed in pieces of this size.
    fn length(text: &str, piece: usize) -> Result<usize, Flaw> {
        let (mut chunks, mut out, mut rest) = (Chunks::START, BytesMut::new(), BytesMut::new());
        for part in text.as_bytes().chunks(piece) {
            rest.extend_from_slice(part);
            chunks.feed(&mut rest, &mut out)?;
        }
        assert_eq!(&out[..], &text.as_bytes()[..out.len()]);
        if chunks == Chunks::Over { Ok(out.len()) } else { Err(Flaw::Ambiguous("not over")) }
    }

    #[test]
    fn it_ends_where_it_ends_however_it_comes() {
        for piece in 1..40 {
            assert_eq!(length("5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1", piece), Ok(32));
            assert_eq!(length("0\r\n\r\n", piece), Ok(5));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "5;a=b\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "\r\n\r\n",
            "-1\r\n",
            "0\r\nTrailer: a\r\n\r\n",
            "0\r\n\n",
            "0\n\n",
            "1234567812345678\r\n",
            "5\r\nhello\r\n0;\n\r\n",
            "+5\r\nhello\r\n",
            "5\r\r\nhello\r\n",
            "g\r\n",
        ] {
            assert_eq!(length(text, 3), Err(Flaw::Ambiguous(CHUNK)), "{text:?}");
        }
    }
}
