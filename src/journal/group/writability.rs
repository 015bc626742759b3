//! Whether the journal takes writes, judged by the last attempts to write.
//!
//! It decides when a refusal counts as begun and as ended, and when to log it. The task decides when to try the journal
//! again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::lasting::{Lasted, Lasting};

/// After a failure, a commit without a client's write shows that the journal takes writes again only if nothing has
/// failed for this long: a small commit may find room where a client's write does not.
const QUIET: Duration = Duration::from_secs(2);

/// What a successful commit contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A client's write.
    Appends,
    /// Only what the edge itself records.
    Facts,
}

/// What a successful commit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// The journal is not known to refuse writes.
    Writable,
    /// The journal takes writes again.
    WritableAgain(Lasted),
    /// Not clear yet: the journal refused something a moment ago.
    NotYet,
}

/// The state, shared by the task and its readers.
#[derive(Debug, Default)]
pub(super) struct Writability(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    refusing: Lasting,
    last: Option<(Instant, String)>,
}

impl Writability {
    /// Records that the journal took no write, and why. Returns how often in a row, if a log line is due.
    pub(super) fn failed(&self, why: &str, now: Instant) -> Option<u64> {
        let mut state = self.state();
        state.last = Some((now, why.to_owned()));
        state.refusing.seen(now).times()
    }

    /// Records that a commit that wrote something succeeded.
    pub(super) fn succeeded(&self, content: Content, now: Instant) -> Shows {
        let mut state = self.state();
        let failed_lately = state.last.as_ref().is_some_and(|(last, _)| now.saturating_duration_since(*last) < QUIET);
        if content == Content::Facts && failed_lately {
            return Shows::NotYet;
        }
        state.last = None;
        state.refusing.ended(now).map_or(Shows::Writable, Shows::WritableAgain)
    }

    /// Returns why the journal takes no writes now, or `None` if it is not known to refuse any.
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
