//! Events: the changes of transactions that streams and the webhook deliver, in the order in which they became durable.
//!
//! A transaction has at most two: its client was answered "pending" (FAILED with a timing gap), and it ended. A store
//! numbers an event in the commit that makes the change. The number is its position in one order, which is as durable
//! as the journal itself. `events/` decides who receives events, and how.

use std::fmt;

use super::{Status, TransactionRow};
use crate::ids::TransactionId;

/// An event's position in the order of all events. Numbers only grow, and some are never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u64);

impl EventId {
    /// Before every event.
    pub const FIRST: EventId = EventId(0);
    /// After every possible event.
    pub const END: EventId = EventId(i64::MAX.cast_unsigned());

    /// Returns the event with this number.
    pub const fn new(number: u64) -> Self {
        EventId(number)
    }

    /// Returns the event's number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which events are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventScope {
    All,
    /// Events of the writes that named this session.
    Session(String),
    Transaction(TransactionId),
}

/// An event.
#[derive(Clone, Debug)]
pub struct EventRow {
    pub event: EventId,
    /// The status that the transaction had reached: FAILED, or a final one.
    pub status: Status,
    /// The transaction as it is now, which may be later than the event, with its answer but without the answer's body.
    pub transaction: TransactionRow,
}

/// A page of events, with the bounds of the whole order, all read at the same moment.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// In their order.
    pub events: Vec<EventRow>,
    /// The last number given to an event of any scope.
    pub last: EventId,
    /// At or below this, events may be missing, because retention has removed some.
    pub forgotten: EventId,
    /// How far [`super::Fact::Delivered`] has come, or `None` if nothing was ever delivered.
    pub delivered: Option<EventId>,
}
