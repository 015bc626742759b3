//! R17: a copy that is known to be wrong.

use super::*;

fn condemn(instance: InstanceId) -> Input {
    Input::Condemn { collection: collection(), instance, evidence: Evidence::FailsQueries }
}

fn persisted(instance: InstanceId) -> Effect {
    let cause = DivergenceCause::Condemned(Evidence::FailsQueries);
    Effect::Persist(Persist::Divergence { replicas: vec![(lane(), instance)], cause })
}

#[test]
fn r17_a_condemned_copy_serves_nothing_and_is_never_found_equal() {
    let mut rig = Rig::new(2);
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    let effects = rig.step(condemn(A));
    assert!(effects.contains(&persisted(A)), "{effects:?}");
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::Condemned, vec![B]));
    assert!(rig.board.comparisons().is_empty(), "equal content does not prove that it answers");
    assert!(rig.step(condemn(A)).is_empty(), "it is made durable once");
    let rebuild = rig.held();
    rig.in_place(rebuild);
    rig.recorded(lane(), A);
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::InStep, vec![A, B]));
}

#[test]
fn r17_a_comparison_that_was_under_way_does_not_admit_what_is_condemned() {
    let mut rig = Rig::diverged();
    let comparison = rig.board.comparisons().remove(0);
    let effects = rig.step(Input::Condemn { collection: collection(), instance: A, evidence: Evidence::OperatorsWord });
    assert_eq!((effects.len(), rig.state_of(A)), (1, LaneState::Condemned), "{effects:?}");
    rig.step(Input::FoundEqual(comparison));
    assert_eq!(rig.state_of(A), LaneState::Condemned);
}

#[test]
fn r17_the_last_copy_that_can_be_reached_stays() {
    let mut rig = Rig::new(2);
    rig.reach(A, Reach::Away);
    assert!(rig.step(condemn(B)).is_empty(), "the other one is away");
    rig.reach(A, Reach::Here);
    rig.step(condemn(A));
    rig.step(condemn(B));
    assert_eq!((rig.state_of(A), rig.state_of(B)), (LaneState::Condemned, LaneState::InStep));
}

#[test]
fn r17_after_a_restart_it_is_condemned_still() {
    let mut restored = restored_lane(2, Vec::new());
    restored.replicas[0].state = LaneState::Condemned;
    let rig = Rig::restored(2, Dimension::Known, vec![restored]);
    assert_eq!((rig.state_of(A), rig.board.comparisons().len()), (LaneState::Condemned, 0));
}
