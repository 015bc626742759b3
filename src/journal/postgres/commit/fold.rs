//! Folds the facts of one commit into their combined effect, so that each table is written once.
//!
//! Pure. Folding must have the same effect as recording the facts one by one, in order. The embedded store does the
//! latter, and the contract compares the two. Progress only grows; the first verdict and the first resolution count;
//! the last state in a lane counts; a status follows the rule of [`Status::after`]. Only catalog changes depend on each
//! other, so they stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::{
    ApplicationDraft, ApplicationReport, EventId, Fact, LateWriteId, Status, StoredAnswer, TimingGap,
};
use crate::order::{CatalogChange, Generation, LaneState, Verdict};

/// The combined effect of a commit's facts.
#[derive(Debug, Default)]
pub(in crate::journal::postgres) struct Folded<'a> {
    pub(in crate::journal::postgres) progress: BTreeMap<(LaneId, &'a InstanceName), Seq>,
    /// The last state of each instance in each lane, with the reason of a divergence.
    pub(super) states: BTreeMap<(LaneId, &'a InstanceName), (LaneState, Option<&'a str>)>,
    pub(in crate::journal::postgres) transactions: BTreeMap<Seq, Change<'a>>,
    pub(in crate::journal::postgres) resolved: BTreeMap<Seq, &'a Bytes>,
    pub(in crate::journal::postgres) catalog: Vec<&'a CatalogChange>,
    pub(in crate::journal::postgres) handled: Vec<LateWriteId>,
    pub(in crate::journal::postgres) begun: Vec<&'a ApplicationDraft>,
    pub(super) reports: Vec<(Seq, &'a ApplicationReport, Timestamp)>,
    pub(in crate::journal::postgres) delivered: Option<EventId>,
    pub(super) marked: BTreeMap<&'a InstanceName, Generation>,
    /// Quarantines lifted before the commit's own quarantines, and after them.
    pub(super) lifted: [BTreeSet<Seq>; 2],
}

/// The changes that the facts make to one transaction, for each status that it may have in the journal.
#[derive(Debug, Default)]
pub(in crate::journal::postgres) struct Change<'a> {
    /// Applies only while the transaction has none.
    pub(in crate::journal::postgres) verdict: Option<Settled<'a>>,
    pub(in crate::journal::postgres) timing_gap: bool,
    pub(in crate::journal::postgres) retries: i32,
    /// The instance that the transaction is bound to from now on, if that changes.
    pub(super) suspect_on: Option<Option<&'a InstanceName>>,
    /// Applies while the transaction is not finished.
    pub(in crate::journal::postgres) open: Report<'a>,
    /// Applies when the transaction is finished: only the reason of the last retry.
    pub(super) late_reason: Option<&'a str>,
}

impl Change<'_> {
    pub(super) fn is_quarantined(&self) -> bool {
        self.verdict.as_ref().is_some_and(|settled| settled.verdict == Verdict::Quarantined)
    }
}

/// The verdict on a transaction.
#[derive(Debug)]
pub(in crate::journal::postgres) struct Settled<'a> {
    pub(in crate::journal::postgres) verdict: Verdict,
    pub(in crate::journal::postgres) by: Option<&'a InstanceName>,
    pub(in crate::journal::postgres) answer: Option<&'a StoredAnswer>,
}

/// The changed columns of an unfinished transaction; `None` leaves a column as it is.
#[derive(Debug, Default)]
pub(in crate::journal::postgres) struct Report<'a> {
    pub(in crate::journal::postgres) status: Option<Status>,
    pub(in crate::journal::postgres) response_status: Option<u16>,
    pub(in crate::journal::postgres) failure_reason: Option<&'a str>,
    pub(in crate::journal::postgres) executed_on: Option<&'a InstanceName>,
    pub(in crate::journal::postgres) completed_at: Option<Timestamp>,
    pub(super) next_retry: NextRetry,
}

/// What happens to the announced time of the next retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NextRetry {
    /// Unchanged.
    #[default]
    Kept,
    /// Announced for this time, or not announced.
    Set(Option<Timestamp>),
}

/// Folds the facts.
pub(in crate::journal::postgres) fn fold(facts: &[Fact]) -> Folded<'_> {
    let mut folded = Folded::default();
    for fact in facts {
        folded.add(fact);
    }
    folded
}

impl<'a> Folded<'a> {
    fn add(&mut self, fact: &'a Fact) {
        match fact {
            Fact::Progress { lane, instance, through } => {
                let mark = self.progress.entry((*lane, instance)).or_insert(*through);
                *mark = (*mark).max(*through);
            }
            Fact::InStep { lane, instance } => {
                self.states.insert((*lane, instance), (LaneState::InStep, None));
            }
            Fact::Diverged { lane, instance, reason } => {
                self.states.insert((*lane, instance), (LaneState::Diverged, Some(reason)));
            }
            Fact::Quarantined { lane, instance, reason } => {
                self.states.insert((*lane, instance), (LaneState::Quarantined, Some(reason)));
            }
            Fact::Condemned { lane, instance, reason } => {
                self.states.insert((*lane, instance), (LaneState::Condemned, Some(reason)));
            }
            Fact::Contradicted { lane, instance, reason } => {
                self.states.insert((*lane, instance), (LaneState::Contradicted, Some(reason)));
            }
            Fact::Suspected { seq, on } => self.of(*seq).suspect_on = Some(on.as_ref()),
            Fact::Lifted { seq } => {
                let known = self.transactions.get(seq).and_then(|change| change.verdict.as_ref());
                self.lifted[usize::from(known.is_some())].insert(*seq);
            }
            Fact::Verdict { seq, verdict, by, answer } => {
                let settled = || Settled { verdict: *verdict, by: by.as_ref(), answer: answer.as_ref() };
                self.of(*seq).verdict.get_or_insert_with(settled);
            }
            Fact::Resolved { seq, body } => {
                self.resolved.entry(*seq).or_insert(body);
            }
            Fact::Catalog(change) => self.catalog.push(change),
            Fact::Status { seq, status, response_status, failure_reason, timing_gap, executed_on, at } => {
                let change = self.of(*seq);
                change.timing_gap |= *timing_gap == TimingGap::Yes;
                let report = &mut change.open;
                if Status::is_open_to_reports(report.status) {
                    report.status = Some(report.status.map_or(*status, |before| before.after(*status)));
                    report.response_status = response_status.or(report.response_status);
                    report.failure_reason = failure_reason.as_deref().or(report.failure_reason);
                    report.executed_on = report.executed_on.or(executed_on.as_ref());
                    report.completed_at = status.is_final().then_some(*at);
                    if status.is_final() {
                        report.next_retry = NextRetry::Set(None);
                    }
                }
            }
            Fact::Retried { seq, reason, next_retry_at } => {
                let change = self.of(*seq);
                change.retries += 1;
                change.timing_gap = true;
                // A retry reported after the end announces nothing.
                let ended = !Status::is_open_to_reports(change.open.status);
                change.open.next_retry = NextRetry::Set(next_retry_at.filter(|_| !ended));
                change.open.failure_reason = Some(reason);
                change.late_reason = Some(reason);
            }
            Fact::LateWriteHandled(id) => self.handled.push(*id),
            Fact::ApplicationBegan(draft) => self.begun.push(draft),
            Fact::ApplicationReported { seq, report, at } => self.reports.push((*seq, report, *at)),
            Fact::Marked { instance, generation } => {
                let last = self.marked.entry(instance).or_insert(*generation);
                *last = (*last).max(*generation);
            }
            Fact::Delivered(through) => self.delivered = self.delivered.max(Some(*through)),
        }
    }

    fn of(&mut self, seq: Seq) -> &mut Change<'a> {
        self.transactions.entry(seq).or_default()
    }
}
