//! A streaming page: server-sent events that contain JSON, read one by one.
//!
//! Decides how long the other side may be silent, and how large an event may be. The caller decides whether to
//! reconnect.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde_json::Value;

use super::error::CallError;
use super::wire::Wire;

/// The edge sends an event every second.
const SILENCE: Duration = Duration::from_secs(5);
/// The largest event to read.
const PIECE_BYTES: u64 = 16 * 1024 * 1024;

/// An open stream.
pub struct Live {
    request: String,
    pieces: Box<dyn BufRead + Send>,
}

impl Live {
    pub(super) fn open(wire: &Wire, path: &str) -> Result<Live, CallError> {
        let (request, body) = wire.stream(path, SILENCE)?;
        Ok(Live { request, pieces: Box::new(BufReader::new(body)) })
    }

    /// Waits for the next event, for as long as the other side may be silent; `None` if the other side has ended the
    /// stream.
    ///
    /// # Errors
    /// If nothing is received in time, or something that is not JSON.
    pub fn next_piece(&mut self) -> Result<Option<Value>, CallError> {
        let wrong = |why: String| CallError::NoAnswer { request: self.request.clone(), why };
        loop {
            let mut line = String::new();
            let mut bounded = (&mut self.pieces).take(PIECE_BYTES);
            let read = bounded.read_line(&mut line).map_err(|error| wrong(error.to_string()))?;
            if !line.ends_with('\n') {
                let cut = || wrong(format!("a piece of more than {} MB", PIECE_BYTES >> 20));
                return if read as u64 == PIECE_BYTES { Err(cut()) } else { Ok(None) };
            }
            // Each event has one line of data; event names and empty lines are skipped.
            if let Some(data) = line.strip_prefix("data:") {
                return serde_json::from_str(data).map(Some).map_err(|error| wrong(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(text: &'static str) -> Live {
        Live { request: "GET /x".to_owned(), pieces: Box::new(text.as_bytes()) }
    }

    #[test]
    fn pieces_come_one_by_one_and_half_a_one_is_none() {
        let mut live =
            live("event: state\ndata: 1\n\n: ping\n\nevent: state\ndata: {\"a\":2}\n\nevent: state\ndata: 3");
        let mut next = || live.next_piece().unwrap();
        assert_eq!([next(), next(), next()], [Some(1.into()), Some(serde_json::json!({ "a": 2 })), None]);
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        assert!(live("data: <html>\n\n").next_piece().is_err());
    }
}
