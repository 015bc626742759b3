//! R15: a write is withdrawn only if nothing of it can have been executed anywhere.

use super::*;
use crate::order::failures::{Signature, Writable};

fn withdraw(rig: &mut Rig, id: LaneId, seq: u64) -> Vec<Effect> {
    rig.step(Input::Withdraw { lane: id, seq: Seq::new(seq) })
}

fn recorded(rig: &mut Rig, id: LaneId, seq: u64) -> Vec<Effect> {
    rig.step(Input::WithdrawalRecorded { lane: id, seq: Seq::new(seq) })
}

fn persisted(effects: &[Effect], seq: u64) -> bool {
    effects.contains(&Effect::Persist(Persist::Withdrawal { lane: lane(), seq: Seq::new(seq) }))
}

fn nobody_there() -> Rig {
    let mut rig = Rig::new(2);
    rig.reach(A, Reach::Away);
    rig.reach(B, Reach::Away);
    rig
}

#[test]
fn r15_a_withdrawal_is_durable_before_its_client_is_answered_and_is_never_sent() {
    let mut rig = nobody_there();
    rig.write(Kind::Add);
    rig.write(Kind::Update);
    let effects = withdraw(&mut rig, lane(), 2);
    assert!(persisted(&effects, 2) && answers(&effects).is_empty());
    let returned = rig.reach(A, Reach::Here);
    assert!(sends(&returned).is_empty(), "that it is skipped there is durable first (R1): {returned:?}");
    assert_eq!(answers(&recorded(&mut rig, lane(), 2)), [(2, Verdict::Abandoned)]);
    assert!(answers(&recorded(&mut rig, lane(), 2)).is_empty(), "once");
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![3])]);
}

#[test]
fn r15_what_never_reached_an_instance_may_be_withdrawn() {
    let mut rig = Rig::new(2);
    assert_eq!(sends(&rig.write(Kind::Add)), [(A, vec![2])]);
    rig.reach(A, Reach::Away);
    let refused = Outcome::NotSent { retry: Retry::Immediately };
    assert_eq!(sends(&rig.outcome(lane(), A, refused)), [(B, vec![2])]);
    assert!(withdraw(&mut rig, lane(), 2).is_empty(), "under way");
    rig.outcome(lane(), B, Outcome::NotSent { retry: Retry::AfterBackoff });
    assert!(persisted(&withdraw(&mut rig, lane(), 2), 2));
}

#[test]
fn r15_what_is_under_way_or_may_have_been_executed_is_never_withdrawn() {
    let under_way = |rig: &mut Rig| drop(rig.write(Kind::Add));
    let in_doubt = |rig: &mut Rig| {
        rig.write(Kind::Add);
        rig.in_doubt(A);
        rig.outcome(lane(), B, Outcome::NotSent { retry: Retry::AfterBackoff });
    };
    // The instance quiesced and left the lane. The entry may have been executed there nevertheless.
    let diverged = |rig: &mut Rig| {
        in_doubt(rig);
        rig.step(Input::Missing { instance: A, collections: vec![collection()] });
        rig.quiesced(lane(), A);
    };
    let answered = |rig: &mut Rig| {
        rig.write(Kind::Add);
        for instance in [A, B] {
            rig.outcome(lane(), instance, Outcome::Failed { signature: Signature::of(500, "x"), about: None });
            rig.step(Input::WriteChecked { lane: lane(), instance, seq: Seq::new(2), shows: Writable::Yes });
        }
    };
    let applied = |rig: &mut Rig| {
        rig.write(Kind::Add);
        rig.applied(A);
    };
    let rejected = |rig: &mut Rig| {
        rig.write(Kind::Add);
        rig.rejected(A);
    };
    let cases: [&dyn Fn(&mut Rig); 6] = [&under_way, &in_doubt, &diverged, &answered, &applied, &rejected];
    for (case, happens) in cases.iter().enumerate() {
        let mut rig = Rig::new(2);
        happens(&mut rig);
        assert!(withdraw(&mut rig, lane(), 2).is_empty(), "case {case}");
    }
}

#[test]
fn r15_what_an_earlier_edge_may_have_sent_is_never_withdrawn() {
    let entries = vec![restored_entry(2, Kind::Add, None), restored_entry(3, Kind::Update, None)];
    let mut rig = Rig::restored(2, Dimension::Known, vec![restored_lane(2, entries)]);
    for seq in [2, 3] {
        assert!(withdraw(&mut rig, lane(), seq).is_empty());
    }
}

#[test]
fn r15_what_waited_for_a_withdrawn_deletion_goes_on() {
    let mut rig = nobody_there();
    rig.delete_collection();
    rig.write(Kind::Add);
    rig.reach(B, Reach::Here);
    rig.outcome(LaneId::Catalog, B, Outcome::NotSent { retry: Retry::AfterBackoff });
    let effects = withdraw(&mut rig, LaneId::Catalog, 2);
    assert!(sends(&effects).is_empty(), "not before it is durable: {effects:?}");
    let effects = recorded(&mut rig, LaneId::Catalog, 2);
    assert_eq!(answers(&effects), [(2, Verdict::Abandoned)]);
    assert_eq!(sends(&effects), [(B, vec![3])]);
}
