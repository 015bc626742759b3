//! R7: what a deletion waits for, what it closes, and why that cannot deadlock.

use super::*;

fn expected_on(rig: &Rig, instance: InstanceId) -> Vec<CollectionId> {
    rig.board.expected_on(instance, None, 10).0.into_iter().map(|(collection, _)| collection).collect()
}

#[test]
fn r7_a_deletion_waits_for_what_is_in_flight_under_it_on_that_instance() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Add);
    assert!(sends(&rig.delete_collection()).is_empty());
    assert_eq!(sends(&rig.applied(A)), [(A, vec![3])], "its mark may become durable later");
}

#[test]
fn r7_entries_after_a_deletion_wait_for_its_verdict() {
    let mut rig = Rig::new(1);
    rig.delete_collection();
    assert!(sends(&rig.write(Kind::Add)).is_empty());
    rig.outcome(LaneId::Catalog, A, Outcome::Rejected { about: None });
    assert_eq!(sends(&rig.recorded(LaneId::Catalog, A)), [(A, vec![3])], "a refused deletion closes nothing");
}

#[test]
fn r7_open_entries_below_an_applied_deletion_are_answered_no_such_collection() {
    let mut rig = Rig::new(1);
    rig.delete_collection();
    rig.write(Kind::Add);
    rig.deleted(A);
    let effects = rig.recorded(LaneId::Catalog, A);
    let seqs = vec![Seq::new(3)];
    assert!(effects.contains(&Effect::Persist(Persist::Voids { lane: lane(), seqs: seqs.clone() })));
    assert_eq!(answers(&rig.step(Input::VoidsRecorded { lane: lane(), seqs })), [(3, Verdict::Void)]);
}

#[test]
fn r7_a_verdict_on_its_way_into_the_journal_stands() {
    let mut rig = Rig::new(2);
    rig.submit(lane(), profile(Kind::Add), Intent::Plain, AckPolicy::Durable);
    rig.applied(A);
    rig.delete_collection();
    rig.deleted(A);
    let effects = rig.recorded(LaneId::Catalog, A);
    let voids = effects.iter().any(|effect| matches!(effect, Effect::Persist(Persist::Voids { .. })));
    assert!(!voids, "the journal would hold two verdicts: {effects:?}");
    assert_eq!(answers(&rig.recorded(lane(), A)), [(2, Verdict::Applied)]);
}

#[test]
fn r7_a_deletion_does_not_wait_for_what_will_never_be_sent_again() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    rig.in_doubt(A);
    rig.applied(B);
    rig.recorded(lane(), B);
    rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    assert_eq!(rig.state_of(A), LaneState::Diverged);
    rig.reach(B, Reach::Away);
    assert!(sends(&rig.delete_collection()).is_empty(), "the abandoned request may still be executed");
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![3])]);
}

#[test]
fn r7_a_deletion_waits_for_what_is_sent_to_be_refused() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    rig.in_doubt(A);
    rig.rejected(B);
    rig.recorded(lane(), B);
    rig.reach(B, Reach::Away);
    assert!(sends(&rig.delete_collection()).is_empty(), "the abandoned request may still be executed");
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])]);
    assert_eq!(sends(&rig.rejected(A)), [(A, vec![3])]);
}

#[test]
fn r7_a_refused_rename_frees_what_waited_for_the_name() {
    let mut rig = Rig::new(1);
    rig.submit(LaneId::Catalog, profile(Kind::UpdateCollection), Intent::Renames(None, None), AckPolicy::Durable);
    let deletion = Deletion::Collection { scope: scope(), name: "other".to_owned() };
    let kind = Kind::DeleteCollection;
    rig.submit(LaneId::Catalog, profile(kind), Intent::Deletes(deletion), AckPolicy::Durable);
    assert!(sends(&rig.write(Kind::Add)).is_empty(), "it may be named 'other' by then");
    rig.outcome(LaneId::Catalog, A, Outcome::Rejected { about: None });
    let effects = rig.recorded(LaneId::Catalog, A);
    assert!(sends(&effects).contains(&(A, vec![4])), "{effects:?}");
}

#[test]
fn r7_after_a_restart_nothing_beyond_an_unsettled_deletion_is_in_doubt() {
    let records = restored_lane(1, vec![restored_entry(3, Kind::Add, None)]);
    let catalog = restored_catalog(1, vec![restored_entry(2, Kind::DeleteCollection, None)]);
    let mut rig = Rig::restored(1, Dimension::Known, vec![records, catalog]);
    let effects = rig.quiesced(LaneId::Catalog, A);
    assert_eq!(sends(&effects), [(A, vec![2])], "each would wait for the other");
}

#[test]
fn r7_a_lane_that_is_closed_while_its_request_is_under_way_is_forgotten_after_it() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    rig.applied(A);
    rig.recorded(lane(), A);
    rig.delete_collection();
    rig.deleted(A);
    rig.recorded(LaneId::Catalog, A);
    assert!(rig.board.lanes.contains_key(&lane()), "a request is under way on the other instance");
    let effects = rig.applied(B);
    assert_eq!(sends(&effects), [(B, vec![3])]);
    assert!(!rig.board.lanes.contains_key(&lane()));
}

#[test]
fn r7_a_deletion_waits_for_a_read_under_it_and_goes_on_after_it() {
    let mut rig = Rig::new(1);
    rig.write(Kind::DeleteLimited);
    assert!(sends(&rig.delete_collection()).is_empty(), "the ids of a limited delete are being read");
    let resolved = Resolved::Failed { retry: Retry::AfterBackoff };
    assert_eq!(sends(&rig.step(Input::IdsRead { lane: lane(), instance: A, resolved })), [(A, vec![3])]);
}

#[test]
fn r7_a_deletion_that_took_what_is_in_doubt_does_not_wait_for_it() {
    let lanes = vec![
        restored_lane(2, vec![restored_entry(2, Kind::Add, None)]),
        restored_catalog(2, vec![restored_entry(3, Kind::DeleteCollection, None)]),
    ];
    let mut rig = Rig::restored(2, Dimension::Known, lanes);
    rig.reach(B, Reach::Away);
    rig.quiesced(LaneId::Catalog, A);
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])], "in doubt: it goes first");
    // The collection is gone: the deletion was executed there before the restart.
    assert_eq!(sends(&rig.outcome(lane(), A, Outcome::Unfit)), [(A, vec![3])]);
    rig.deleted(A);
    let effects = rig.recorded(LaneId::Catalog, A);
    assert!(
        effects.contains(&Effect::Persist(Persist::Voids { lane: lane(), seqs: vec![Seq::new(2)] })),
        "{effects:?}"
    );
}

/// Without this, an entry that an instance cannot execute because it has lost the collection, and a deletion that waits
/// for that entry, would wait for each other, and all clients of the catalog with them.
#[test]
fn r7_a_collection_that_is_lost_is_missed_while_a_deletion_waits() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    rig.in_doubt(A);
    rig.in_doubt(B);
    assert!(sends(&rig.delete_collection()).is_empty(), "it waits for what is in doubt");
    assert_eq!(expected_on(&rig, A).len(), 1);
    rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    assert_eq!(rig.state_of(A), LaneState::Diverged);
}

#[test]
fn r7_a_collection_is_not_missed_where_its_deletion_may_have_been_executed() {
    let mut rig = Rig::new(2);
    assert_eq!(sends(&rig.delete_collection()), [(A, vec![2])]);
    assert_eq!((expected_on(&rig, A).len(), expected_on(&rig, B).len()), (0, 1), "in flight");
    rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    rig.outcome(LaneId::Catalog, A, Outcome::InDoubt { instance_was: Health::Healthy });
    assert!(expected_on(&rig, A).is_empty(), "in doubt");
    rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    assert_eq!(rig.state_of(A), LaneState::InStep);
}

/// Otherwise one client that renames its collections and another one that deletes others' make everybody wait.
#[test]
fn r7_a_rename_holds_back_only_what_may_get_the_deleted_name() {
    let elsewhere = CollectionId::new(Uuid::from_u128(77));
    for (renamed, new_name, waits) in
        [(elsewhere, "gone", false), (collection(), "kept", false), (collection(), "gone", true)]
    {
        let mut rig = Rig::new(1);
        let renames = Intent::Renames(Some(renamed), Some(new_name.to_owned()));
        rig.submit(LaneId::Catalog, profile(Kind::UpdateCollection), renames, AckPolicy::Durable);
        let deletion = Deletion::Collection { scope: scope(), name: "gone".to_owned() };
        rig.submit(LaneId::Catalog, profile(Kind::DeleteCollection), Intent::Deletes(deletion), AckPolicy::Durable);
        assert_eq!(sends(&rig.write(Kind::Add)).is_empty(), waits, "{new_name}");
    }
}
