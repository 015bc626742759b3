//! Decides when servers are marked again (rule R16). What a marker claims, and how it is written, is in
//! [`super::marker`].

use std::collections::HashMap;

use super::marker::{Claim, LastMark, Marked};
use super::{Rejoin, SOON};
use crate::clock;
use crate::ids::InstanceId;

impl Rejoin {
    /// Marks each server again that has received something since it was last marked, and each that does not carry its
    /// marker.
    pub(super) async fn keep_marked(&self) {
        let registry = self.core.registry();
        let mut marks: HashMap<InstanceId, LastMark> = HashMap::new();
        loop {
            tokio::time::sleep(SOON).await;
            for instance in registry.ids().filter(|id| self.core.is_in_use(*id)) {
                let (now, interval) = (clock::now(), self.options.get().marker_interval);
                let lacks = self.core.discovery().markers().lacks_its_own(instance);
                let last = marks.get(&instance).copied().unwrap_or_default();
                // Read before the server is asked what it carries, so that everything claimed was there by then.
                let claim = {
                    let board = self.core.board();
                    let end = board.last();
                    if !lacks && !last.may_be_due(end, now, interval) {
                        continue;
                    }
                    Claim { through: board.settled_through(instance), end }
                };
                if !lacks && !last.is_due(claim, now, interval) {
                    continue;
                }
                match self.inspector.mark(instance, claim.through).await {
                    Marked::Done => drop(marks.insert(instance, LastMark::at(claim, clock::now()))),
                    Marked::Unexpected => self.is_replaced(instance),
                    Marked::NotNow => {}
                }
            }
        }
    }
}
