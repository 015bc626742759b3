//! R2, R5, R7, R11 after a restart: what is not known durably counts as in doubt, and as answered.

use super::*;

fn board(lanes: Vec<RestoredLane>, count: usize, last: u64) -> (Board, Vec<Effect>) {
    Board::restore(names(count), LIMITS, catalog(count), lanes, Seq::new(last))
}

#[test]
fn r2_every_head_beyond_the_durable_progress_is_in_doubt_after_a_restart() {
    let entries = vec![restored_entry(2, Kind::Add, None), restored_entry(3, Kind::Add, None)];
    let mut rig = Rig::restored(1, Dimension::Known, vec![restored_lane(1, entries)]);
    assert_eq!(rig.board.lanes[&lane()].progress(A).doubt, Seq::new(3), "the longest run that could have been sent");
    let effects = rig.write(Kind::Add);
    assert!(sends(&effects).is_empty(), "an abandoned request may still be executed");
    let effects = rig.quiesced(lane(), A);
    assert_eq!(sends(&effects), [(A, vec![2, 3])], "nothing newer rides along");
    assert!(matches!(effects[0], Effect::Perform(Action::Send { repeat: Repeat::Retry { .. }, .. })));
}

#[test]
fn r2_a_restored_run_ends_where_its_kind_ends() {
    let entries = vec![restored_entry(2, Kind::Add, None), restored_entry(3, Kind::Upsert, None)];
    let rig = Rig::restored(1, Dimension::Known, vec![restored_lane(1, entries)]);
    assert_eq!(rig.board.lanes[&lane()].progress(A).doubt, Seq::new(2));
}

#[test]
fn r5_after_a_restart_every_journaled_entry_counts_as_answered() {
    let mut rig = Rig::restored(1, Dimension::Known, vec![restored_lane(1, vec![restored_entry(2, Kind::Add, None)])]);
    assert!(rig.fresh().is_empty());
    rig.quiesced(lane(), A);
    rig.applied(A);
    assert_eq!(rig.fresh(), [A]);
}

#[test]
fn r5_after_a_restart_a_change_of_any_collection_counts_for_all() {
    let entry = restored_entry(2, Kind::UpdateCollection, Some(Verdict::Applied));
    let mut lane = restored_catalog(2, vec![entry]);
    lane.replicas[0].durable = Seq::new(2);
    let rig = Rig::restored(2, Dimension::Known, vec![lane]);
    assert_eq!(rig.fresh(), [A], "which collection it was about is not known any more");
}

#[test]
fn r4_a_diverged_replica_is_not_compared_before_it_has_quiesced_after_a_restart() {
    let mut lanes = restored_lane(2, Vec::new());
    lanes.replicas[1].state = LaneState::Diverged;
    let mut rig = Rig::restored(2, Dimension::Known, vec![lanes]);
    assert!(rig.board.comparisons().is_empty(), "a request of before the crash may still be executed there");
    rig.quiesced(lane(), B);
    assert_eq!(rig.board.comparisons().len(), 1);
}

#[test]
fn r7_a_deletion_after_a_restart_waits_for_quiescence_under_it() {
    let deletion = restored_entry(3, Kind::DeleteCollection, Some(Verdict::Applied));
    let catalog_lane = restored_catalog(1, vec![deletion]);
    let records = restored_lane(1, vec![restored_entry(2, Kind::Add, None)]);
    let (mut board, effects) =
        Board::restore(names(1), LIMITS, Catalog::new(names(1)), vec![records, catalog_lane], Seq::new(3));
    assert!(effects.contains(&Effect::Persist(Persist::Voids { lane: lane(), seqs: vec![Seq::new(2)] })));
    board.step(Input::Reached { instance: A, reach: Reach::Here });
    let mut rig = Rig::of(board, 3);
    assert!(sends(&rig.quiesced(LaneId::Catalog, A)).is_empty());
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![3])]);
}

#[test]
fn g9_a_write_that_may_be_acknowledged_is_known_as_such_when_its_collection_is_gone() {
    let deletion = restored_entry(4, Kind::DeleteCollection, Some(Verdict::Applied));
    let perhaps = RestoredEntry { ack_state: AckState::MaybeAcknowledged, ..restored_entry(2, Kind::Add, None) };
    let records = restored_lane(1, vec![perhaps, restored_entry(3, Kind::Add, None)]);
    let lanes = vec![records, restored_catalog(1, vec![deletion])];
    let (mut board, _) = Board::restore(names(1), LIMITS, Catalog::new(names(1)), lanes, Seq::new(4));
    let voids = board.step(Input::VoidsRecorded { lane: lane(), seqs: vec![Seq::new(2), Seq::new(3)] });
    let ack_state = |effect: &Effect| match effect {
        Effect::Answer(ClientAnswer { seq, verdict: Verdict::Void, ack_state, .. }) => Some((seq.get(), *ack_state)),
        _ => None,
    };
    let ack_state: Vec<_> = voids.iter().filter_map(ack_state).collect();
    assert_eq!(ack_state, [(2, AckState::MaybeAcknowledged), (3, AckState::Unacknowledged)]);
}

#[test]
fn r11_a_replica_below_the_floor_is_diverged_and_never_starts_at_what_is_left() {
    let mut lanes = restored_lane(2, vec![restored_entry(9, Kind::Add, Some(Verdict::Applied))]);
    lanes.floor = Seq::new(8);
    lanes.replicas[0].durable = Seq::new(9);
    let (board, effects) = board(vec![lanes], 2, 9);
    assert_eq!(board.state_of(collection(), B), LaneState::Diverged);
    assert_eq!(board.state_of(collection(), A), LaneState::InStep);
    let noted = |effect: &Effect| matches!(effect, Effect::Persist(Persist::Divergence { replicas, .. }) if *replicas == [(lane(), B)]);
    assert!(effects.iter().any(noted), "retention must know that it waits for nothing");
}

#[test]
fn r11_what_an_instance_without_a_catalog_can_never_have_waits_for_nothing() {
    let mut fold = Catalog::new(names(2));
    created(Seq::new(1)).iter().chain([&mapped(A)]).for_each(|change| fold.fold(Seq::new(1), change));
    let mut catalog_lane = restored_catalog(2, Vec::new());
    catalog_lane.floor = Seq::new(1);
    catalog_lane.replicas[1].durable = Seq::ZERO;
    let lanes = vec![catalog_lane, restored_lane(2, vec![restored_entry(2, Kind::Add, None)])];
    let (board, _) = Board::restore(names(2), LIMITS, fold, lanes, Seq::new(2));
    assert_eq!(board.state_of(collection(), B), LaneState::Diverged);
}

#[test]
fn what_an_earlier_edge_may_have_sent_too_late_stops_the_place_until_it_is_compared() {
    let mut rig = Rig::new(2);
    let effects = rig.step(Input::LateWrite { lane: lane(), instance: B });
    let noted = |effect: &Effect| matches!(effect, Effect::Persist(Persist::Divergence { replicas, .. }) if *replicas == [(lane(), B)]);
    assert!(effects.iter().any(noted), "durable before the late write counts as handled");
    assert_eq!((rig.state_of(B), rig.fresh()), (LaneState::Diverged, vec![A]));
    assert!(rig.board.comparisons().is_empty(), "what was sent may still be executed: it is not compared yet");
    rig.quiesced(lane(), B);
    let comparison = rig.board.comparisons().pop().unwrap();
    assert_eq!((comparison.reference, comparison.instance), (A, B));
    rig.step(Input::FoundEqual(comparison));
    assert_eq!(rig.state_of(B), LaneState::InStep);
}

#[test]
fn a_late_write_is_reported_during_a_request_and_no_earlier_comparison_counts() {
    let mut rig = Rig::new(2);
    let effects = rig.write(Kind::Upsert);
    assert_eq!(sends(&effects), [(A, vec![2])]);
    let effects = rig.step(Input::LateWrite { lane: lane(), instance: A });
    assert_eq!(rig.state_of(A), LaneState::Diverged);
    assert!(sends(&effects).is_empty(), "it is under way on A: B waits for its end");
    assert_eq!(sends(&rig.applied(A)), [(B, vec![2])], "what a suspected place answers is no verdict");
    rig.applied(B);
    rig.recorded(lane(), B);
    assert!(rig.board.comparisons().is_empty(), "what was sent may still be executed: it is not compared yet");
    rig.quiesced(lane(), A);
    let comparison = rig.board.comparisons().pop().unwrap();
    rig.step(Input::LateWrite { lane: lane(), instance: A });
    rig.step(Input::FoundEqual(comparison));
    assert_eq!(rig.state_of(A), LaneState::Diverged, "suspected again after it was compared");
}

#[test]
fn a_late_write_in_the_catalog_lane_is_inspected_and_one_of_a_deleted_collection_changes_nothing() {
    let mut rig = Rig::new(2);
    let effects = rig.step(Input::LateWrite { lane: LaneId::Catalog, instance: B });
    assert_eq!(effects[0], Effect::Perform(Action::Inspect { instance: B }));
    let gone = LaneId::Records(CollectionId::new(Uuid::from_u128(404)));
    assert_eq!(rig.step(Input::LateWrite { lane: gone, instance: B }), []);
}
