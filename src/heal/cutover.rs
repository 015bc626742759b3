//! The cutover: the lane is held, the last differences are repaired, and the names change. A copy that is repaired in
//! place keeps its name.
//!
//! Writers of the collection wait meanwhile, for at most `heal.hold`. A cutover that cannot be finished in that time is
//! given up, and the copy is compared once more while they go on.

use std::collections::HashMap;
use std::time::Duration;

use tracing::debug;

use super::align::{self, Fixed, Order, Sides, target};
use super::copy::{Copy, Renamed, Twin};
use super::error::HealError;
use super::records::{Record, repair};
use super::touched::{Touched, touched};
use super::way::HealWay;
use crate::clock;
use crate::coordinator::Core;
use crate::ids::Seq;
use crate::order::{CutoverOutcome, CutoverState, Input, LaneState, Rebuild};
use crate::proof::{self, CrashPoint, Rule};

/// The most touched records that are repaired while writers wait.
const MOST_TOUCHED: usize = 5_000;
/// The pause before the board is asked again to hold the lane, and how long it is asked.
const ASK_AGAIN: Duration = Duration::from_millis(50);
const LONGEST_ASKING: Duration = Duration::from_secs(30);
/// One in this many parts of the time that writers wait is kept for the exchange of the names.
const FOR_NAMES: u32 = 4;
/// How long to wait for the admission to become durable.
const DURABLE: Duration = Duration::from_secs(30);

/// One attempt: a comparison, and the cutover if that is worth it. Dropping it releases a held lane.
pub(super) struct Cutover<'a> {
    core: &'a Core,
    rebuild: Rebuild,
    way: HealWay,
    hold: Duration,
    outcome: CutoverOutcome,
}

/// The lane goes on however the attempt ends, even if the edge ends the task.
impl Drop for Cutover<'_> {
    fn drop(&mut self) {
        self.core.step(Input::CutoverEnded { rebuild: self.rebuild, outcome: self.outcome });
    }
}

impl<'a> Cutover<'a> {
    /// Begins the comparison. What enters the lane is noted from now on, until this is dropped.
    pub fn begin(core: &'a Core, (rebuild, way): (Rebuild, HealWay), hold: Duration) -> Self {
        core.step(Input::CopyBegun(rebuild));
        Cutover { core, rebuild, way, hold, outcome: CutoverOutcome::NotBegun }
    }

    /// Runs the cutover. Returns what the last repair did once the copy serves, or `None` if it does not serve this time.
    pub async fn run(mut self, copy: &Copy<'_>, twin: &Twin<'_>) -> Result<Option<Fixed>, HealError> {
        // Nobody waits for this: while the lane is held, only what was touched is left to compare, as a rule.
        let before = align::order_differs_by(&twin.sides(&copy.source)).await?;
        if !self.is_held().await {
            return Ok(None);
        }
        let begun = clock::runtime_now();
        let left = || self.hold.saturating_sub(begun.elapsed());
        let Ok(seqs) = tokio::time::timeout(left(), self.stands_still()).await else { return Ok(None) };
        let Some(seqs) = seqs else { return Ok(None) };
        let mut repairing = std::pin::pin!(repair_all(self.core, (copy, twin), &seqs, before));
        let fixed = match tokio::time::timeout(left(), &mut repairing).await {
            Ok(Ok(Some(fixed))) => fixed,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                // Writers no longer wait. The write to the copy is not cut off: it could be executed later.
                drop(self);
                repairing.await?;
                return Ok(None);
            }
        };
        match self.way {
            HealWay::Repair => {
                // After a crash here the copy is out of step, durably, and everything begins again.
                proof::pass(CrashPoint::CopyRepaired);
                self.outcome = CutoverOutcome::Repaired;
            }
            // What is left is too short for the names.
            HealWay::Anew if left() < self.hold / FOR_NAMES => return Ok(None),
            HealWay::Anew => self.take_the_name((copy, twin), left()).await?,
        }
        let (core, rebuild) = (self.core, self.rebuild);
        drop(self);
        debug!(collection = %rebuild.collection, held = ?begun.elapsed(), "the copy took its place");
        admitted(core, rebuild).await.map(|()| Some(fixed))
    }

    /// Exchanges the names. If the target does not answer in time, the lane is released with the names in doubt. The
    /// requests are not cut off: this waits for them, so that what follows knows the names.
    async fn take_the_name(&mut self, (copy, twin): (&Copy<'_>, &Twin<'_>), left: Duration) -> Result<(), HealError> {
        self.outcome = CutoverOutcome::InDoubt;
        let mut renaming = std::pin::pin!(copy.rename(twin));
        let Ok(renamed) = tokio::time::timeout(left, &mut renaming).await else {
            // Writers no longer wait. The copy is not admitted, whatever becomes of the names.
            self.core.step(Input::CutoverEnded { rebuild: self.rebuild, outcome: self.outcome });
            renaming.await;
            return Err(HealError::HeldTooLong);
        };
        match renamed {
            Renamed::InPlace => {
                // After a crash here the copy has its name and is not mapped: it is replaced.
                proof::pass(CrashPoint::NamesExchanged);
                self.outcome = CutoverOutcome::InPlace(twin.id);
                Ok(())
            }
            Renamed::NotBegun(error) => {
                self.outcome = CutoverOutcome::NotBegun;
                Err(error)
            }
            Renamed::InDoubt(error) => Err(error),
        }
    }

    /// Asks for the lane until the board holds it, which it does not while the target lacks many catalog entries.
    /// Nobody waits meanwhile. Returns whether the lane is held.
    async fn is_held(&self) -> bool {
        let asking = async {
            loop {
                self.core.step(Input::CutoverWanted(self.rebuild));
                if self.core.board().cutover_state(self.rebuild) != CutoverState::GivenUp {
                    return true;
                }
                if !self.core.board().can_rebuild(self.rebuild) {
                    return false;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        tokio::time::timeout(LONGEST_ASKING, asking).await.unwrap_or(false)
    }

    /// Waits until the lane stands still. Returns what has entered it since the last comparison, or `None` if the lane
    /// cannot be held or too much has entered.
    async fn stands_still(&self) -> Option<Vec<Seq>> {
        let mut changes = self.core.changes();
        loop {
            let state = self.core.board().cutover_state(self.rebuild);
            match state {
                CutoverState::Ready { touched } => return touched,
                CutoverState::GivenUp => return None,
                CutoverState::Draining => changes.changed().await.ok()?,
            }
        }
    }
}

/// Repairs the touched records, and compares the rest by the order of the ids: in full, or only behind what `before` has
/// found to be equal. Returns what was done, or `None` if too much was touched or the copy is not equal yet.
///
/// `before` was read while the source moved. A record that it missed there shows in the counts: whatever the copy held
/// was found in the source, in the same order.
async fn repair_all(
    core: &Core,
    (copy, twin): (&Copy<'_>, &Twin<'_>),
    seqs: &[Seq],
    before: Order,
) -> Result<Option<Fixed>, HealError> {
    let mut touched = touched(core, seqs).await?;
    if proof::broken(Rule::TailToo) {
        touched = Touched::default();
    }
    if touched.written.len() + touched.deleted.len() > MOST_TOUCHED {
        return Ok(None);
    }
    let (source, place) = (&copy.source, &twin.place);
    let sides = twin.sides(source);
    place.flush().await.map_err(target)?;
    if proof::broken(Rule::DeletedToo) {
        return keep_deleted(&sides, &touched).await;
    }
    let patched = repair_touched(&sides, &touched).await?;
    let ours = source.count().await.map_err(HealError::Source)?;
    let most = touched.written.len() + touched.deleted.len();
    // Each record is where it was, gone, or new at the end: no delete selected others, was rejected, or was undone.
    let deleted: Vec<String> = touched.deleted.iter().cloned().collect();
    let in_place = touched.unnamed == 0 && source.existing(&deleted).await.map_err(HealError::Source)?.is_empty();
    let fixed = if in_place && before.misplaced == 0 && before.missing <= most as u64 {
        // What nobody touched was found equal, in this order, and comes first.
        align::tail(&sides, ours.unwrap_or_default().saturating_sub(most as u64)).await?
    } else {
        align::order(&sides).await?
    };
    let theirs = place.count().await.map_err(HealError::Target)?;
    let equal = ours == theirs && ours == Some(fixed.total) && copy.same_definition(twin).await?;
    let fixed = Fixed { written: fixed.written + patched.written, removed: fixed.removed + patched.removed, ..fixed };
    Ok(equal.then_some(fixed))
}

/// Patches records that were written to in place. Removes those that were deleted, even if they were written again:
/// they come last then, as they do in the source.
async fn repair_touched(sides: &Sides<'_>, touched: &Touched) -> Result<Fixed, HealError> {
    let Sides { source, copy, embeddings, .. } = *sides;
    let deleted: Vec<String> = touched.deleted.iter().cloned().collect();
    if !deleted.is_empty() {
        copy.delete(&deleted).await.map_err(target)?;
    }
    let written: Vec<String> = touched.written.difference(&touched.deleted).cloned().collect();
    let ours = source.named(&written).await.map_err(HealError::Source)?;
    let theirs = copy.named(&written).await.map_err(HealError::Target)?;
    let ours: HashMap<&str, &Record> = ours.iter().map(|record| (record.id.as_str(), record)).collect();
    let mut patches = Vec::new();
    let mut removed = Vec::new();
    for old in &theirs {
        let Some(new) = ours.get(old.id.as_str()).copied() else {
            removed.push(old.id.clone());
            continue;
        };
        let mut found = repair(std::slice::from_ref(new), std::slice::from_ref(old), embeddings);
        match found.common {
            0 => removed.push(old.id.clone()),
            _ => patches.append(&mut found.patch),
        }
    }
    if !removed.is_empty() {
        copy.delete(&removed).await.map_err(target)?;
    }
    align::write(copy, &patches).await?;
    Ok(Fixed { written: patches.len(), removed: removed.len(), ..Fixed::default() })
}

/// Replaces the repair when a rule is broken on purpose: writes records, and removes none.
async fn keep_deleted(sides: &Sides<'_>, touched: &Touched) -> Result<Option<Fixed>, HealError> {
    let written: Vec<String> = touched.written.iter().cloned().collect();
    let ours = sides.source.named(&written).await.map_err(HealError::Source)?;
    align::write(sides.copy, &ours).await?;
    let total = sides.source.count().await.map_err(HealError::Source)?;
    Ok(total.map(|total| Fixed { total, ..Fixed::default() }))
}

/// Waits until the new copy is in step, durably.
async fn admitted(core: &Core, rebuild: Rebuild) -> Result<(), HealError> {
    let mut changes = core.changes();
    let serves = async {
        while core.board().state_of(rebuild.collection, rebuild.target) != LaneState::InStep {
            if changes.changed().await.is_err() || !core.board().admits(rebuild) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DURABLE, serves).await;
    match core.board().state_of(rebuild.collection, rebuild.target) {
        LaneState::InStep => Ok(()),
        LaneState::Diverged | LaneState::Quarantined | LaneState::Condemned | LaneState::Contradicted => {
            Err(HealError::Overtaken)
        }
    }
}
