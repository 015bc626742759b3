//! A copy that is known to be wrong, whatever it shows when it is compared (rule R17).
//!
//! It decides whether the copy may go; what shows that it is wrong is found by the shell, or said by an operator.

use super::{Board, DivergenceCause, Effect, Evidence, persist_divergence};
use crate::ids::{CollectionId, InstanceId, LaneId};
use crate::order::catalog_change::Origin;
use crate::order::lane::LaneState;

impl Board {
    /// The copy is neither sent to, nor served, nor compared from now on; it is made whole from another one (rule R14). The last
    /// copy that can be reached stays, whatever is wrong with it: nothing else could serve, or make it whole.
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
        // Nobody knows which copy is right: that its index fails does not say that it is this one.
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
