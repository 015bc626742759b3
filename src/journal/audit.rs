//! Queries about transactions, for operators and clients that watch them: filters, pages, counts.
//!
//! A store answers them from its own data. Counts are kept up to date with the transactions they count, or read from an
//! index; the store decides how.

#![allow(clippy::single_range_in_vec_init, reason = "one range of time among several is meant")]

use super::names::{APPLICATION, Named};
use super::{ApplicationReport, OperationType, ProgressRow, Status, StoredAnswer, TimingGap, TransactionRow};
use crate::clock::Timestamp;
use crate::ids::Seq;
use crate::order::Kind;

/// Milliseconds in an hour, the unit by which stores count transactions.
pub(super) const HOUR: i64 = 3_600_000;

impl OperationType {
    /// Returns the name that is shown: the kind's name, except that a limited delete is shown as a delete.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationType::Write(Kind::DeleteLimited) => Kind::Delete.name(),
            OperationType::Write(kind) => kind.name(),
            OperationType::Application => APPLICATION,
        }
    }

    /// Returns all operations that are shown by this name.
    pub fn shown_as(text: &str) -> Vec<OperationType> {
        let writes = Kind::NAMES.iter().map(|(kind, _)| OperationType::Write(*kind));
        writes.chain([OperationType::Application]).filter(|operation| operation.as_str() == text).collect()
    }

    /// Returns the name that is stored.
    pub(super) fn stored(self) -> &'static str {
        match self {
            OperationType::Write(kind) => kind.name(),
            OperationType::Application => APPLICATION,
        }
    }

    /// Returns the operation with this stored name.
    pub(super) fn from_stored(text: &str) -> Result<OperationType, super::names::UnknownName> {
        if text == APPLICATION {
            return Ok(OperationType::Application);
        }
        Kind::named(text).map(OperationType::Write)
    }
}

impl ApplicationReport {
    /// Returns the status of the operation after this report; `so_far` is whether earlier attempts met a timing gap.
    pub const fn status(&self, so_far: TimingGap) -> Status {
        match (self, so_far) {
            (ApplicationReport::Done { .. }, TimingGap::Yes) => Status::Recovered,
            (ApplicationReport::Done { .. }, TimingGap::No) => Status::Completed,
            (ApplicationReport::Failed { .. }, _) => Status::Failed,
            (ApplicationReport::GivenUp { .. }, _) => Status::Abandoned,
        }
    }

    /// Returns whether the attempt met a timing gap.
    pub(super) const fn timing_gap(&self) -> TimingGap {
        match self {
            ApplicationReport::Done { .. } => TimingGap::No,
            ApplicationReport::Failed { timing_gap, .. } | ApplicationReport::GivenUp { timing_gap, .. } => *timing_gap,
        }
    }

    /// Returns why the attempt failed.
    pub fn reason(&self) -> Option<&str> {
        match self {
            ApplicationReport::Done { .. } => None,
            ApplicationReport::Failed { reason, .. } | ApplicationReport::GivenUp { reason, .. } => Some(reason),
        }
    }

    /// Returns the operation's answer, if it is done.
    pub const fn answer(&self) -> Option<&StoredAnswer> {
        match self {
            ApplicationReport::Done { answer } => Some(answer),
            ApplicationReport::Failed { .. } | ApplicationReport::GivenUp { .. } => None,
        }
    }
}

/// Selects transactions. An empty list restricts nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only transactions of the principal of this name.
    pub principal: Option<String>,
    pub session: Option<String>,
    pub statuses: Vec<Status>,
    pub operations: Vec<OperationType>,
    /// Created at this moment or later.
    pub since: Option<Timestamp>,
    /// Created before this moment.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Returns the stored names of the operations.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        self.operations.iter().map(|operation| operation.stored()).collect()
    }

    /// Returns the range in milliseconds since 1970. A missing bound is the minimum or maximum of `i64`.
    pub(super) fn range(&self) -> std::ops::Range<i64> {
        self.since.map_or(i64::MIN, Timestamp::millis)..self.until.map_or(i64::MAX, Timestamp::millis)
    }
}

/// Returns the stored names of the statuses.
pub(super) fn status_names(statuses: &[Status]) -> Vec<&'static str> {
    statuses.iter().map(|status| status.name()).collect()
}

/// The position where a page ended. The order is newest first, and by position for transactions created at the same
/// moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditCursor {
    pub created_at: Timestamp,
    pub seq: Seq,
}

/// A request for one page.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    pub filter: Filter,
    /// Start after this position. `None` starts with the newest.
    pub after: Option<AuditCursor>,
    /// At least 1.
    pub limit: u32,
}

/// A page of the audit log.
#[derive(Clone, Debug)]
pub struct AuditPage {
    /// Newest first. Answers come without their bodies.
    pub transactions: Vec<TransactionRow>,
    /// Where the next page begins, or `None` if there is none.
    pub next: Option<AuditCursor>,
    /// Every status, in the order of [`Status::ALL`].
    pub counts: Vec<(Status, u64)>,
}

/// One transaction and its lane.
#[derive(Clone, Debug)]
pub struct Details {
    pub transaction: TransactionRow,
    /// How far instances are in the transaction's lane. An instance without a row has not begun.
    pub progress: Vec<ProgressRow>,
    /// The data that an application's operation was journaled with.
    pub application_data: Option<bytes::Bytes>,
}

/// Totals of the transactions of one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusSummary {
    pub status: Status,
    pub count: u64,
    pub timing_gaps: u64,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
    /// The sum of their retries.
    pub retries: u64,
    /// How many of them are completed, and in `completion_millis` the sum of the time that took.
    pub completed: u64,
    pub completion_millis: u64,
}

impl StatusSummary {
    /// Returns a summary without transactions.
    pub const fn none(status: Status) -> Self {
        StatusSummary {
            status,
            count: 0,
            timing_gaps: 0,
            oldest: None,
            newest: None,
            retries: 0,
            completed: 0,
            completion_millis: 0,
        }
    }
}

/// Transactions of one status since a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentStatus {
    pub status: Status,
    pub count: u64,
    pub latest: Option<Timestamp>,
}

/// Counts of recent transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// In the order of [`Status::ALL`].
    pub by_status: Vec<RecentStatus>,
    pub timing_gaps: u64,
}

/// A range of time, split into the whole hours in it and the ranges left at its ends. Transactions are counted by the
/// hour in the former, and one by one in the latter.
pub(super) struct Hours {
    /// In hours since 1970; the end is exclusive.
    pub whole: std::ops::Range<i64>,
    /// In milliseconds since 1970; the end is exclusive.
    pub rest: Vec<std::ops::Range<i64>>,
}

impl Hours {
    /// Splits the range of a filter.
    pub(super) fn of(filter: &Filter) -> Hours {
        let std::ops::Range { start: since, end: until } = filter.range();
        // An unbounded end has no partial hour.
        let first =
            if since == i64::MIN { i64::MIN } else { since.div_euclid(HOUR) + i64::from(since.rem_euclid(HOUR) > 0) };
        let last = if until == i64::MAX { i64::MAX } else { until.div_euclid(HOUR) };
        if first >= last {
            return Hours { whole: 0..0, rest: vec![since..until] };
        }
        let mut rest = Vec::new();
        if since != i64::MIN && first.saturating_mul(HOUR) > since {
            rest.push(since..first * HOUR);
        }
        if until != i64::MAX && last.saturating_mul(HOUR) < until {
            rest.push(last * HOUR..until);
        }
        Hours { whole: first..last, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(since: Option<i64>, until: Option<i64>) -> (std::ops::Range<i64>, Vec<std::ops::Range<i64>>) {
        let moment = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let filter = Filter { since: moment(since), until: moment(until), ..Filter::default() };
        let hours = Hours::of(&filter);
        (hours.whole, hours.rest)
    }

    #[test]
    fn a_range_is_whole_hours_and_what_is_left() {
        assert_eq!(hours(None, None), (i64::MIN..i64::MAX, vec![]));
        assert_eq!(hours(Some(0), Some(2 * HOUR)), (0..2, vec![]));
        assert_eq!(hours(Some(5), None), (1..i64::MAX, vec![5..HOUR]));
        assert_eq!(hours(None, Some(HOUR + 7)), (i64::MIN..1, vec![HOUR..HOUR + 7]));
        assert_eq!(hours(Some(5), Some(3 * HOUR + 1)), (1..3, vec![5..HOUR, 3 * HOUR..3 * HOUR + 1]));
        assert_eq!(hours(Some(5), Some(7)), (0..0, vec![5..7]));
        assert_eq!(hours(Some(5), Some(HOUR + 7)), (0..0, vec![5..HOUR + 7]));
        assert_eq!(hours(Some(-HOUR - 5), Some(0)), (-1..0, vec![-HOUR - 5..-HOUR]));
    }

    #[test]
    fn a_limited_delete_is_shown_as_a_delete() {
        let deletes = OperationType::shown_as("delete");
        assert_eq!(deletes, [OperationType::Write(Kind::Delete), OperationType::Write(Kind::DeleteLimited)]);
        assert!(OperationType::shown_as("delete_limited").is_empty());
        for (kind, _) in Kind::NAMES {
            let operation = OperationType::Write(*kind);
            assert_eq!(OperationType::from_stored(operation.stored()), Ok(operation));
            assert!(OperationType::shown_as(operation.as_str()).contains(&operation));
        }
        assert_eq!(OperationType::from_stored(OperationType::Application.stored()), Ok(OperationType::Application));
    }
}
