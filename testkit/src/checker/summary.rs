//! The counts that a report prints. Judges nothing.

use std::fmt;

use super::history::{Outcome, Semantics, Shown, Status, Tick, Verdict};
use super::index::Index;

/// What the checker looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub writes: usize,
    pub acknowledged: usize,
    pub found: usize,
    pub refused: usize,
    pub unknown: usize,
    /// The unknown ones that took effect.
    pub unknown_applied: usize,
    /// The longest time that a client waited for a write to end, in the run's own ticks.
    pub longest_wait: Tick,
    /// The longest time that a client waited for a read, in the run's own ticks.
    pub longest_read: Tick,
    pub reads: usize,
    /// Reads that were answered with "no such collection".
    pub reads_of_nothing: usize,
    pub entries: usize,
    pub applied: usize,
    pub rejected: usize,
    pub void: usize,
    pub quarantined: usize,
    pub open: usize,
    pub abandoned: usize,
    /// Lanes that began or ended, or in which something was applied.
    pub lanes: usize,
    /// The lane contents, per instance, that were compared with the fold, and their records.
    pub compared: usize,
    pub records_compared: usize,
    /// Deaths that were checked.
    pub deaths: usize,
    /// Replicas that were not compared because the edge reports them as diverged.
    pub diverged: usize,
}

impl Summary {
    pub(super) fn of<M: Semantics>(index: &Index<'_, M>) -> Summary {
        let run = index.run;
        let writes = |test: fn(&Outcome) -> bool| run.writes.iter().filter(|write| test(&write.outcome)).count();
        let verdicts = |verdict| run.journal.iter().filter(|entry| entry.verdict == verdict).count();
        let took_effect = |token: &str| {
            let entries = index.entries.get(token);
            entries.is_some_and(|entries| entries.iter().any(|entry| entry.verdict == Verdict::Applied))
        };
        let unknown = run.writes.iter().filter(|write| matches!(write.outcome, Outcome::Unknown(_)));
        let compared = run.instances.iter().flat_map(|(instance, held)| held.iter().map(move |one| (instance, one)));
        let compared: Vec<_> = compared
            .filter(|(instance, (lane, _))| !run.diverged.contains(&((*instance).clone(), (*lane).clone())))
            .collect();
        Summary {
            writes: run.writes.len(),
            acknowledged: writes(|outcome| *outcome == Outcome::Acknowledged),
            found: writes(|outcome| *outcome == Outcome::Found),
            refused: writes(|outcome| matches!(outcome, Outcome::Refused(_))),
            unknown: writes(|outcome| matches!(outcome, Outcome::Unknown(_))),
            unknown_applied: unknown.filter(|write| took_effect(&write.token)).count(),
            longest_wait: run.writes.iter().map(|write| write.ended.saturating_sub(write.invoked)).max().unwrap_or(0),
            longest_read: run.reads.iter().map(|read| read.ended.saturating_sub(read.invoked)).max().unwrap_or(0),
            reads: run.reads.len(),
            reads_of_nothing: run.reads.iter().filter(|read| matches!(read.shown, Shown::Nothing)).count(),
            entries: run.journal.len(),
            applied: verdicts(Verdict::Applied),
            rejected: verdicts(Verdict::Rejected),
            void: verdicts(Verdict::Void),
            quarantined: verdicts(Verdict::Quarantined),
            open: verdicts(Verdict::Open),
            abandoned: run.journal.iter().filter(|entry| entry.status == Status::Abandoned).count(),
            lanes: index.timelines.len(),
            compared: compared.len(),
            records_compared: compared.iter().map(|(_, (_, state))| index.model.records(state).len()).sum(),
            deaths: run.deaths.len(),
            diverged: run.diverged.len(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "writes: {} ({} acknowledged, {} found, {} refused, {} unknown, {} of these applied), longest wait {}",
            self.writes,
            self.acknowledged,
            self.found,
            self.refused,
            self.unknown,
            self.unknown_applied,
            self.longest_wait
        )?;
        writeln!(
            f,
            "reads: {} ({} of no such collection), longest {}",
            self.reads, self.reads_of_nothing, self.longest_read
        )?;
        writeln!(
            f,
            "entries: {} in {} lanes ({} applied, {} rejected, {} void, {} quarantined, {} open; {} ABANDONED)",
            self.entries,
            self.lanes,
            self.applied,
            self.rejected,
            self.void,
            self.quarantined,
            self.open,
            self.abandoned
        )?;
        write!(
            f,
            "instances: {} contents with {} records compared, {} diverged; {} deaths",
            self.compared, self.records_compared, self.diverged, self.deaths
        )
    }
}
