//! R4, R5, R8: skips, divergence, freshness, creations.

use super::*;

#[test]
fn r4_refused_elsewhere_but_in_doubt_here_is_sent_to_be_refused() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    rig.in_doubt(A);
    rig.rejected(B);
    assert_eq!(answers(&rig.recorded(lane(), B)), [(2, Verdict::Rejected)]);
    assert_eq!(sends(&rig.write(Kind::Add)), [(B, vec![3])]);
    rig.applied(B);
    rig.recorded(lane(), B);
    let effects = rig.quiesced(lane(), A);
    let expected = |effect: &Effect| {
        matches!(effect, Effect::Perform(Action::Send { instance: A, purpose: Purpose::ExpectRefusal, .. }))
    };
    assert!(effects.iter().any(expected), "{effects:?}");
    rig.rejected(A);
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![3])], "and then what it lacks");
    rig.applied(A);
    assert_eq!(rig.fresh(), [A, B]);
}

#[test]
fn r4_refused_elsewhere_in_doubt_here_and_found_executed_diverges() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    rig.in_doubt(A);
    rig.rejected(B);
    rig.recorded(lane(), B);
    rig.quiesced(lane(), A);
    rig.applied(A);
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::Diverged, vec![B]));
}

#[test]
fn r4_refused_elsewhere_after_a_restart_is_sent_to_be_refused() {
    let open = restored_entry(2, Kind::Add, None);
    let mut rig = Rig::restored(2, Dimension::Known, vec![restored_lane(2, vec![open])]);
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])]);
    rig.rejected(A);
    rig.recorded(lane(), A);
    let effects = rig.quiesced(lane(), B);
    let expected = |effect: &Effect| {
        matches!(effect, Effect::Perform(Action::Send { instance: B, purpose: Purpose::ExpectRefusal, .. }))
    };
    assert!(effects.iter().any(expected), "{effects:?}");
    rig.rejected(B);
    rig.recorded(lane(), B);
    assert_eq!(rig.fresh(), [A, B]);
}

#[test]
fn r4_refused_elsewhere_after_a_restart_and_found_executed_here_diverges() {
    let open = restored_entry(2, Kind::Add, None);
    let mut rig = Rig::restored(2, Dimension::Known, vec![restored_lane(2, vec![open])]);
    rig.quiesced(lane(), A);
    rig.rejected(A);
    rig.recorded(lane(), A);
    rig.quiesced(lane(), B);
    rig.applied(B);
    assert_eq!(rig.state_of(B), LaneState::Diverged);
}

#[test]
fn r4_refused_here_after_it_was_applied_elsewhere_diverges_and_is_not_skipped() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    let effects = rig.applied(A);
    assert_eq!(sends(&effects), [(B, vec![2])]);
    let effects = rig.rejected(B);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Persist(Persist::Divergence { .. }))));
    rig.recorded(lane(), A);
    assert_eq!(sends(&rig.write(Kind::Add)), [(A, vec![3])]);
    assert!(sends(&rig.applied(A)).is_empty());
    assert_eq!(rig.fresh(), [A]);
}

#[test]
fn r4_while_there_is_no_dimension_a_refused_write_goes_everywhere() {
    let mut rig = Rig::restored(2, Dimension::Unknown, Vec::new());
    rig.write(Kind::Update);
    rig.rejected(A);
    let effects = rig.recorded(lane(), A);
    let expected = |effect: &Effect| {
        matches!(effect, Effect::Perform(Action::Send { instance: B, purpose: Purpose::ExpectRefusal, .. }))
    };
    assert!(effects.iter().any(expected), "a refused write can set the dimension: {effects:?}");
}

#[test]
fn r4_with_a_dimension_a_refused_write_is_skipped() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Update);
    rig.rejected(A);
    assert!(sends(&rig.recorded(lane(), A)).is_empty());
    assert_eq!(rig.fresh(), [A, B]);
}

#[test]
fn r4_the_catalog_lane_never_stops_the_collection_does() {
    let mut rig = Rig::new(2);
    let update = profile(Kind::UpdateCollection);
    rig.submit(LaneId::Catalog, update, Intent::Plain, AckPolicy::Durable);
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences::default()));
    assert_eq!(sends(&rig.recorded(LaneId::Catalog, A)), [(B, vec![2])]);
    rig.outcome(LaneId::Catalog, B, Outcome::Rejected { about: Some(collection()) });
    rig.recorded(LaneId::Catalog, B);
    assert_eq!(rig.state_of(B), LaneState::Diverged);
    rig.submit(LaneId::Catalog, update, Intent::Plain, AckPolicy::Durable);
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences::default()));
    assert_eq!(sends(&rig.recorded(LaneId::Catalog, A)), [(B, vec![3])]);
}

#[test]
fn r4_a_diverged_replica_is_admitted_only_if_the_reference_has_not_moved() {
    let mut rig = Rig::new(2);
    rig.step(Input::Missing { instance: B, collections: vec![collection()] });
    let comparison = rig.board.comparisons().remove(0);
    assert_eq!((comparison.reference, comparison.instance), (A, B));
    rig.write(Kind::Add);
    rig.step(Input::FoundEqual(comparison.clone()));
    assert_eq!(rig.state_of(B), LaneState::Diverged, "a write is under way");
    rig.applied(A);
    rig.recorded(lane(), A);
    rig.step(Input::FoundEqual(comparison));
    assert_eq!(rig.state_of(B), LaneState::Diverged, "compared before that write");
    let comparison = rig.board.comparisons().remove(0);
    rig.step(Input::FoundEqual(comparison));
    rig.recorded(lane(), B);
    assert_eq!(rig.fresh(), [A, B]);
}

#[test]
fn r5_only_instances_with_every_acknowledged_write_are_fresh() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    assert_eq!(rig.fresh(), [A, B], "no client was answered");
    rig.applied(A);
    assert_eq!(rig.fresh(), [A], "before the mark is durable");
    rig.applied(B);
    assert_eq!(rig.fresh(), [A, B]);
}

#[test]
fn r5_a_change_of_the_collection_itself_counts_too() {
    let mut rig = Rig::new(2);
    rig.submit(LaneId::Catalog, profile(Kind::UpdateCollection), Intent::Plain, AckPolicy::Durable);
    let name = "docs".to_owned();
    let changes = vec![CatalogChange::CollectionRenamed { collection: collection(), name }];
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences { changes, diverged: Vec::new() }));
    rig.recorded(LaneId::Catalog, A);
    assert_eq!(rig.fresh(), [A]);
}

#[test]
fn r8_a_creation_is_durable_before_the_client_is_answered_and_before_it_is_used() {
    let mut board = Board::new(names(2), LIMITS);
    board.step(Input::Reached { instance: A, reach: Reach::Here });
    let mut rig = Rig::of(board, 0);
    rig.submit(LaneId::Catalog, profile(Kind::CreateCollection), Intent::Plain, AckPolicy::Durable);
    let mut changes = created(Seq::new(1));
    changes.push(mapped(A));
    let effects = rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences { changes, diverged: Vec::new() }));
    assert!(answers(&effects).is_empty());
    assert!(rig.board.catalog().get(collection()).is_none());
    assert_eq!(answers(&rig.recorded(LaneId::Catalog, A)), [(1, Verdict::Applied)]);
    assert_eq!(sends(&rig.write(Kind::Add)), [(A, vec![2])]);
    assert_eq!(sends(&rig.reach(B, Reach::Here)), [(B, vec![1])], "the write waits there for the mapping");
}

#[test]
fn r8_what_precedes_a_deletion_is_replicated_under_the_id_of_the_deleted_collection() {
    let mut rig = Rig::new(2);
    rig.reach(B, Reach::Away);
    rig.delete_collection();
    rig.deleted(A);
    rig.recorded(LaneId::Catalog, A);
    let catalog = rig.board.catalog();
    assert_eq!(catalog.mapping(collection(), B), None);
    assert!(catalog.mapping_while_held(collection(), B).is_some());
    rig.reach(B, Reach::Here);
    rig.deleted(B);
    rig.recorded(LaneId::Catalog, B);
    assert_eq!(rig.board.catalog().mapping_while_held(collection(), B), None, "every instance has deleted it");
}

#[test]
fn r4_a_refused_catalog_entry_in_doubt_here_is_sent_to_be_refused() {
    let mut rig = Rig::new(2);
    rig.submit(LaneId::Catalog, profile(Kind::UpdateCollection), Intent::Plain, AckPolicy::Durable);
    rig.outcome(LaneId::Catalog, A, Outcome::InDoubt { instance_was: Health::Healthy });
    rig.outcome(LaneId::Catalog, B, Outcome::Rejected { about: Some(collection()) });
    assert_eq!(answers(&rig.recorded(LaneId::Catalog, B)), [(2, Verdict::Rejected)]);
    let effects = rig.quiesced(LaneId::Catalog, A);
    let expected = |effect: &Effect| {
        matches!(effect, Effect::Perform(Action::Send { instance: A, purpose: Purpose::ExpectRefusal, .. }))
    };
    assert!(effects.iter().any(expected), "{effects:?}");
    let executed = Consequences { changes: Vec::new(), diverged: vec![(collection(), A)] };
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(executed));
    rig.recorded(LaneId::Catalog, A);
    assert_eq!((rig.state_of(A), rig.state_of(B)), (LaneState::Diverged, LaneState::InStep));
}
