//! R16: what a marker may claim, and what becomes of an instance that has come back older.

use super::*;

fn other() -> CollectionId {
    CollectionId::new(Uuid::from_u128(8))
}

/// A second collection on both instances, never written to.
fn with_another(rig: &mut Rig) {
    let (scope, name, created) = (scope(), "other".to_owned(), Seq::new(1));
    let change =
        CatalogChange::CollectionCreated { collection: other(), scope, name, created, origin: Origin::Created };
    rig.board.catalog.fold(created, &change);
    for index in 0..2 {
        let instance = InstanceName::new(&format!("instance-{index}"));
        let id = InstanceCollectionId::new(Uuid::from_u128(200 + index));
        rig.board.catalog.fold(created, &CatalogChange::Mapped { collection: other(), instance, id });
    }
}

#[test]
fn r16_what_has_changed_since_the_marker_is_diverged_and_nothing_else() {
    let mut rig = Rig::new(2);
    with_another(&mut rig);
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    let effects = rig.step(Input::Older { instance: A, through: Seq::new(2) });
    assert!(effects.is_empty() && rig.fresh() == [A, B], "it has everything up to there: {effects:?}");
    let effects = rig.step(Input::Older { instance: A, through: Seq::new(1) });
    let replicas = vec![(lane(), A)];
    assert!(effects.contains(&Effect::Persist(Persist::Divergence { replicas, cause: DivergenceCause::Unverified })));
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::Diverged, vec![B]));
    assert_eq!(rig.board.state_of(other(), A), LaneState::InStep);
    rig.step(Input::Older { instance: A, through: Seq::ZERO });
    assert_eq!(rig.board.state_of(other(), A), LaneState::Diverged, "before it was created");
}

#[test]
fn r16_the_only_copy_stays_whatever_it_lacks() {
    let mut rig = Rig::new(2);
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    assert_eq!(rig.board.only_copies_newer_than(A, Seq::ZERO), []);
    rig.step(Input::Older { instance: A, through: Seq::ZERO });
    assert_eq!(rig.board.only_copies_newer_than(B, Seq::ZERO), [collection()]);
    assert_eq!(rig.board.only_copies_newer_than(B, Seq::new(2)), [], "it has everything up to there");
    rig.step(Input::Older { instance: B, through: Seq::ZERO });
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::Diverged, vec![B]));
}

#[test]
fn r16_a_marker_claims_what_is_durable_in_every_lane() {
    let mut rig = Rig::new(2);
    assert_eq!(rig.board.settled_through(A), Seq::new(1));
    rig.write(Kind::Upsert);
    rig.applied(A);
    assert_eq!(rig.board.settled_through(A), Seq::new(1), "applied, and not recorded");
    rig.recorded(lane(), A);
    assert_eq!((rig.board.settled_through(A), rig.board.settled_through(B)), (Seq::new(2), Seq::new(1)));
    let effects = rig.applied(B);
    rig.settle(effects);
    rig.step(Input::Missing { instance: B, collections: vec![collection()] });
    rig.write(Kind::Upsert);
    rig.applied(A);
    rig.recorded(lane(), A);
    assert_eq!(rig.board.settled_through(A), Seq::new(3));
    assert_eq!(rig.board.settled_through(B), Seq::new(1), "not in step: only what precedes its position");
}

#[test]
fn r16_what_nobody_else_serves_keeps_a_server_from_being_wiped() {
    let mut rig = Rig::new(2);
    assert_eq!((rig.board.lost_without(A), rig.board.lost_without(B)), (vec![], vec![]));
    rig.step(Input::Reached { instance: B, reach: Reach::Away });
    assert_eq!(rig.board.lost_without(A), [collection()], "the other one is away");
    rig.step(Input::Reached { instance: B, reach: Reach::Here });
    rig.step(Input::Missing { instance: B, collections: vec![collection()] });
    assert_eq!(rig.board.lost_without(A), [collection()], "the other one has lost it");
    assert_eq!(rig.board.lost_without(B), vec![]);
}
