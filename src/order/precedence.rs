//! Which lane goes first when more lanes want to send to an instance than may do so at once.
//!
//! Within a lane there is no choice: entries go in `seq` order (rules R1, R6). Across lanes there is one, and this file
//! makes it. The shell counts what is under way.

use super::entry::{ClientState, Priority};
use crate::ids::Seq;

/// Where a lane's request ranks among those of other lanes; the lowest goes first.
///
/// Lanes with a waiting client go first, then the more urgent, then the older. The order is strict: a request that
/// ranks behind others waits for as long as there are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    /// Whether a client waits for anything in the lane, since the entries before its write delay it.
    pub client: ClientState,
    /// The most urgent priority among the request's entries and the entries of the lane that clients wait for.
    pub priority: Priority,
    /// The first entry of the request.
    pub seq: Seq,
}

impl Precedence {
    /// Returns the precedence of a request on behalf of both.
    #[must_use]
    pub fn or(self, other: Precedence) -> Precedence {
        Precedence {
            client: self.client.min(other.client),
            priority: self.priority.min(other.priority),
            seq: self.seq.min(other.seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn precedence(client: ClientState, priority: Priority, seq: u64) -> Precedence {
        Precedence { client, priority, seq: Seq::new(seq) }
    }

    #[test]
    fn a_waiting_client_then_the_priority_then_the_age() {
        use ClientState::{Gone, Waiting};
        let sorted = [
            precedence(Waiting, Priority::High, 9),
            precedence(Waiting, Priority::Normal, 8),
            precedence(Waiting, Priority::Low, 7),
            precedence(Gone, Priority::High, 6),
            precedence(Gone, Priority::Normal, 4),
            precedence(Gone, Priority::Normal, 5),
            precedence(Gone, Priority::Low, 1),
        ];
        let mut shuffled = sorted;
        shuffled.reverse();
        shuffled.sort();
        assert_eq!(shuffled, sorted);
    }

    #[test]
    fn what_stands_for_two_has_the_best_of_both() {
        let old = precedence(ClientState::Gone, Priority::High, 1);
        let awaited = precedence(ClientState::Waiting, Priority::Low, 9);
        assert_eq!(old.or(awaited), precedence(ClientState::Waiting, Priority::High, 1));
        assert_eq!(awaited.or(old), old.or(awaited));
        assert!(old.or(awaited) <= old && old.or(awaited) <= awaited);
    }

    #[test]
    fn advice_that_is_none_is_normal() {
        for priority in Priority::ALL {
            assert_eq!(Priority::asked_for(&format!(" {} ", priority.as_str().to_uppercase())), priority);
        }
        assert_eq!(Priority::asked_for("urgent"), Priority::Normal);
        assert_eq!(Priority::asked_for(""), Priority::Normal);
    }
}
