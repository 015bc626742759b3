//! R14: which copies may be repaired where they are, what admits one, and what nothing else may do meanwhile.

use super::*;

impl Rig {
    /// A's copy is out of step, and is being repaired.
    fn repaired() -> (Rig, Rebuild) {
        let mut rig = Rig::new(2);
        let effects = rig.write(Kind::Upsert);
        rig.settle(effects);
        rig.step(Input::Missing { instance: A, collections: vec![collection()] });
        let rebuild = rig.next_rebuild();
        rig.step(Input::RepairBegun(rebuild));
        assert!(rig.board.repairs(rebuild));
        (rig, rebuild)
    }

    fn next_rebuild(&self) -> Rebuild {
        self.board.rebuilds().pop().expect("a copy to be made whole")
    }

    /// The copy was compared, and the lane is held and stands still.
    fn repair_compared(&mut self, rebuild: Rebuild) {
        self.step(Input::CopyBegun(rebuild));
        self.step(Input::CutoverWanted(rebuild));
    }

    fn cut_over(&mut self, rebuild: Rebuild) -> Vec<Effect> {
        self.step(Input::CutoverEnded { rebuild, outcome: CutoverOutcome::Repaired })
    }

    fn repair_ends(&mut self, rebuild: Rebuild, writes: RepairWrites) -> Vec<Effect> {
        self.step(Input::RepairEnded { rebuild, writes })
    }
}

#[test]
fn r14_a_repaired_copy_serves_under_its_old_id_when_that_is_durable() {
    let (mut rig, rebuild) = Rig::repaired();
    let before = rig.board.catalog().mapping(collection(), A);
    rig.repair_compared(rebuild);
    let effects = rig.cut_over(rebuild);
    rig.repair_ends(rebuild, RepairWrites::Answered);
    let admitted = |effect: &Effect| match effect {
        Effect::Persist(Persist::Record { record, .. }) => record.changes.is_empty() && !record.admitted.is_empty(),
        _ => false,
    };
    assert!(effects.iter().any(admitted), "{effects:?}");
    assert_eq!(rig.state_of(A), LaneState::Diverged, "not durable yet");
    rig.recorded(lane(), A);
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::InStep, vec![A, B]));
    assert_eq!(rig.board.catalog().mapping(collection(), A), before);
    assert_eq!(sends(&rig.write(Kind::Upsert)), [(A, vec![3])], "it follows the lane again");
}

#[test]
fn r14_nothing_else_admits_a_copy_that_is_being_repaired() {
    let mut rig = Rig::new(2);
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    let before = rig.board.comparisons().remove(0);
    let rebuild = rig.next_rebuild();
    rig.step(Input::RepairBegun(rebuild));
    assert!(rig.board.comparisons().is_empty(), "it is being written to");
    rig.step(Input::FoundEqual(before.clone()));
    assert_eq!(rig.state_of(A), LaneState::Diverged);
    rig.repair_ends(rebuild, RepairWrites::Answered);
    rig.step(Input::FoundEqual(before));
    assert_eq!(rig.state_of(A), LaneState::Diverged, "what was compared has been written over since");
    let comparison = rig.board.comparisons().remove(0);
    rig.step(Input::FoundEqual(comparison));
    assert_eq!(rig.state_of(A), LaneState::InStep);
}

#[test]
fn r14_a_copy_that_is_being_repaired_is_not_kept() {
    let mut rig = super::keeping::adopted();
    assert_eq!(rig.board.can_keep(collection(), B), Ok(Keeping::TakesOver));
    let rebuild = rig.next_rebuild();
    rig.step(Input::RepairBegun(rebuild));
    assert_eq!(rig.board.can_keep(collection(), B), Err(Obstacle::Busy));
    rig.repair_ends(rebuild, RepairWrites::InDoubt);
    assert_eq!(rig.board.can_keep(collection(), B), Err(Obstacle::Busy), "a write may still be executed");
    rig.quiesced(lane(), B);
    assert_eq!(rig.board.can_keep(collection(), B), Ok(Keeping::TakesOver));
}

#[test]
fn r14_after_a_write_without_an_answer_a_copy_rests_before_anything_admits_it() {
    let (mut rig, rebuild) = Rig::repaired();
    let effects = rig.repair_ends(rebuild, RepairWrites::InDoubt);
    let waits = |effect: &Effect| matches!(effect, Effect::Perform(Action::AwaitQuiescence { instance: A, .. }));
    assert!(effects.iter().any(waits), "{effects:?}");
    assert_eq!((rig.board.rebuilds(), rig.board.comparisons()), (vec![], vec![]));
    rig.quiesced(lane(), A);
    assert_ne!(rig.next_rebuild(), rebuild, "what was wanted before the wait is late");
}

/// A settle time that began before the write was sent proves nothing.
#[test]
fn r14_a_wait_that_began_amid_a_repair_does_not_end_what_it_left() {
    let (mut rig, rebuild) = Rig::repaired();
    rig.step(Input::LateWrite { lane: lane(), instance: A });
    assert!(!rig.board.repairs(rebuild), "something else may be executed there");
    rig.repair_ends(rebuild, RepairWrites::InDoubt);
    let wait = WaitId::default().next();
    rig.step(Input::Quiesced { lane: lane(), instance: A, wait });
    assert_eq!(rig.board.rebuilds(), [], "another settle time has begun");
    rig.quiesced(lane(), A);
    assert_eq!(rig.board.rebuilds().len(), 1);
}

/// The entry may not have been executed yet when its record was compared.
#[test]
fn r14_what_enters_the_lane_while_a_copy_is_compared_is_looked_at_again() {
    let (mut rig, rebuild) = Rig::repaired();
    rig.step(Input::CopyBegun(rebuild));
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    rig.step(Input::CutoverWanted(rebuild));
    assert_eq!(rig.board.cutover_state(rebuild), CutoverState::Ready { touched: Some(vec![Seq::new(3)]) });
}

/// The server may have come back older, so what was compared may not be what it holds.
#[test]
fn r14_a_repaired_copy_is_compared_again_if_its_instance_went_away() {
    let older = |rig: &mut Rig| drop(rig.step(Input::Older { instance: A, through: Seq::ZERO }));
    let missing = |rig: &mut Rig| drop(rig.step(Input::Missing { instance: A, collections: vec![collection()] }));
    let away = |rig: &mut Rig| {
        rig.reach(A, Reach::Away);
        rig.reach(A, Reach::Here);
    };
    for (what, happens) in [("away", &away as &dyn Fn(&mut Rig)), ("older", &older), ("missing", &missing)] {
        let (mut rig, rebuild) = Rig::repaired();
        rig.step(Input::CopyBegun(rebuild));
        happens(&mut rig);
        rig.step(Input::CutoverWanted(rebuild));
        assert_eq!(rig.board.cutover_state(rebuild), CutoverState::Ready { touched: None }, "{what}");
        rig.cut_over(rebuild);
        assert_eq!((rig.state_of(A), rig.board.admits(rebuild)), (LaneState::Diverged, false), "{what}");
        rig.repair_compared(rebuild);
        rig.cut_over(rebuild);
        assert!(rig.board.admits(rebuild), "{what}, and compared again");
    }
}

#[test]
fn r14_a_copy_that_went_away_while_its_lane_was_held_is_not_admitted() {
    let (mut rig, rebuild) = Rig::repaired();
    rig.repair_compared(rebuild);
    assert!(matches!(rig.board.cutover_state(rebuild), CutoverState::Ready { touched: Some(_) }));
    rig.reach(A, Reach::Away);
    rig.reach(A, Reach::Here);
    rig.cut_over(rebuild);
    assert_eq!((rig.state_of(A), rig.board.admits(rebuild)), (LaneState::Diverged, false));
}

/// The copy was read partly before and partly after the repair.
#[test]
fn r14_what_was_compared_with_a_copy_that_was_repaired_meanwhile_is_not_admitted() {
    let mut rig = Rig::new(3);
    let other = InstanceId(2);
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    rig.step(Input::Missing { instance: other, collections: vec![collection()] });
    let comparison = rig.board.comparisons().remove(0);
    assert_eq!((comparison.reference, comparison.instance), (A, other));
    let evidence = Evidence::ContradictsJournal;
    rig.step(Input::Condemn { collection: collection(), instance: A, evidence });
    let rebuild = rig.board.rebuilds().into_iter().find(|rebuild| rebuild.target == A).expect("A is to be made whole");
    rig.step(Input::RepairBegun(rebuild));
    rig.repair_compared(rebuild);
    rig.cut_over(rebuild);
    rig.repair_ends(rebuild, RepairWrites::Answered);
    rig.recorded(lane(), A);
    assert_eq!(rig.state_of(A), LaneState::InStep);
    rig.step(Input::FoundEqual(comparison));
    assert_eq!(rig.state_of(other), LaneState::Diverged);
    let comparison = rig.board.comparisons().remove(0);
    rig.step(Input::FoundEqual(comparison));
    assert_eq!(rig.state_of(other), LaneState::InStep);
}

#[test]
fn r14_what_is_wrong_in_its_records_alone_is_repaired_and_nothing_else_that_is_condemned() {
    let mut rig = Rig::new(2);
    let condemn = |evidence| Input::Condemn { collection: collection(), instance: A, evidence };
    rig.step(condemn(Evidence::ContradictsJournal));
    assert_eq!(rig.state_of(A), LaneState::Contradicted);
    assert!(rig.board.comparisons().is_empty());
    let rebuild = rig.next_rebuild();
    rig.step(Input::RepairBegun(rebuild));
    assert!(rig.board.repairs(rebuild));
    rig.repair_compared(rebuild);
    rig.step(condemn(Evidence::FailsQueries));
    assert_eq!((rig.state_of(A), rig.board.repairs(rebuild)), (LaneState::Condemned, false));
    rig.cut_over(rebuild);
    assert!(!rig.board.admits(rebuild), "its index is damaged, whatever its records are");
    rig.step(condemn(Evidence::ContradictsJournal));
    assert_eq!(rig.state_of(A), LaneState::Condemned, "the worse verdict stays");
    assert!(rig.board.can_rebuild(rig.next_rebuild()), "it is made anew");
}

#[test]
fn r14_a_quarantined_copy_is_not_repaired() {
    let mut restored = restored_lane(2, Vec::new());
    restored.replicas[0].state = LaneState::Quarantined;
    let mut rig = Rig::restored(2, Dimension::Known, vec![restored]);
    rig.quiesced(lane(), A);
    let rebuild = rig.next_rebuild();
    rig.step(Input::RepairBegun(rebuild));
    assert_eq!((rig.board.can_repair(rebuild), rig.board.repairs(rebuild)), (false, false));
}

#[test]
fn r14_an_edge_that_follows_waits_before_it_repairs_what_another_has_begun() {
    let mut restored = restored_lane(2, Vec::new());
    restored.replicas[0].state = LaneState::Contradicted;
    let mut rig = Rig::restored(2, Dimension::Known, vec![restored]);
    assert_eq!(rig.board.rebuilds(), [], "a write of the repair may still be executed");
    rig.quiesced(lane(), A);
    assert!(rig.board.can_repair(rig.next_rebuild()));
}

/// A copy that is out of step may get what it should hold at its position only from a repair. So a server that comes
/// back with what it held before the repair is older.
#[test]
fn r16_a_marker_from_before_a_repair_does_not_claim_what_it_brought() {
    let (mut rig, rebuild) = Rig::repaired();
    let claimed = rig.board.settled_through(A);
    rig.repair_compared(rebuild);
    rig.cut_over(rebuild);
    rig.repair_ends(rebuild, RepairWrites::Answered);
    rig.recorded(lane(), A);
    assert_eq!((rig.state_of(A), rig.board.settled_through(A)), (LaneState::InStep, Seq::new(2)));
    rig.step(Input::Older { instance: A, through: claimed });
    assert_eq!(rig.state_of(A), LaneState::Diverged);
}
