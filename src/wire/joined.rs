//! Holds back the beginning of a message until the rest follows, so that a header and its body take one system call and
//! wake the client once.
//!
//! It decides when bytes wait: only the first small part after a flush, until the next part or the next flush. The
//! writer must flush at the end of a message, as Pingora does for its own buffers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

/// Longer parts do not wait: an answer's header is shorter.
const MOST: usize = 4 * 1024;

/// The held-back beginning of what is written to a connection.
#[derive(Debug, Default)]
pub(super) struct Joined {
    waiting: BytesMut,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing has been written since the last flush.
    #[default]
    Begins,
    /// Something has been written since the last flush.
    GoesOn,
}

impl Joined {
    /// Writes to the connection, or holds the bytes back for a moment.
    pub fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.keeps(bytes.len()) {
            self.waiting.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while !self.waiting.is_empty() {
            let both = [IoSlice::new(&self.waiting), IoSlice::new(bytes)];
            // A connection without vectored writes takes only the first.
            let taken = ready!(Pin::new(&mut *to).poll_write_vectored(context, &both))?;
            let of_those_waiting = self.took(taken)?;
            if taken > of_those_waiting {
                return Poll::Ready(Ok(taken - of_those_waiting));
            }
        }
        Pin::new(to).poll_write(context, bytes)
    }

    /// As [`Joined::poll_write`].
    pub fn poll_write_vectored<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if self.keeps(length) {
            pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
            return Poll::Ready(Ok(length));
        }
        if self.waiting.is_empty() {
            return Pin::new(to).poll_write_vectored(context, pieces);
        }
        let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        self.poll_write(to, context, first)
    }

    /// Sends the bytes that wait.
    pub fn poll_flush<W: AsyncWrite + Unpin>(&mut self, to: &mut W, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let taken = ready!(Pin::new(&mut *to).poll_write(context, &self.waiting))?;
            self.took(taken)?;
        }
        // An idle connection holds no memory.
        *self = Joined::default();
        Pin::new(to).poll_flush(context)
    }

    /// Decides whether this many bytes wait. The bytes after them do not.
    fn keeps(&mut self, length: usize) -> bool {
        std::mem::replace(&mut self.stage, Stage::GoesOn) == Stage::Begins && length <= MOST
    }

    /// Removes bytes that the connection took from those that wait. Returns how many of them had been waiting.
    fn took(&mut self, bytes: usize) -> io::Result<usize> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_those_waiting = bytes.min(self.waiting.len());
        self.waiting.advance(of_those_waiting);
        Ok(of_those_waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes this many bytes at a time, and records what it took.
    struct Taker {
        most: usize,
        taken: Vec<Vec<u8>>,
    }

    impl Taker {
        fn of(most: usize) -> Taker {
            Taker { most, taken: Vec::new() }
        }

        fn all(&self) -> Vec<u8> {
            self.taken.concat()
        }
    }

    impl AsyncWrite for Taker {
        fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let most = self.most;
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).take(most).collect();
            self.taken.push(bytes);
            Poll::Ready(Ok(self.taken.last().map_or(0, Vec::len)))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn now<T>(poll: Poll<io::Result<T>>) -> T {
        match poll {
            Poll::Ready(done) => done.unwrap(),
            Poll::Pending => panic!("it takes what it can at once"),
        }
    }

    fn write_all(joined: &mut Joined, to: &mut Taker, mut bytes: &[u8]) {
        let context = &mut Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            let written = now(joined.poll_write(to, context, bytes));
            bytes = &bytes[written..];
        }
    }

    fn flush(joined: &mut Joined, to: &mut Taker) {
        now(joined.poll_flush(to, &mut Context::from_waker(Waker::noop())));
    }

    #[test]
    fn a_header_goes_out_with_its_body_and_nothing_later_waits() {
        let (mut joined, mut to) = (Joined::default(), Taker::of(usize::MAX));
        for _ in 0..2 {
            to.taken.clear();
            write_all(&mut joined, &mut to, b"header");
            assert!(to.taken.is_empty());
            write_all(&mut joined, &mut to, b"body");
            write_all(&mut joined, &mut to, b"more");
            assert_eq!(to.taken, [b"headerbody".to_vec(), b"more".to_vec()]);
            flush(&mut joined, &mut to);
            assert_eq!(to.taken.len(), 2, "nothing was left");
        }
    }

    #[test]
    fn what_is_flushed_or_long_does_not_wait() {
        let (mut joined, mut to) = (Joined::default(), Taker::of(usize::MAX));
        write_all(&mut joined, &mut to, b"header");
        flush(&mut joined, &mut to);
        assert_eq!(to.all(), b"header");
        write_all(&mut joined, &mut to, &[0; MOST + 1]);
        assert_eq!(to.taken.len(), 2);
    }

    #[test]
    fn whatever_is_taken_at_a_time_every_byte_goes_out_once_and_in_order() {
        let context = &mut Context::from_waker(Waker::noop());
        for most in 1..=20 {
            let (mut joined, mut to) = (Joined::default(), Taker::of(most));
            write_all(&mut joined, &mut to, b"header:");
            write_all(&mut joined, &mut to, b"a body");
            flush(&mut joined, &mut to);
            let pieces = [IoSlice::new(b""), IoSlice::new(b"6\r\n"), IoSlice::new(b"chunk\n")];
            assert_eq!(now(joined.poll_write_vectored(&mut to, context, &pieces)), 9);
            let written = now(joined.poll_write_vectored(&mut to, context, &pieces[1..]));
            write_all(&mut joined, &mut to, &b"6\r\nchunk\n"[written..]);
            flush(&mut joined, &mut to);
            assert_eq!(to.all(), b"header:a body6\r\nchunk\n6\r\nchunk\n", "{most}");
        }
    }

    #[test]
    fn a_connection_that_takes_nothing_has_failed() {
        let (mut joined, mut to) = (Joined::default(), Taker::of(0));
        write_all(&mut joined, &mut to, b"header");
        let context = &mut Context::from_waker(Waker::noop());
        assert!(matches!(joined.poll_flush(&mut to, context), Poll::Ready(Err(_))));
    }
}
