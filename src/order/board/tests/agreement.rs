//! Rule R12: whose fault an unexplained failure is.

use super::*;
use crate::order::failures::{Signature, Touched, Traces, Writable};

fn failure(name: &str) -> Outcome {
    Outcome::Failed { signature: Signature::of(500, name), about: None }
}

impl Rig {
    /// The entry fails, and the check that follows shows this.
    fn fails(&mut self, instance: InstanceId, seq: u64, shows: Writable) -> Vec<Effect> {
        let effects = self.outcome(lane(), instance, failure("InternalError"));
        assert_eq!(checks(&effects), [instance], "a failure of an open entry is followed by a check");
        self.step(Input::WriteChecked { lane: lane(), instance, seq: Seq::new(seq), shows })
    }

    fn compared(&mut self, seq: u64, same: &[InstanceId], differ: &[InstanceId], traces: Traces) -> Vec<Effect> {
        let comparison = Touched { same: same.to_vec(), differ: differ.to_vec(), traces };
        self.step(Input::TouchedCompared { lane: lane(), seq: Seq::new(seq), comparison })
    }
}

fn checks(effects: &[Effect]) -> Vec<InstanceId> {
    let check = |effect: &Effect| match effect {
        Effect::Perform(Action::CheckWritable { instance, .. }) => Some(*instance),
        _ => None,
    };
    effects.iter().filter_map(check).collect()
}

fn compares(effects: &[Effect]) -> Vec<InstanceId> {
    let compare = |effect: &Effect| match effect {
        Effect::Perform(Action::CompareTouched { instances, .. }) => Some(instances.clone()),
        _ => None,
    };
    effects.iter().find_map(compare).unwrap_or_default()
}

#[test]
fn r12_what_every_instance_fails_while_it_executes_other_writes_is_rejected() {
    let mut rig = Rig::new(2);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(A, vec![2])]);
    assert_eq!(sends(&rig.fails(A, 2, Writable::Yes)), [(B, vec![2])], "the next one is asked at once");
    assert_eq!(compares(&rig.fails(B, 2, Writable::Yes)), [A, B]);
    let effects = rig.compared(2, &[A, B], &[], Traces::None);
    assert_eq!(answers(&effects), [], "not before it is durable");
    assert_eq!(answers(&rig.recorded(lane(), A)), [(2, Verdict::Rejected)]);
    rig.quiesced(lane(), B);
    assert_eq!(sends(&rig.write(Kind::Add)), [(A, vec![3])], "the lane goes on");
    assert_eq!([A, B].map(|instance| rig.state_of(instance)), [LaneState::InStep; 2]);
}

#[test]
fn r12_one_instance_alone_is_asked_three_times() {
    let mut rig = Rig::new(2);
    rig.reach(B, Reach::Away);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(A, vec![2])]);
    for _ in 0..2 {
        assert_eq!(compares(&rig.fails(A, 2, Writable::Yes)), []);
        assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])]);
    }
    assert_eq!(compares(&rig.fails(A, 2, Writable::Yes)), [A]);
    rig.compared(2, &[A], &[], Traces::None);
    assert_eq!(answers(&rig.recorded(lane(), A)), [(2, Verdict::Rejected)]);
    rig.reach(B, Reach::Here);
    assert_eq!(rig.state_of(B), LaneState::InStep, "it skips what had no effect");
    rig.recorded(lane(), B);
    assert_eq!(rig.fresh(), [A, B]);
}

#[test]
fn r12_different_answers_count_only_when_they_are_repeated() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    rig.fails(A, 2, Writable::Yes);
    rig.outcome(lane(), B, failure("ChromaError"));
    let effects = rig.step(Input::WriteChecked { lane: lane(), instance: B, seq: Seq::new(2), shows: Writable::Yes });
    assert_eq!(compares(&effects), []);
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])]);
    assert_eq!(compares(&rig.fails(A, 2, Writable::Yes)), []);
    assert_eq!(sends(&rig.quiesced(lane(), B)), [(B, vec![2])]);
    assert_eq!(compares(&rig.fails(B, 2, Writable::Yes)), [A, B]);
}

#[test]
fn r12_an_instance_that_fails_every_write_does_not_count() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    assert_eq!(sends(&rig.fails(A, 2, Writable::No)), [(B, vec![2])]);
    let effects = rig.applied(B);
    assert_eq!(answers(&effects), [(2, Verdict::Applied)]);
    rig.recorded(lane(), B);
    for times in 0.. {
        assert!(times < 10, "it is held up for ever");
        if sends(&rig.quiesced(lane(), A)) != [(A, vec![2])] {
            break;
        }
        rig.outcome(lane(), A, failure("InternalError"));
        if rig.state_of(A) == LaneState::Diverged {
            break;
        }
    }
    assert_eq!([A, B].map(|instance| rig.state_of(instance)), [LaneState::Diverged, LaneState::InStep]);
}

#[test]
fn r12_where_no_instance_executes_anything_the_entry_waits() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    assert_eq!(sends(&rig.fails(A, 2, Writable::No)), [(B, vec![2])]);
    assert_eq!(sends(&rig.fails(B, 2, Writable::No)), []);
    for _ in 0..8 {
        for instance in [A, B] {
            assert_eq!(sends(&rig.quiesced(lane(), instance)), [(instance, vec![2])]);
            assert_eq!(compares(&rig.fails(instance, 2, Writable::No)), []);
        }
    }
    assert_eq!([A, B].map(|instance| rig.state_of(instance)), [LaneState::InStep; 2]);
}

#[test]
fn r12_what_may_have_been_acknowledged_is_never_rejected_by_agreement() {
    let mut entry = restored_entry(2, Kind::Delete, None);
    entry.ack_state = AckState::MaybeAcknowledged;
    let mut rig = Rig::restored(1, Dimension::Known, vec![restored_lane(1, vec![entry])]);
    for _ in 0..8 {
        assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])]);
        assert_eq!(compares(&rig.fails(A, 2, Writable::Yes)), []);
    }
}

#[test]
fn r12_instances_that_differ_after_it_leave_the_lane() {
    let mut rig = Rig::new(3);
    let c = InstanceId(2);
    rig.reach(c, Reach::Away);
    rig.write(Kind::Upsert);
    rig.fails(A, 2, Writable::Yes);
    rig.fails(B, 2, Writable::Yes);
    rig.compared(2, &[A], &[B], Traces::None);
    assert_eq!([A, B, c].map(|i| rig.state_of(i) == LaneState::Diverged), [false, true, false]);
    assert_eq!(answers(&rig.recorded(lane(), A)), [(2, Verdict::Rejected)]);
}

#[test]
fn r12_an_instance_that_was_not_asked_leaves_the_lane_where_traces_are_possible() {
    let mut rig = Rig::new(2);
    rig.reach(B, Reach::Away);
    rig.write(Kind::Upsert);
    for _ in 0..2 {
        rig.fails(A, 2, Writable::Yes);
        rig.quiesced(lane(), A);
    }
    rig.fails(A, 2, Writable::Yes);
    rig.compared(2, &[A], &[], Traces::Possible);
    assert_eq!([A, B].map(|instance| rig.state_of(instance)), [LaneState::InStep, LaneState::Diverged]);
}

#[test]
fn r12_a_merged_request_that_failed_goes_one_by_one() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    rig.applied(A);
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![3, 4])]);
    let effects = rig.outcome(lane(), A, failure("InternalError"));
    assert_eq!((sends(&effects), checks(&effects)), (vec![(A, vec![3])], vec![]));
}

#[test]
fn r12_a_deletion_does_not_wait_for_what_failed() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    rig.fails(A, 2, Writable::No);
    assert_eq!(sends(&rig.delete_collection()), [(A, vec![3])], "no request is left that could be executed");
}

#[test]
fn r12_an_instance_that_cannot_be_asked_holds_up_no_other_one_for_ever() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    assert_eq!(sends(&rig.fails(A, 2, Writable::Yes)), [(B, vec![2])]);
    rig.quiesced(lane(), A);
    for _ in 0..3 {
        let effects = rig.outcome(lane(), B, Outcome::NotSent { retry: Retry::AfterBackoff });
        let again = rig.quiesced(lane(), B);
        assert!(sends(&effects).is_empty() || sends(&effects) == [(A, vec![2])]);
        assert!(!sends(&effects).is_empty() || sends(&again) == [(B, vec![2])]);
    }
    assert!(rig.board.lanes[&lane()].progress(A).busy(), "it is asked again");
}
