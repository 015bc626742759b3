//! What audits have found, for the pages, and which audits were requested.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::clock::{self, Timestamp};
use crate::ids::{CollectionId, InstanceId};

/// The most requested audits that may wait at once.
const WAITING: usize = 64;

/// Whether a copy that is shown to be wrong is condemned at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    Yes,
    No,
}

/// A requested audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRequest {
    pub number: u64,
    /// `None`: every collection.
    pub collection: Option<CollectionId>,
    pub repair: Repair,
}

/// What the last audit of a collection found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Equal,
    /// Records differ, and the journal shows which copy is wrong. It is condemned if `repair` says so.
    Wrong {
        instance: InstanceId,
        repair: Repair,
        differing: Differing,
    },
    /// Records differ, and nothing shows which copy is wrong: an operator decides.
    Undecided {
        differing: Differing,
    },
    /// Fewer than two copies are in step and reachable.
    NothingToCompare,
    Unclear {
        why: String,
    },
}

/// The records that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// Zero: the same records come in another order, or there are too many to count.
    pub records: usize,
    /// The ids of the first of them.
    pub first: Vec<String>,
    pub instances: Vec<InstanceId>,
    pub more: More,
}

/// Whether more records differ than were examined one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum More {
    Yes,
    #[default]
    No,
}

/// The last audit of one collection.
#[derive(Clone, Debug)]
pub struct CollectionAudit {
    pub finding: Finding,
    pub at: Timestamp,
    pub records: u64,
    /// The instances whose copy was not compared, because it is not in step or they cannot be reached.
    pub left_out: Vec<InstanceId>,
    /// When its copies were last found equal since the edge started.
    pub equal_as_of: Option<Timestamp>,
}

/// The audit in progress.
#[derive(Clone, Debug)]
pub struct RunningAudit {
    pub collection: CollectionId,
    pub records: u64,
    pub records_per_second: f64,
}

#[derive(Default)]
struct Inner {
    running: Option<(CollectionId, Instant, u64)>,
    results: BTreeMap<CollectionId, (CollectionAudit, Instant)>,
    asked: VecDeque<AuditRequest>,
    /// The numbers of the last requested audit and of the last one that has ended.
    requested: u64,
    ended: u64,
    records: u64,
    condemned: u64,
}

/// Shared by the auditor and the pages.
#[derive(Default)]
pub struct AuditReport {
    inner: Mutex<Inner>,
    demand: Notify,
}

impl AuditReport {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests an audit, which comes before those that are merely due. Returns its number, or `None` if too many wait
    /// already.
    pub fn ask(&self, collection: Option<CollectionId>, repair: Repair) -> Option<u64> {
        let mut inner = self.inner();
        if inner.asked.len() >= WAITING {
            return None;
        }
        inner.requested += 1;
        let number = inner.requested;
        inner.asked.push_back(AuditRequest { number, collection, repair });
        drop(inner);
        self.demand.notify_one();
        Some(number)
    }

    /// Waits for the next requested audit.
    pub(super) async fn asked(&self) -> AuditRequest {
        loop {
            let demand = self.demand.notified();
            if let Some(request) = self.inner().asked.pop_front() {
                return request;
            }
            demand.await;
        }
    }

    pub(super) fn ended(&self, number: u64) {
        self.inner().ended = number;
    }

    /// Returns the number of the last requested audit.
    pub fn last_asked(&self) -> u64 {
        self.inner().requested
    }

    /// Returns the number of the last requested audit that has ended.
    pub fn last_ended(&self) -> u64 {
        self.inner().ended
    }

    pub(super) fn compared(&self, collection: CollectionId, records: u64) {
        let mut inner = self.inner();
        match &mut inner.running {
            Some((of, _, so_far)) if *of == collection => *so_far = records,
            running => *running = Some((collection, clock::now(), records)),
        }
    }

    pub(super) fn found(&self, collection: CollectionId, finding: Finding, records: u64, left_out: Vec<InstanceId>) {
        let mut inner = self.inner();
        let (now, at) = (clock::now(), Timestamp::now());
        let before = inner.results.get(&collection).and_then(|(before, _)| before.equal_as_of);
        let equal_as_of = if finding == Finding::Equal { Some(at) } else { before };
        inner.running = None;
        inner.records += records;
        inner.condemned += u64::from(matches!(finding, Finding::Wrong { repair: Repair::Yes, .. }));
        inner.results.insert(collection, (CollectionAudit { finding, at, records, left_out, equal_as_of }, now));
    }

    /// Returns when the collection was last audited.
    pub(super) fn last(&self, collection: CollectionId) -> Option<Instant> {
        self.inner().results.get(&collection).map(|(_, at)| *at)
    }

    /// Forgets collections that no longer exist.
    pub(super) fn keep(&self, is_there: impl Fn(CollectionId) -> bool) {
        let mut inner = self.inner();
        inner.running = None;
        inner.results.retain(|collection, _| is_there(*collection));
    }

    /// The last audit of a collection.
    pub fn of(&self, collection: CollectionId) -> Option<CollectionAudit> {
        self.inner().results.get(&collection).map(|(audit, _)| audit.clone())
    }

    /// The last audit of each collection.
    pub fn all(&self) -> Vec<(CollectionId, CollectionAudit)> {
        self.inner().results.iter().map(|(collection, (audit, _))| (*collection, audit.clone())).collect()
    }

    /// Returns the audit in progress.
    pub fn running(&self) -> Option<RunningAudit> {
        let (collection, begun, records) = self.inner().running?;
        let records_per_second = records as f64 / begun.elapsed().as_secs_f64().max(0.001);
        Some(RunningAudit { collection, records, records_per_second })
    }

    /// Returns the number of records compared and of copies condemned since the start, and of collections whose copies
    /// differ now.
    pub fn totals(&self) -> [u64; 3] {
        let inner = self.inner();
        let differs =
            |audit: &CollectionAudit| matches!(audit.finding, Finding::Wrong { .. } | Finding::Undecided { .. });
        let differing = inner.results.values().filter(|(audit, _)| differs(audit)).count();
        [inner.records, inner.condemned, differing as u64]
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn requests_wait_in_their_order_and_not_without_end() {
        let report = AuditReport::default();
        let collection = CollectionId::new(Uuid::from_u128(1));
        assert_eq!(report.ask(Some(collection), Repair::No), Some(1));
        assert_eq!(report.ask(None, Repair::Yes), Some(2));
        let first = AuditRequest { number: 1, collection: Some(collection), repair: Repair::No };
        assert_eq!(report.asked().await, first, "no request becomes another one");
        report.ended(1);
        assert_eq!((report.last_asked(), report.last_ended()), (2, 1));
        let taken = (0..100).filter(|_| report.ask(None, Repair::No).is_some()).count();
        assert_eq!(taken, WAITING - 1);
    }

    #[test]
    fn when_copies_were_equal_is_remembered_although_they_could_not_be_compared_since() {
        let report = AuditReport::default();
        let collection = CollectionId::new(Uuid::from_u128(1));
        report.found(collection, Finding::Equal, 7, Vec::new());
        report.found(collection, Finding::Unclear { why: "away".to_owned() }, 0, Vec::new());
        let audit = report.of(collection).unwrap();
        assert!(audit.equal_as_of.is_some() && audit.finding != Finding::Equal);
        assert_eq!(report.totals(), [7, 0, 0]);
    }
}
