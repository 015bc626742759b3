//! Repairs a copy in place (rule R14): the differences from the source are written to the very collection that clients'
//! writes went to before.
//!
//! It decides when that is worth it, and ensures that the board knows of the repair for as long as anything may be
//! written. Comparing, writing and admitting work as for a new copy. A crash anywhere leaves the copy out of step,
//! durably, with what was repaired so far. The next edge waits for a settle time, compares, and goes on from there.

use tracing::info;

use super::align::{Order, Worth, order_differs_by};
use super::copy::{Copy, Twin};
use super::error::HealError;
use super::way::HealWay;
use super::{Attempt, Healer, NEARLY_EQUAL};
use crate::clock;
use crate::coordinator::Core;
use crate::ids::shown;
use crate::order::{Input, Rebuild, RepairWrites};
use crate::proof::{self, CrashPoint};

/// A repair may write one in this many of the records. Writing a record costs Chroma about ten times what reading and
/// comparing it costs, so a repair is faster than a new copy unless nearly all of them differ. But if the source goes
/// away meanwhile, the old records are lost, and updates wear out an index that a new copy builds afresh. Beyond one
/// half, the saving is not worth that.
const MOST_WRITTEN: u64 = 2;

/// Returns whether a repair may write this many records.
fn is_worth_it(order: Order) -> bool {
    order.differing() * MOST_WRITTEN <= order.total
}

/// Returns how many records one comparison may write or remove. A few are always allowed: they cost less than beginning
/// again.
fn worth(total: u64) -> Worth {
    Worth::AtMost((total / MOST_WRITTEN).max(NEARLY_EQUAL as u64))
}

/// A repair that the board knows of. However it ends, even if the edge ends the task, the board is notified whether a
/// write may still be executed.
struct Repairing<'a> {
    core: &'a Core,
    rebuild: Rebuild,
    writes: RepairWrites,
}

impl Drop for Repairing<'_> {
    fn drop(&mut self) {
        self.core.step(Input::RepairEnded { rebuild: self.rebuild, writes: self.writes });
    }
}

impl<'a> Repairing<'a> {
    /// Begins the repair. From here on a write may be in flight.
    fn begin(core: &'a Core, rebuild: Rebuild) -> Result<Self, HealError> {
        core.step(Input::RepairBegun(rebuild));
        // From here on the board is notified of the end, even of one before the first write.
        let mut repairing = Repairing { core, rebuild, writes: RepairWrites::Answered };
        if !core.board().repairs(rebuild) {
            return Err(HealError::Overtaken);
        }
        // Before the first write, so that a read that began while the copy was in step is repeated elsewhere.
        core.discovery().repairs().begins(rebuild.collection, rebuild.target);
        repairing.writes = RepairWrites::InDoubt;
        Ok(repairing)
    }

    /// Notes that each write was answered, unless the result shows otherwise.
    fn ended<T>(mut self, result: &Result<T, HealError>) {
        if !matches!(result, Err(HealError::Unanswered(_))) {
            self.writes = RepairWrites::Answered;
        }
    }
}

impl Healer {
    /// Repairs the copy in place. Returns `None` if it cannot be repaired, or that is not worth it. Nothing was written
    /// then.
    pub(super) async fn try_to_repair(&self, rebuild: Rebuild, copy: &Copy<'_>) -> Option<Attempt> {
        if !self.core.board().can_repair(rebuild) {
            return None;
        }
        let repaired = match self.repairable(copy).await {
            Ok(Some((twin, order))) => self.repair(rebuild, copy, twin, order).await,
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        Some(match repaired {
            Ok(()) => Attempt::Made,
            Err(error @ HealError::TooDifferent { .. }) => Attempt::NotWorthIt(error),
            Err(error) => Attempt::Failed(HealWay::Repair, error),
        })
    }

    /// Returns the existing copy, if little must be written to give it the source's order.
    async fn repairable<'a>(&'a self, copy: &Copy<'a>) -> Result<Option<(Twin<'a>, Order)>, HealError> {
        let Some(mut twin) = copy.standing(&self.late_writes).await? else { return Ok(None) };
        if twin.place.count().await.map_err(HealError::Target)?.unwrap_or_default() == 0 {
            return Ok(None);
        }
        let order = order_differs_by(&twin.sides(&copy.source)).await?;
        twin.worth = worth(order.total);
        Ok(is_worth_it(order).then_some((twin, order)))
    }

    async fn repair(&self, rebuild: Rebuild, copy: &Copy<'_>, twin: Twin<'_>, order: Order) -> Result<(), HealError> {
        let (collection, begun) = (rebuild.collection, clock::now());
        let [from, to] = [rebuild.source, rebuild.target].map(|at| self.core.registry().name(at));
        // Its index may be damaged as well: then it is condemned, and made anew.
        self.core.discovery().doubts().ask((collection, rebuild.target));
        self.sweep(rebuild, copy).await?;
        let repairing = Repairing::begin(&self.core, rebuild)?;
        let Order { total, misplaced, missing } = order;
        info!(%collection, name = %shown(&copy.name), source = %from, target = %to, records = total, misplaced, missing, "a copy is being repaired where it is");
        self.progress.begin((rebuild, HealWay::Repair), total);
        proof::pass(CrashPoint::BeforeRepair);
        let repaired = self.bring_over((rebuild, HealWay::Repair), copy, &twin).await;
        repairing.ended(&repaired);
        let records = repaired?;
        let seconds = begun.elapsed().as_secs_f64();
        let written = self.progress.repaired(rebuild, records);
        info!(%collection, target = %to, records, written, seconds, "the copy is repaired and serves");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_a_half_is_repaired_and_a_few_records_always() {
        let of = |misplaced, missing| is_worth_it(Order { misplaced, missing, total: 100 });
        assert_eq!([of(0, 0), of(50, 0), of(51, 0), of(0, 50), of(0, 51)], [true, true, false, true, false]);
        assert_eq!([of(50, 50), of(50, 51)], [true, false], "a record that is moved counts once");
        assert!(!is_worth_it(Order { misplaced: 1, missing: 0, total: 0 }), "the source is empty");
        assert_eq!([worth(10), worth(20_000)], [Worth::AtMost(500), Worth::AtMost(10_000)]);
    }
}
