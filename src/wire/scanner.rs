//! The requests of one connection, one after another: decides which of the incoming bytes the parser may get.
//!
//! Pure. A head is handed on when it is whole and [`check`](super::head::check)ed, a body as it arrives.

use bytes::{Buf, BytesMut};

use super::chunks::Chunks;
use super::head::{self, BLANK, Flaw, Framing, HeadLimits};

/// How far the bytes have been understood.
#[derive(Debug)]
pub struct Scanner {
    limits: HeadLimits,
    place: Place,
    /// The part of a head that has arrived.
    head: BytesMut,
    /// Empty lines before the head.
    blank: u8,
    /// The number of whole heads.
    heads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Length(u64),
    Chunked(Chunks),
}

/// Where a flaw was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flawed {
    /// In the head: nothing of the request has been handed on.
    Head(Flaw),
    /// In the body: the parser has the head.
    Body(Flaw),
}

impl Scanner {
    /// A connection on which nothing has arrived.
    pub fn new(limits: HeadLimits) -> Scanner {
        Scanner { limits, place: Place::Head, head: BytesMut::new(), blank: 0, heads: 0 }
    }

    /// Returns whether a part of a head has arrived, and its rest is awaited.
    pub fn is_within_head(&self) -> bool {
        self.place == Place::Head && !self.head.is_empty()
    }

    /// The number of whole heads. When it has grown, another head is awaited.
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// The bytes left of a body of announced length, which need no scan. 0 elsewhere.
    pub const fn plain_bytes(&self) -> u64 {
        if let Place::Length(left) = self.place { left } else { 0 }
    }

    /// Notes that this many of [`Scanner::plain_bytes`] were handed on.
    pub fn pass(&mut self, bytes: u64) {
        if let Place::Length(left) = self.place {
            self.place = rest(left.saturating_sub(bytes));
        }
    }

    /// Moves the bytes that may be handed on to `out`.
    ///
    /// # Errors
    /// Where the bytes stop being requests. Nothing after that may be read.
    pub fn feed(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<(), Flawed> {
        while !input.is_empty() {
            match &mut self.place {
                Place::Head => self.feed_head(input, out).map_err(Flawed::Head)?,
                Place::Length(left) => {
                    let taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    out.extend_from_slice(&input.split_to(taken));
                    self.place = rest(*left - taken as u64);
                }
                Place::Chunked(chunks) => {
                    chunks.feed(input, out).map_err(Flawed::Body)?;
                    if *chunks == Chunks::Over {
                        self.place = Place::Head;
                    }
                }
            }
        }
        Ok(())
    }

    fn feed_head(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<(), Flaw> {
        let mut searched = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(&input.split());
        // One empty line may follow the previous request's body (RFC 9112, section 2.2).
        while self.head.starts_with(b"\r\n") {
            self.head.advance(2);
            searched = 0;
            self.blank += 1;
            if self.blank > 1 {
                return Err(Flaw::Ambiguous(BLANK));
            }
        }
        let end = self.head.get(searched..).and_then(|part| part.windows(4).position(|four| four == b"\r\n\r\n"));
        let Some(end) = end else { return head::check_part(&self.head, &self.limits) };
        *input = self.head.split_off(searched + end + 4);
        let whole = std::mem::take(&mut self.head);
        self.blank = 0;
        self.heads += 1;
        self.place = match head::check(&whole, &self.limits)? {
            Framing::Length(length) => rest(length),
            Framing::Chunked => Place::Chunked(Chunks::START),
        };
        out.extend_from_slice(&whole);
        Ok(())
    }
}

fn rest(left: u64) -> Place {
    if left == 0 { Place::Head } else { Place::Length(left) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { uri_bytes: 100, headers: 5, header_bytes: 400 };

    fn scan(text: &[u8], piece: usize) -> (BytesMut, Result<(), Flawed>) {
        let (mut scanner, mut out, mut rest) = (Scanner::new(LIMITS), BytesMut::new(), BytesMut::new());
        for part in text.chunks(piece.max(1)) {
            rest.extend_from_slice(part);
            if let Err(flawed) = scanner.feed(&mut rest, &mut out) {
                return (out, Err(flawed));
            }
        }
        (out, Ok(()))
    }

    const GOOD: &str = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn several_requests_are_handed_on_as_they_are() {
        for piece in 1..GOOD.len() {
            let (out, end) = scan(GOOD.as_bytes(), piece);
            assert_eq!((&out[..], end), (GOOD.as_bytes(), Ok(())), "{piece}");
        }
    }

    #[test]
    fn nothing_of_a_flawed_head_is_handed_on() {
        let text = format!(
            "{GOOD}POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        );
        for piece in 1..text.len() {
            let (out, end) = scan(text.as_bytes(), piece);
            assert_eq!(&out[..], GOOD.as_bytes(), "{piece}");
            assert!(matches!(end, Err(Flawed::Head(Flaw::Ambiguous(_)))), "{end:?}");
        }
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let (out, end) = scan(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloX: smuggled\r\n\r\n", 7);
        assert!(out.ends_with(b"hello"), "{out:?}");
        assert!(matches!(end, Err(Flawed::Head(_))));
        let (_, end) = scan(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 7);
        assert!(matches!(end, Err(Flawed::Body(_))));
        assert_eq!(scan(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1).1, Ok(()));
        assert!(scan(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 1).1.is_err());
    }

    proptest! {
        #[test]
        fn however_bytes_come_they_mean_the_same(
            bytes in proptest::collection::vec(
                prop_oneof![
                    Just(b"GET / HTTP/1.1\r\n".to_vec()), Just(b"Host: a\r\n".to_vec()), Just(b"\r\n".to_vec()),
                    Just(b"Content-Length: 3\r\n".to_vec()), Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
                    Just(b"abc".to_vec()), Just(b"3\r\n".to_vec()), Just(b"0\r\n\r\n".to_vec()), Just(b"\n".to_vec()),
                    proptest::collection::vec(any::<u8>(), 1..4),
                ],
                0..20,
            ),
            piece in 1usize..30,
        ) {
            let text = bytes.concat();
            let (whole, at_once) = scan(&text, text.len());
            let (out, in_pieces) = scan(&text, piece);
            prop_assert_eq!(at_once.is_ok(), in_pieces.is_ok());
            prop_assert_eq!(whole, out);
        }
    }
}
