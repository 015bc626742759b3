//! Executes an adoption. The executor sends nothing: the entry's own body says what changes in the catalog.

use super::entry::Entry;
use crate::chroma::EdgeAnswer;
use crate::coordinator::adoption::{Adoption, fold, pass_on};
use crate::executor::attempt::{Attempt, Attempted};
use crate::ids::InstanceId;
use crate::order::Outcome;

/// Executes the entry without sending anything.
pub(super) fn attempt(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Attempted {
    let nothing = || EdgeAnswer::json(200, "{}");
    let Ok(adoption) = serde_json::from_slice::<Adoption>(&entry.request.body) else {
        return Attempted::by_the_edge(Outcome::Rejected { about: None }, nothing());
    };
    if entry.has_verdict() {
        let consequences = pass_on(attempt.core.board().catalog(), &adoption, attempt.instance);
        return Attempted::by_the_edge(Outcome::Applied(consequences), nothing());
    }
    let registry = &attempt.core.registry;
    let Some(home) = registry.id_of(&adoption.instance) else {
        // The instance has since been removed from the configuration.
        return Attempted::by_the_edge(Outcome::Rejected { about: None }, nothing());
    };
    let others: Vec<InstanceId> = registry.ids().filter(|id| *id != home).collect();
    let consequences = fold(attempt.core.board().catalog(), &adoption, home, &others, entry.request.seq);
    Attempted::by_the_edge(Outcome::Applied(consequences), nothing())
}
