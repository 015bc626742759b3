//! Events: the changes of transactions that streams and the webhook deliver, in the order in which they became durable.
//!
//! A transaction has at most two: that its client was answered "pending" (FAILED with a timing gap), and how it ended.
//! A store numbers them in the commit that makes the change, so that a number is a position in one order that survives
//! everything the journal survives. `events/` decides who receives them, and how.

use std::fmt;

use super::{Status, TransactionRow};
use crate::ids::TransactionId;

/// An event's position in the order of all events. Numbers only grow; not every number is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u64);

impl EventId {
    /// Before every event.
    pub const FIRST: EventId = EventId(0);
    /// Behind every event there can be.
    pub const END: EventId = EventId(i64::MAX.cast_unsigned());

    /// The event with this number.
    pub const fn new(number: u64) -> Self {
        EventId(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose events are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventScope {
    All,
    /// Of the writes that named this session.
    Session(String),
    Transaction(TransactionId),
}

/// An event.
#[derive(Clone, Debug)]
pub struct EventRow {
    pub event: EventId,
    /// The status that the transaction came to: FAILED, or a final one.
    pub status: Status,
    /// The transaction as it is now, which may be later than the event; its answer without the body.
    pub transaction: TransactionRow,
}

/// Some events, and what there is around them, all of one moment.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// In their order.
    pub events: Vec<EventRow>,
    /// The last number given out, to whatever scope.
    pub last: EventId,
    /// At or below it events may be missing: retention has removed some.
    pub forgotten: EventId,
    /// How far [`super::Fact::Delivered`] has come; `None`: nothing was ever delivered.
    pub delivered: Option<EventId>,
}
