//! How long to wait for the answer to a request, while the connection lives and the probes are green.
//!
//! Pure: whether another instance stands ready is the caller's question to the board. The edge does not send a slow
//! write again to the instance that still executes it: that would only add to the instance's work, and lose the number
//! in its answer. It gives a write up early only if another instance stands ready to take it and, by its size, the
//! write should be done by now.

use std::time::Duration;

use crate::chroma;
use crate::journal::Request;
use crate::order::{Kind, Repeat};

/// The longest wait for an answer, however often the time was doubled. A longer configured time stands.
const LONGEST: Duration = Duration::from_secs(600);
/// Bytes per second. An instance that executes fewer counts as hanging. This is a fortieth of what was measured.
const SLOWEST: u64 = 256 * 1024;

/// Whether a request's size bounds how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Bounded,
    /// It deletes by a condition or a name, so its size says nothing about the work.
    Unbounded,
}

/// The configured time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeouts {
    pub attempt: Duration,
    pub request: Duration,
}

/// How long one attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// For a read, and for sending a write in full.
    pub attempt: Duration,
    /// For a write's answer, while another instance stands ready to take the write.
    pub with_another: Duration,
    /// For a write's answer.
    pub longest: Duration,
}

impl Patience {
    /// Returns the times for one attempt of these entries. Each earlier attempt that went unanswered doubles them.
    pub fn of(requests: &[Request], repeat: Repeat, timeouts: Timeouts) -> Patience {
        let doublings = match repeat {
            Repeat::First => 0,
            Repeat::Retry { unanswered } => unanswered.min(16),
        };
        let doubled = |time: Duration| (time * 2u32.pow(doublings)).min(LONGEST.max(time));
        let attempt = doubled(timeouts.attempt);
        let longest = doubled(timeouts.request).max(attempt);
        let bytes: u64 = requests.iter().map(|request| request.body.len() as u64).sum();
        let with_another = match requests.iter().any(|request| work(request) == Work::Unbounded) {
            true => longest,
            false => (attempt + Duration::from_millis(bytes * 1000 / SLOWEST)).min(longest),
        };
        Patience { attempt, with_another, longest }
    }
}

fn work(request: &Request) -> Work {
    match request.profile.kind {
        Kind::Delete if chroma::deletes_by_condition(&request.body) => Work::Unbounded,
        Kind::DeleteCollection | Kind::DeleteDatabase | Kind::Reset => Work::Unbounded,
        _ => Work::Bounded,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{LaneId, Seq};
    use crate::journal::Resolution;
    use crate::order::Profile;

    const SECOND: Duration = Duration::from_secs(1);

    fn patience(kind: Kind, body: impl Into<Bytes>, repeat: Repeat) -> [u64; 3] {
        let body = body.into();
        let request = Request {
            seq: Seq::new(1),
            lane: LaneId::Catalog,
            profile: Profile::of(kind, body.len() as u64),
            method: "POST".to_owned(),
            path: "/".to_owned(),
            content_type: None,
            body,
            resolved: Resolution::AsReceived,
            answer: None,
            trace_context: None,
        };
        let timeouts = Timeouts { attempt: 30 * SECOND, request: 120 * SECOND };
        let Patience { attempt, with_another, longest } = Patience::of(&[request], repeat, timeouts);
        [attempt, with_another, longest].map(|time| time.as_secs())
    }

    #[test]
    fn what_a_request_says_of_its_work_bounds_the_wait_while_another_instance_could_take_it() {
        assert_eq!(patience(Kind::Add, "{}", Repeat::First), [30, 30, 120]);
        assert_eq!(patience(Kind::Add, vec![b' '; 4 << 20], Repeat::First), [30, 46, 120], "larger, hence longer");
        assert_eq!(patience(Kind::Add, vec![b' '; 40 << 20], Repeat::First), [30, 120, 120]);
        assert_eq!(patience(Kind::Delete, r#"{"ids":["a"]}"#, Repeat::First), [30, 30, 120]);
        assert_eq!(patience(Kind::Delete, r#"{"where":{"a":1}}"#, Repeat::First), [30, 120, 120]);
        assert_eq!(patience(Kind::DeleteCollection, "", Repeat::First), [30, 120, 120]);
    }

    #[test]
    fn each_unanswered_attempt_doubles_it_within_bounds() {
        let after = |unanswered| patience(Kind::Add, "{}", Repeat::Retry { unanswered });
        assert_eq!([after(0), after(1), after(2)], [[30, 30, 120], [60, 60, 240], [120, 120, 480]]);
        assert_eq!(after(u32::MAX), [600, 600, 600]);
    }
}
