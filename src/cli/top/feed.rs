//! The live feed of the edge: one thread reads it, and reconnects if the connection ends.
//!
//! Decides when the received data is old. Draws nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::picture::Picture;
use super::screen::Link;
use crate::clock;
use crate::validate::{CallError, Live, Operator};

/// The stream behind the dashboard.
const PAGE: &str = "/dashboard/live";
/// The pause between two attempts to connect.
const AGAIN: Duration = Duration::from_secs(1);
/// The edge sends an event every second. Data older than this is shown as old.
const OLD: Duration = Duration::from_secs(3);

/// The latest data received.
#[derive(Debug)]
pub(super) struct Heard {
    picture: Option<Picture>,
    at: Instant,
    /// Why nothing more has been received.
    why: Option<String>,
}

impl Heard {
    fn nothing() -> Heard {
        Heard { picture: None, at: clock::now(), why: None }
    }

    pub(super) fn picture(&self) -> Option<&Picture> {
        self.picture.as_ref()
    }

    pub(super) fn link(&self) -> Link<'_> {
        let silent = self.at.elapsed();
        match self.why.as_deref() {
            _ if silent < OLD => Link::Live,
            Some(why) => Link::Lost { silent, why },
            None => Link::Lost { silent, why: "the edge says nothing" },
        }
    }

    fn take(&mut self, piece: Value) {
        match serde_json::from_value::<Picture>(piece) {
            Ok(mut picture) => {
                if let Some(before) = &self.picture {
                    picture.rates_since(before);
                }
                *self = Heard { picture: Some(picture), at: clock::now(), why: None };
            }
            Err(error) => self.why = Some(format!("what the edge says is not understood: {error}")),
        }
    }
}

/// A handle to the data that the feed's thread receives.
#[derive(Debug)]
pub(super) struct Feed(Arc<Mutex<Heard>>);

impl Feed {
    /// Reads from this edge for the rest of the process.
    ///
    /// # Errors
    /// If the edge cannot be reached now.
    pub(super) fn of(operator: Operator) -> Result<Feed, CallError> {
        let first = operator.live(PAGE)?;
        let heard = Arc::new(Mutex::new(Heard::nothing()));
        let feed = Feed(Arc::clone(&heard));
        // Without the thread, the data becomes old at once and is shown as such.
        #[allow(clippy::disallowed_methods, reason = "one thread: it ends with the process")]
        let _ = std::thread::Builder::new().name("feed".to_owned()).spawn(move || {
            let mut next = Ok(first);
            loop {
                let why = next.and_then(|live| listen(live, &heard)).err().map(|error| error.to_string());
                change(&heard, |heard| heard.why = Some(why.unwrap_or_else(|| "the edge has ended".to_owned())));
                std::thread::sleep(AGAIN);
                next = operator.live(PAGE);
            }
        });
        Ok(feed)
    }

    /// Passes the latest data to `show`.
    pub(super) fn look<T>(&self, show: impl FnOnce(&Heard) -> T) -> T {
        show(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn listen(mut live: Live, heard: &Mutex<Heard>) -> Result<(), CallError> {
    while let Some(piece) = live.next_piece()? {
        change(heard, |heard| heard.take(piece));
    }
    Ok(())
}

fn change(heard: &Mutex<Heard>, change: impl FnOnce(&mut Heard)) {
    change(&mut heard.lock().unwrap_or_else(PoisonError::into_inner));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_just_now_is_live_and_later_it_is_old_and_says_why() {
        let mut heard = Heard::nothing();
        heard.take(serde_json::json!({ "version": "1" }));
        heard.why = Some("refused".to_owned());
        assert!(matches!(heard.link(), Link::Live), "a connection may be made anew within seconds");
        heard.at -= OLD;
        assert!(matches!(heard.link(), Link::Lost { why: "refused", .. }));
        heard.take(serde_json::json!("words"));
        assert!(matches!(heard.link(), Link::Lost { why, .. } if why.contains("not understood")));
        heard.take(serde_json::json!({ "version": "2" }));
        assert!(matches!(heard.link(), Link::Live));
        assert_eq!(heard.picture().unwrap().version, "2");
    }
}
