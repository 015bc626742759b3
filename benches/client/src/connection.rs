//! One kept connection: sends whole requests, and reads whole answers, framed by their length or in chunks. It parses
//! only as much of an answer as it needs to find its end and to see that it is a success.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_END: &[u8] = b"\r\n\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

pub struct Connection {
    stream: TcpStream,
    piece: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, piece: vec![0; 256 * 1024] })
    }

    pub async fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await
    }

    /// Waits for the answer to the last request. Fails if it is not a success, or if the connection ends before it
    /// does.
    pub async fn receive(&mut self) -> Result<()> {
        let mut filled = 0;
        let end = loop {
            filled += self.more(filled).await?;
            if let Some(at) = find(&self.piece[..filled], HEAD_END) {
                break at + HEAD_END.len();
            }
        };
        let head = String::from_utf8_lossy(&self.piece[..end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 2") {
            let answer = String::from_utf8_lossy(&self.piece[..filled.min(500)]);
            return Err(Error::other(format!("answered {answer:?}")));
        }
        let length =
            head.split("\r\n").find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        match length {
            Some(length) => self.skip((end + length).saturating_sub(filled)).await,
            None => self.skip_chunks(end, filled).await,
        }
    }

    async fn skip(&mut self, mut left: usize) -> Result<()> {
        while left > 0 {
            left = left.saturating_sub(self.more(0).await?);
        }
        Ok(())
    }

    async fn skip_chunks(&mut self, from: usize, filled: usize) -> Result<()> {
        let mut last = self.piece[from..filled].to_vec();
        while !last.ends_with(LAST_CHUNK) {
            let read = self.more(0).await?;
            last.extend_from_slice(&self.piece[..read]);
            last.drain(..last.len().saturating_sub(LAST_CHUNK.len()));
        }
        Ok(())
    }

    async fn more(&mut self, at: usize) -> Result<usize> {
        if at == self.piece.len() {
            return Err(Error::other("an answer's header has no end"));
        }
        match self.stream.read(&mut self.piece[at..]).await? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "a server closed a connection")),
            read => Ok(read),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
