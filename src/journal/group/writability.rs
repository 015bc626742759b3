//! Whether the journal takes writes, as what was asked of it has shown.
//!
//! It decides when that begins and ends to be known, and when to log it. Who asks the journal again is the task's concern.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::lasting::{Lasted, Lasting};

/// A small commit may find room where a client's write does not: without a write that is taken, the journal is believed to
/// take writes again only when nothing has failed for so long.
const QUIET: Duration = Duration::from_secs(2);

/// What a commit that succeeded held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A client's write.
    Appends,
    /// What the edge itself records.
    Facts,
}

/// What such a commit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Nothing is known against the journal.
    Writable,
    /// The journal takes writes again.
    WritableAgain(Lasted),
    /// It did not take some a moment ago.
    NotYet,
}

/// The state, shared by the task and those who show it.
#[derive(Debug, Default)]
pub(super) struct Writability(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    refusing: Lasting,
    last: Option<(Instant, String)>,
}

impl Writability {
    /// The journal took no write, for this reason. How often in a row that was, where the log is to say it.
    pub(super) fn failed(&self, why: &str, now: Instant) -> Option<u64> {
        let mut state = self.state();
        state.last = Some((now, why.to_owned()));
        state.refusing.seen(now).times()
    }

    /// A commit that wrote something succeeded.
    pub(super) fn succeeded(&self, content: Content, now: Instant) -> Shows {
        let mut state = self.state();
        let failed_lately = state.last.as_ref().is_some_and(|(last, _)| now.saturating_duration_since(*last) < QUIET);
        if content == Content::Facts && failed_lately {
            return Shows::NotYet;
        }
        state.last = None;
        state.refusing.ended(now).map_or(Shows::Writable, Shows::WritableAgain)
    }

    /// Why the journal takes no write now. `None`: nothing is known against it.
    pub(super) fn refusal(&self) -> Option<String> {
        self.state().last.as_ref().map(|(_, why)| why.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_refused_from_the_first_failure_until_a_write_is_taken_or_nothing_fails_any_more() {
        let (journal, start) = (Writability::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!((journal.refusal(), journal.succeeded(Content::Facts, at(0))), (None, Shows::Writable));
        assert_eq!(journal.failed("the disk is full", at(0)), Some(1));
        assert_eq!(journal.failed("the disk is full still", at(1000)), None);
        assert_eq!(journal.refusal().as_deref(), Some("the disk is full still"));
        assert_eq!(journal.succeeded(Content::Facts, at(2999)), Shows::NotYet, "there was room for something small");
        assert!(journal.refusal().is_some());
        let lasted = |millis| Shows::WritableAgain(Lasted { time: Duration::from_millis(millis), times: 2 });
        assert_eq!((journal.succeeded(Content::Facts, at(3000)), journal.refusal()), (lasted(3000), None));
        journal.failed("again", at(4000));
        journal.failed("again", at(4001));
        assert_eq!((journal.succeeded(Content::Appends, at(4002)), journal.refusal()), (lasted(2), None));
        assert_eq!(journal.succeeded(Content::Appends, at(4003)), Shows::Writable);
    }
}
