//! Copies that are known to be wrong, whatever a comparison shows (rule R17).
//!
//! Decides whether the copy may go. The shell or an operator supplies the evidence.

use super::{Board, DivergenceCause, Effect, Evidence, persist_divergence};
use crate::ids::{CollectionId, InstanceId, LaneId};
use crate::order::catalog_change::Origin;
use crate::order::lane::LaneState;

impl Board {
    /// Condemns the copy. From now on it is neither sent to, nor served, nor compared, and it is healed from another copy (rule
    /// R14). The last copy that can be reached stays, whatever is wrong with it: nothing else could serve, or heal it.
    pub(super) fn condemn(
        &mut self,
        collection: CollectionId,
        instance: InstanceId,
        evidence: Evidence,
        effects: &mut Vec<Effect>,
    ) {
        if self.catalog.mapping(collection, instance).is_none() || !self.another_holds(collection, instance) {
            return;
        }
        // It is not known which copy has the right content. A failing index does not show that this one has the wrong content.
        let adopted = self.catalog.get(collection).is_some_and(|known| known.origin == Origin::Adopted);
        let differs = self.state_of(collection, instance) == LaneState::Diverged;
        if evidence == Evidence::FailsQueries && adopted && differs {
            return;
        }
        let id = LaneId::Records(collection);
        let without = self.ensure_lane(id);
        persist_divergence(without, DivergenceCause::Unverified, effects);
        let cause = DivergenceCause::Condemned(evidence);
        let condemned = self.diverge_to(cause, vec![(id, instance)]);
        persist_divergence(condemned, cause, effects);
    }
}
