//! The run as the checker takes it (`testkit/src/checker`), and what writes mean in this world.

use std::collections::{BTreeMap, BTreeSet};

use chroma_edge::ids::{CollectionId, InstanceId, LaneId};
use chroma_edge::order::{Kind, LaneState, Verdict};

use crate::account::token;
use crate::body::Body;
use crate::instance::{Record, Stored};
use crate::invariants::violated;
use crate::journal::Row;
use crate::world::World;
use testkit::checker::check;
use testkit::checker::history::{self, Entry, Lifetime, Run, Semantics, Status};

/// A journaled write, with the decisions about it.
#[derive(Clone, Debug)]
pub struct Journaled {
    kind: Kind,
    body: Body,
    resolved: Vec<u8>,
    created: Option<CollectionId>,
    closed: Vec<CollectionId>,
}

/// The simulation's own bodies, applied as in `crate::instance`.
pub struct Bodies;

impl Semantics for Bodies {
    type Write = Journaled;
    type State = Vec<Record>;

    fn apply(&self, state: &mut Vec<Record>, write: &Journaled) {
        match &write.body {
            Body::Write { docs, .. } => Stored::put(state, write.kind, docs),
            Body::DeleteIds(ids) => state.retain(|record| !ids.contains(&record.id)),
            Body::DeleteWhere(remainder) => state.retain(|record| record.value % 3 != *remainder),
            Body::DeleteLimited { .. } => state.retain(|record| !write.resolved.contains(&record.id)),
            Body::CreateDatabase(_)
            | Body::DeleteDatabase(_)
            | Body::CreateCollection { .. }
            | Body::UpdateCollection { .. }
            | Body::DeleteCollection { .. }
            | Body::Reset
            | Body::Adopt { .. } => {}
        }
    }

    fn lifetimes(&self, write: &Journaled) -> Vec<Lifetime> {
        let begins = write.created.map(|collection| Lifetime::Begins(name(collection)));
        let ends = write.closed.iter().map(|collection| Lifetime::Ends(name(*collection)));
        begins.into_iter().chain(ends).collect()
    }

    fn records(&self, state: &Vec<Record>) -> BTreeSet<String> {
        state.iter().map(|record| record.id.to_string()).collect()
    }
}

fn name(collection: CollectionId) -> String {
    LaneId::Records(collection).to_string()
}

impl World {
    /// Checks the run against the promises.
    pub fn judge_run(&mut self, astray: bool) {
        self.account.cut(self.now, "the run is over");
        if astray {
            // A diverged instance gave verdicts that no other could have given.
            self.counters.count("runs not judged by the checker");
            return;
        }
        let run = self.run();
        let findings = check(&Bodies, &run);
        self.counters.count("runs judged by the checker");
        self.counters.add_many("reads judged", findings.summary.reads as u64);
        self.counters.add_many("contents compared by the checker", findings.summary.compared as u64);
        if !findings.violations.is_empty() {
            violated("the checker", &findings.to_string());
        }
    }

    fn run(&mut self) -> Run<Journaled, Vec<Record>> {
        let mut run = Run { reads: std::mem::take(&mut self.account.reads), ..Run::default() };
        let mut left_out = BTreeSet::new();
        // Lanes with writes that were shown but have no lasting effect. They wait if no instance is in step.
        let mut waiting = BTreeSet::new();
        for row in self.journal.rows.values() {
            if row.verdict.is_none() && self.nobody_in_step(row.lane) {
                left_out.insert(token(row.number));
                waiting.insert(row.lane.to_string());
            } else {
                // Executed, answered with a failure, and rejected: it was shown, too.
                let failed = row.verdict == Some(Verdict::Rejected) && self.failures.agreed.contains(&row.seq)
                    || row.verdict == Some(Verdict::Quarantined);
                if (row.verdict == Some(Verdict::Void) || failed)
                    && self.journal.instances().any(|i| self.facts.executed(i, row.seq))
                {
                    // Executed before its collection was deleted, and answered "no such collection" afterwards: it was
                    // shown.
                    waiting.insert(row.lane.to_string());
                }
                run.journal.push(self.entry(row));
            }
        }
        waiting.extend(self.beforehand.adopted.iter().map(|collection| name(*collection)));
        run.reads.retain(|read| !waiting.contains(&read.lane));
        let writes = std::mem::take(&mut self.account.writes);
        run.writes = writes.into_iter().filter(|write| !left_out.contains(&write.token)).collect();
        for instance in self.journal.instances() {
            let held = self.held(instance, &mut run.diverged);
            run.instances.push((instance.0.to_string(), held));
        }
        run
    }

    fn entry(&self, row: &Row) -> Entry<Journaled> {
        // Acknowledged, but not durable when the edge died. Then its collection was deleted.
        let deleted_since = self.deleted(row.lane) && self.account.acknowledged(row.number);
        let verdict = match row.verdict {
            Some(Verdict::Void) if deleted_since => history::Verdict::Applied,
            Some(Verdict::Applied) => history::Verdict::Applied,
            Some(Verdict::Rejected) => history::Verdict::Rejected,
            Some(Verdict::Void | Verdict::Abandoned) => history::Verdict::Void,
            Some(Verdict::Quarantined) => history::Verdict::Quarantined,
            None => history::Verdict::Open,
        };
        let status = match row.verdict {
            None => Status::Pending,
            Some(Verdict::Abandoned) => Status::Abandoned,
            Some(_) => Status::Done,
        };
        Entry {
            seq: row.seq.get(),
            token: token(row.number),
            lane: row.lane.to_string(),
            verdict,
            status,
            write: Journaled {
                kind: row.profile.kind,
                body: row.body.clone(),
                resolved: row.resolved.clone().unwrap_or_default(),
                created: row.created,
                closed: self.journal.closed.get(&row.seq).cloned().unwrap_or_default(),
            },
        }
    }

    /// Returns what the instance holds of the existing collections, by lane. Adds those that it need not hold to
    /// `diverged`.
    fn held(&self, instance: InstanceId, diverged: &mut BTreeSet<(String, String)>) -> BTreeMap<String, Vec<Record>> {
        let mut held = BTreeMap::new();
        // `crate::ending` compares the catalog's content.
        held.insert(LaneId::Catalog.to_string(), Vec::new());
        for collection in self.board.catalog().collections() {
            let replica = (instance.0.to_string(), name(collection.id));
            let nothing_there = self.journal.step(LaneId::Catalog, instance) != LaneState::InStep;
            let diverges = nothing_there || self.board.state_of(collection.id, instance) != LaneState::InStep;
            // It began with content unknown to the checker. `crate::ending` compares it.
            let adopted = self.beforehand.adopted.contains(&collection.id);
            if diverges || adopted || self.divergences.of(collection.id, instance).is_some() {
                diverged.insert(replica.clone());
            }
            let mapped = collection.mappings[instance.0];
            if let Some(stored) = mapped.and_then(|id| self.instances[instance.0].collections.get(&id.uuid())) {
                held.insert(replica.1, stored.records.clone());
            }
        }
        held
    }
}
