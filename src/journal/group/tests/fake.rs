//! A store that does what a test tells it.

use super::*;
use crate::journal::ApplicationUse;

/// What the store does with the next commit.
pub(super) enum Plan {
    Refuse,
    Supersede,
    /// In doubt, and durable.
    DoubtKept,
    /// In doubt, and not durable.
    DoubtLost,
    /// Waits to be released, then commits.
    Hold(oneshot::Receiver<()>),
}

#[derive(Default)]
pub(super) struct Script {
    pub(super) plans: VecDeque<Plan>,
    pub(super) durable: Vec<Draft>,
    pub(super) facts: Vec<Fact>,
    pub(super) commits: usize,
    pub(super) probes: usize,
    pub(super) lookups_fail: bool,
}

#[derive(Default)]
pub(super) struct Fake {
    pub(super) script: Mutex<Script>,
    pub(super) entered: Notify,
    pub(super) looked_up: Notify,
}

impl Fake {
    pub(super) fn plan(&self, plan: Plan) {
        self.script.lock().unwrap().plans.push_back(plan);
    }

    /// Returns how many commits were requested.
    pub(super) fn commits(&self) -> usize {
        self.script.lock().unwrap().commits
    }

    /// Returns how many of these were probes.
    pub(super) fn probes(&self) -> usize {
        self.script.lock().unwrap().probes
    }

    pub(super) fn facts(&self) -> Vec<String> {
        self.script.lock().unwrap().facts.iter().map(|fact| format!("{fact:?}")).collect()
    }

    fn keep(&self, batch: Batch) -> Result<Vec<Seq>, CommitError> {
        let mut script = self.script.lock().unwrap();
        for draft in &batch.appends {
            let same = |held: &&Draft| draft.client_key.is_some() && held.client_key == draft.client_key;
            if let Some(holder) = script.durable.iter().find(same) {
                return Err(CommitError::Taken(holder.transaction_id));
            }
        }
        script.commits += 1;
        script.facts.extend(batch.facts);
        let first = script.durable.len() as u64 + 1;
        let seqs = (first..).take(batch.appends.len()).map(Seq::new).collect();
        script.durable.extend(batch.appends);
        Ok(seqs)
    }
}

#[async_trait]
impl Store for Fake {
    async fn commit(&self, batch: Batch) -> Result<Vec<Seq>, CommitError> {
        let plan = self.script.lock().unwrap().plans.pop_front();
        self.entered.notify_one();
        match plan {
            None => self.keep(batch),
            Some(Plan::Refuse) => Err(CommitError::Refused("the disk is full".to_owned())),
            Some(Plan::Supersede) => Err(CommitError::Superseded("edge-2 has it".to_owned())),
            Some(Plan::DoubtLost) => Err(CommitError::InDoubt("connection lost".to_owned())),
            Some(Plan::DoubtKept) => {
                self.keep(batch)?;
                Err(CommitError::InDoubt("connection lost".to_owned()))
            }
            Some(Plan::Hold(released)) => {
                released.await.unwrap();
                self.keep(batch)
            }
        }
    }

    async fn probe(&self) -> Result<(), CommitError> {
        self.script.lock().unwrap().probes += 1;
        self.commit(Batch::default()).await.map(drop)
    }

    async fn load(&self, _: &[InstanceName]) -> Result<Snapshot, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn begin(&self, _: &[InstanceName], _: Timestamp) -> Result<(), CommitError> {
        Ok(())
    }

    async fn requests(&self, _: &[Seq]) -> Result<Vec<Request>, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn history(&self, _: LaneId, _: Seq, _: u32) -> Result<History, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn transaction(&self, lookup: &Lookup) -> Result<Option<TransactionRow>, ReadError> {
        self.looked_up.notify_one();
        let script = self.script.lock().unwrap();
        if script.lookups_fail {
            return Err(ReadError::new("connection lost"));
        }
        let found = script.durable.iter().position(|draft| match (lookup, &draft.client_key) {
            (Lookup::Id(id), _) => draft.transaction_id == *id,
            (Lookup::ClientKey { tenant, key }, Some(held)) => held.tenant == *tenant && held.key == *key,
            (Lookup::Position(_) | Lookup::ClientKey { .. } | Lookup::Key { .. }, _) => false,
        });
        Ok(found.map(|place| row(&script.durable[place], Seq::new(place as u64 + 1))))
    }

    async fn details(&self, _: &Lookup) -> Result<Option<Details>, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn audit(&self, _: &AuditQuery) -> Result<AuditPage, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn collection_times(&self) -> Result<Vec<CollectionTimes>, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn journaled_at(&self, _: &[Seq]) -> Result<Vec<(Seq, Timestamp)>, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn summary(&self) -> Result<Vec<StatusSummary>, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn recent(&self, _: Timestamp, _: Timestamp) -> Result<Recent, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn events(&self, _: &EventScope, _: EventId, _: u32) -> Result<EventPage, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn quarantines(&self) -> Result<Vec<QuarantineRow>, ReadError> {
        Ok(Vec::new())
    }

    async fn totals(&self) -> Result<Totals, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn application_use(&self) -> Result<ApplicationUse, ReadError> {
        unreachable!("retention does not run")
    }

    async fn application_bytes_of(&self, _: &str) -> Result<u64, ReadError> {
        unreachable!("no operation begins")
    }

    async fn used_bytes(&self, _: u64) -> Result<u64, ReadError> {
        unreachable!("the group commit does not ask")
    }

    async fn note_fault(&self, _: LaneId, _: &str, _: Timestamp) -> Result<(), ReadError> {
        unreachable!("the group commit has no board")
    }

    async fn faults(&self) -> Result<Vec<Fault>, ReadError> {
        unreachable!("the group commit has no board")
    }

    async fn forget_faults(&self, _: LaneId) -> Result<(), ReadError> {
        unreachable!("the group commit has no board")
    }

    async fn held(&self, _: &[InstanceName]) -> Result<Vec<HeldLane>, ReadError> {
        unreachable!("the group commit does not ask")
    }

    async fn trim(&self, _: Timestamp, _: &[InstanceName], _: Trimming, _: u32) -> Result<Trimmed, CommitError> {
        Err(CommitError::Refused("not asked here".to_owned()))
    }
}

fn row(draft: &Draft, seq: Seq) -> TransactionRow {
    TransactionRow {
        seq,
        transaction_id: draft.transaction_id,
        client_key: draft.client_key.clone(),
        operation: OperationType::Write(draft.profile.kind),
        lane: Some(draft.lane),
        method: draft.method.clone(),
        path: draft.path.clone(),
        status: Status::Attempting,
        verdict: None,
        answer: None,
        response_status: None,
        failure_reason: None,
        timing_gap: TimingGap::No,
        executed_on: None,
        retry_count: 0,
        next_retry_at: None,
        created_at: MADE,
        completed_at: None,
        client_session: None,
        client_ip: None,
        client: None,
        user_identifier: None,
    }
}
