//! R14: which copies are replaced by new ones, when a lane is held for one, and when the new copy is admitted.

use super::*;
use crate::order::vouching::{Company, Vouching};

impl Rig {
    /// A's copy is out of step, A is reachable, and nothing can still be executed there.
    pub fn diverged() -> Rig {
        let mut rig = Rig::new(2);
        rig.step(Input::Missing { instance: A, collections: vec![collection()] });
        rig
    }

    fn rebuild(&self) -> Rebuild {
        self.board.rebuilds().pop().expect("a copy to be made")
    }

    /// Holds the lane until it stands still.
    pub fn held(&mut self) -> Rebuild {
        let rebuild = self.rebuild();
        self.step(Input::CopyBegun(rebuild));
        self.step(Input::CutoverWanted(rebuild));
        rebuild
    }

    pub fn in_place(&mut self, rebuild: Rebuild) -> Vec<Effect> {
        let id = InstanceCollectionId::new(Uuid::from_u128(300));
        self.step(Input::CutoverEnded { rebuild, outcome: CutoverOutcome::InPlace(id) })
    }
}

fn ready(touched: &[u64]) -> CutoverState {
    CutoverState::Ready { touched: Some(touched.iter().map(|seq| Seq::new(*seq)).collect()) }
}

#[test]
fn r14_a_copy_that_is_in_its_place_serves_when_that_is_durable() {
    let mut rig = Rig::diverged();
    let effects = rig.write(Kind::Upsert);
    assert_eq!(sends(&effects), [(B, vec![2])]);
    let rebuild = rig.rebuild();
    assert_eq!((rebuild.source, rebuild.target), (B, A));
    rig.step(Input::CopyBegun(rebuild));
    rig.step(Input::CutoverWanted(rebuild));
    assert_eq!(rig.board.cutover_state(rebuild), CutoverState::Draining, "the source is still executing");
    rig.applied(B);
    rig.recorded(lane(), B);
    assert_eq!(rig.board.cutover_state(rebuild), ready(&[2]));
    rig.in_place(rebuild);
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::Diverged, vec![B]), "not durable yet");
    rig.recorded(lane(), A);
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::InStep, vec![A, B]));
}

#[test]
fn r14_while_the_lane_is_held_nothing_new_is_sent_and_then_it_goes_to_both() {
    let mut rig = Rig::diverged();
    let rebuild = rig.held();
    assert_eq!(sends(&rig.write(Kind::Upsert)), []);
    rig.in_place(rebuild);
    let effects = rig.recorded(lane(), A);
    assert_eq!(sends(&effects), [(A, vec![2])]);
    assert_eq!(sends(&rig.applied(A)), [(B, vec![2])]);
}

#[test]
fn r14_what_cannot_be_any_more_holds_nobody() {
    let mut rig = Rig::diverged();
    let rebuild = rig.rebuild();
    rig.write(Kind::Upsert);
    rig.step(Input::CopyBegun(rebuild));
    rig.step(Input::CutoverWanted(rebuild));
    rig.write(Kind::Upsert);
    rig.reach(A, Reach::Away);
    assert_eq!(rig.board.cutover_state(rebuild), CutoverState::GivenUp);
    rig.applied(B);
    assert_eq!(sends(&rig.recorded(lane(), B)), [(B, vec![3])]);
}

#[test]
fn r14_a_copy_whose_names_are_in_doubt_rests_before_the_next_attempt() {
    let mut rig = Rig::diverged();
    let rebuild = rig.held();
    rig.step(Input::CutoverEnded { rebuild, outcome: CutoverOutcome::InDoubt });
    assert_eq!(rig.board.rebuilds(), []);
    rig.quiesced(lane(), A);
    assert_ne!(rig.rebuild(), rebuild, "what was wanted before the wait is late");
}

/// Giving up late ends neither an admission that is becoming durable nor the hold of its lane.
#[test]
fn r14_an_admission_that_becomes_durable_is_not_given_up() {
    let mut rig = Rig::diverged();
    let rebuild = rig.held();
    rig.in_place(rebuild);
    rig.write(Kind::Upsert);
    let effects = rig.step(Input::CutoverEnded { rebuild, outcome: CutoverOutcome::NotBegun });
    assert_eq!((sends(&effects), rig.board.admits(rebuild)), (vec![], true));
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![2])]);
    assert_eq!(rig.state_of(A), LaneState::InStep);
}

#[test]
fn r14_a_quarantined_copy_is_made_anew() {
    let mut rig = Rig::new(2);
    let unvouched = Profile { vouching: Vouching::Unvouched, ..profile(Kind::Delete) };
    rig.submit(lane(), unvouched, Intent::Plain, AckPolicy::Durable);
    rig.outcome(lane(), A, Outcome::Died { company: Company::Alone, about: None });
    rig.reach(A, Reach::Away);
    rig.recorded(lane(), A);
    rig.recorded(lane(), B);
    assert_eq!((rig.state_of(A), rig.board.rebuilds()), (LaneState::Quarantined, vec![]), "it is away");
    rig.reach(A, Reach::Here);
    rig.quiesced(lane(), A);
    assert!(rig.board.comparisons().is_empty(), "its old copy is not read");
    let rebuild = rig.held();
    assert_eq!(rig.board.cutover_state(rebuild), ready(&[]));
    rig.in_place(rebuild);
    rig.recorded(lane(), A);
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::InStep, vec![A, B]));
}

impl Rig {
    fn rename(&mut self) -> Vec<Effect> {
        let renames = Intent::Renames(Some(collection()), Some("other".to_owned()));
        self.submit(LaneId::Catalog, profile(Kind::UpdateCollection), renames, AckPolicy::Durable)
    }

    fn create(&mut self) -> Vec<Effect> {
        let brings = Intent::Brings(vec![(scope(), "new".to_owned())]);
        self.submit(LaneId::Catalog, profile(Kind::CreateCollection), brings, AckPolicy::Durable)
    }
}

#[test]
fn r14_a_busy_catalog_neither_hides_what_is_to_be_made_nor_ends_it() {
    let mut rig = Rig::diverged();
    rig.step(Input::Prefer { instance: A });
    assert_eq!(sends(&rig.create()), [(A, vec![2])]);
    let rebuild = rig.rebuild();
    assert!(rig.board.can_rebuild(rebuild) && rig.board.can_repair(rebuild));
    rig.step(Input::CopyBegun(rebuild));
    rig.step(Input::CutoverWanted(rebuild));
    assert_eq!(rig.board.cutover_state(rebuild), CutoverState::Draining, "a catalog entry is in flight on the target");
    assert_eq!(sends(&rig.create()), []);
    rig.outcome(LaneId::Catalog, A, Outcome::Rejected { about: None });
    assert_eq!(sends(&rig.recorded(LaneId::Catalog, A)), [], "the names stand still");
    rig.recorded(LaneId::Catalog, B);
    assert_eq!(rig.board.cutover_state(rebuild), ready(&[]));
    let id = InstanceCollectionId::new(Uuid::from_u128(300));
    let effects = rig.step(Input::CutoverEnded { rebuild, outcome: CutoverOutcome::InPlace(id) });
    assert!(rig.board.admits(rebuild), "{effects:?}");
}

/// Left unadmitted, the copy would keep the old name after the rename, as a collection that no client has.
#[test]
fn r14_a_copy_in_its_place_is_admitted_although_clients_rename_the_collection_meanwhile() {
    let mut rig = Rig::diverged();
    let rebuild = rig.held();
    assert_eq!(sends(&rig.rename()), [], "not while the names change");
    rig.in_place(rebuild);
    assert!(rig.board.admits(rebuild));
    rig.recorded(lane(), A);
    assert_eq!(rig.state_of(A), LaneState::InStep);
    assert_eq!(rig.board.catalog().mapping(collection(), A), Some(InstanceCollectionId::new(Uuid::from_u128(300))));
}

#[test]
fn r14_a_copy_begins_once_the_target_has_the_collections_new_name() {
    let mut rig = Rig::diverged();
    rig.step(Input::Prefer { instance: B });
    let rebuild = rig.rebuild();
    rig.rename();
    let changes = vec![CatalogChange::CollectionRenamed { collection: collection(), name: "other".to_owned() }];
    rig.outcome(LaneId::Catalog, B, Outcome::Applied(Consequences { changes, diverged: Vec::new() }));
    rig.recorded(LaneId::Catalog, B);
    assert_eq!(rig.board.rebuilds(), [], "its copy could not be told by its name");
    assert!(rig.board.can_rebuild(rebuild), "what has begun goes on");
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences::default()));
    rig.recorded(LaneId::Catalog, A);
    assert_eq!(rig.rebuild(), rebuild);
}

#[test]
fn r14_a_copy_of_the_edges_own_is_known_as_one_after_its_collection_is_deleted() {
    let mut rig = Rig::diverged();
    let (rebuild, id) = (rig.rebuild(), InstanceCollectionId::new(Uuid::from_u128(300)));
    rig.step(Input::CopyNoted(rebuild, id));
    assert_eq!(rig.board.catalog().by_id(id.uuid()).map(|known| known.id), Some(collection()));
    rig.board.catalog.fold(Seq::new(9), &CatalogChange::CollectionDeleted { collection: collection() });
    assert!(rig.board.catalog().by_id(id.uuid()).is_none() && rig.board.catalog().is_copy(id.uuid()));
}

/// Held back, it would stay in doubt, and the lane would be held for nothing.
#[test]
fn r14_what_is_in_doubt_in_the_catalog_is_sent_again_while_the_lane_drains() {
    let mut rig = Rig::diverged();
    rig.step(Input::Prefer { instance: B });
    rig.create();
    rig.outcome(LaneId::Catalog, B, Outcome::Applied(Consequences::default()));
    assert_eq!(sends(&rig.recorded(LaneId::Catalog, B)), [(A, vec![2])]);
    rig.outcome(LaneId::Catalog, A, Outcome::InDoubt { instance_was: Health::Healthy });
    let rebuild = rig.held();
    assert_eq!(rig.board.cutover_state(rebuild), CutoverState::Draining);
    assert_eq!(sends(&rig.create()), [], "what came later waits");
    assert_eq!(sends(&rig.quiesced(LaneId::Catalog, A)), [(A, vec![2])]);
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences::default()));
    assert_eq!(sends(&rig.recorded(LaneId::Catalog, A)), []);
    assert_eq!(rig.board.cutover_state(rebuild), ready(&[]));
}

#[test]
fn r14_nobody_waits_for_a_target_that_lacks_much_of_the_catalog() {
    let mut rig = Rig::diverged();
    rig.step(Input::Prefer { instance: B });
    rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    for _ in 0..40 {
        rig.create();
        rig.outcome(LaneId::Catalog, B, Outcome::Applied(Consequences::default()));
        rig.recorded(LaneId::Catalog, B);
    }
    let rebuild = rig.held();
    assert_eq!(rig.board.cutover_state(rebuild), CutoverState::GivenUp);
    assert_eq!(sends(&rig.create()).first(), Some(&(B, vec![42])));
}

#[test]
fn r14_a_copy_goes_on_beside_renames_and_deletions_of_other_collections() {
    let mut rig = Rig::diverged();
    let rebuild = rig.rebuild();
    let renames = Intent::Renames(Some(CollectionId::new(Uuid::from_u128(77))), Some("other".to_owned()));
    rig.submit(LaneId::Catalog, profile(Kind::UpdateCollection), renames, AckPolicy::Durable);
    let deletion = Deletion::Collection { scope: scope(), name: "gone".to_owned() };
    rig.submit(LaneId::Catalog, profile(Kind::DeleteCollection), Intent::Deletes(deletion), AckPolicy::Durable);
    assert!(rig.board.can_rebuild(rebuild));
    assert_eq!(rig.rebuild(), rebuild);
}
