//! Switchovers and drains.

use super::*;
use crate::order::placement::Duty;

fn switched(rig: &mut Rig, to: InstanceId) -> Vec<Effect> {
    rig.step(Input::Prefer { instance: to })
}

fn assigned(rig: &mut Rig, instance: InstanceId, duty: Duty) -> Vec<Effect> {
    rig.step(Input::Assign { instance, duty })
}

/// The first write is under way on A, the second waits behind it.
fn with_two_writes() -> Rig {
    let mut rig = Rig::new(2);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(A, vec![2])]);
    assert_eq!(sends(&rig.write(Kind::Delete)), []);
    rig
}

#[test]
fn placement_after_a_switchover_the_next_write_waits_for_the_new_primary_and_goes_there_first() {
    let mut rig = with_two_writes();
    assert_eq!(sends(&switched(&mut rig, B)), []);
    assert_eq!(sends(&rig.applied(A)), [(B, vec![2])], "what is under way ends where it began");
    assert_eq!(sends(&rig.recorded(lane(), A)), [], "the next one waits for B, which is about to stand there");
    assert_eq!(sends(&rig.applied(B)), []);
    assert_eq!(sends(&rig.recorded(lane(), B)), [(B, vec![3])]);
    assert_eq!(rig.board.primary(), B);
}

#[test]
fn placement_nobody_waits_for_a_new_primary_for_ever() {
    let mut rig = with_two_writes();
    switched(&mut rig, B);
    rig.applied(A);
    assert_eq!(sends(&rig.recorded(lane(), A)), []);
    assert_eq!(sends(&rig.step(Input::HandedOver)), [(A, vec![3])]);
}

#[test]
fn placement_nobody_waits_for_a_new_primary_that_is_away_or_in_doubt() {
    let mut rig = with_two_writes();
    switched(&mut rig, B);
    rig.applied(A);
    rig.recorded(lane(), A);
    assert_eq!(sends(&rig.in_doubt(B)), [(A, vec![3])]);
    let mut rig = with_two_writes();
    switched(&mut rig, B);
    rig.reach(B, Reach::Away);
    rig.applied(A);
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![3])]);
}

#[test]
fn placement_a_drained_instance_is_kept_in_sync_and_takes_no_write_first() {
    let mut rig = with_two_writes();
    assigned(&mut rig, A, Duty::SyncOnly);
    assert_eq!(sends(&rig.applied(A)), [(B, vec![2])]);
    assert_eq!(sends(&rig.recorded(lane(), A)), []);
    rig.applied(B);
    assert_eq!(sends(&rig.recorded(lane(), B)), [(B, vec![3])]);
    assert_eq!(sends(&rig.applied(B)), [(A, vec![3])]);
}

#[test]
fn placement_a_drained_instance_takes_what_nobody_else_can() {
    let mut rig = Rig::new(2);
    assigned(&mut rig, A, Duty::SyncOnly);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(B, vec![2])]);
    assert_eq!(sends(&rig.in_doubt(B)), [(A, vec![2])], "its client waits");
    let mut rig = Rig::new(2);
    assigned(&mut rig, A, Duty::SyncOnly);
    rig.reach(B, Reach::Away);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(A, vec![2])]);
}

/// A server that hangs although its heartbeat is green: its settle time is over, and what it left unanswered is sent again.
#[test]
fn placement_nobody_waits_for_one_that_may_hang_once_more() {
    let mut rig = Rig::new(2);
    assigned(&mut rig, A, Duty::SyncOnly);
    rig.write(Kind::Delete);
    assert_eq!(sends(&rig.in_doubt(B)), [(A, vec![2])]);
    rig.applied(A);
    rig.recorded(lane(), A);
    assert_eq!(sends(&rig.quiesced(lane(), B)), [(B, vec![2])]);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(A, vec![3])]);
    assert_eq!(read_from(&rig), [A]);
    assert_eq!(rig.board.last_copies(A), Some(LastCopies { count: 1, first: Some(collection()) }));
    rig.applied(A);
    rig.recorded(lane(), A);
    rig.applied(B);
    assert_eq!(sends(&rig.recorded(lane(), B)), [(B, vec![3])]);
    assert_eq!(sends(&rig.write(Kind::Delete)), [], "it is about to stand there again");
    assert_eq!(read_from(&rig), []);
}

#[test]
fn placement_a_write_waits_for_a_time_only_and_again_only_for_one_that_moves() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    assert_eq!(sends(&rig.applied(A)), [(B, vec![2])]);
    rig.recorded(lane(), A);
    assigned(&mut rig, A, Duty::SyncOnly);
    assert_eq!(sends(&rig.write(Kind::Delete)), []);
    assert_eq!(sends(&rig.step(Input::DeferredLongEnough)), [], "it may have begun to wait a moment ago");
    assert_eq!(sends(&rig.step(Input::DeferredLongEnough)), [(A, vec![3])]);
    rig.applied(A);
    rig.recorded(lane(), A);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(A, vec![4])], "B has not moved");
    rig.applied(A);
    rig.recorded(lane(), A);
    rig.applied(B);
    assert_eq!(sends(&rig.recorded(lane(), B)), [(B, vec![3])]);
    assert_eq!(sends(&rig.write(Kind::Delete)), [], "B has moved");
    rig.step(Input::DeferredLongEnough);
    rig.applied(B);
    rig.recorded(lane(), B);
    rig.applied(B);
    assert_eq!(sends(&rig.recorded(lane(), B)), [(B, vec![5])], "who is there in time gets it");
}

#[test]
fn placement_a_stopped_instance_gets_nothing_until_it_is_used_again() {
    let mut rig = Rig::new(2);
    assigned(&mut rig, A, Duty::Stopped);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(B, vec![2])]);
    rig.applied(B);
    rig.recorded(lane(), B);
    rig.reach(A, Reach::Away);
    assert_eq!(sends(&rig.reach(A, Reach::Here)), [], "its probes are green again, and it is stopped still");
    assert_eq!(rig.fresh(), [B]);
    assert_eq!(sends(&assigned(&mut rig, A, Duty::Full)), [(A, vec![2])]);
    let mut rig = Rig::new(2);
    assigned(&mut rig, A, Duty::Stopped);
    rig.reach(A, Reach::Away);
    assert_eq!(sends(&assigned(&mut rig, A, Duty::Full)), []);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(B, vec![2])], "it is down");
}

fn read_from(rig: &Rig) -> Vec<InstanceId> {
    let readers = rig.board.readers(collection(), Consistency::Fresh);
    rig.board.spared(Some(collection()), readers).iter().map(|reader| reader.instance).collect()
}

#[test]
fn placement_a_drained_instance_serves_only_what_nobody_else_serves_or_is_about_to() {
    let mut rig = Rig::new(2);
    assert_eq!(read_from(&rig), [A, B]);
    rig.write(Kind::Delete);
    let effects = rig.applied(A);
    assigned(&mut rig, A, Duty::SyncOnly);
    assert_eq!((rig.fresh(), read_from(&rig)), (vec![A], vec![]), "B is one write behind");
    rig.settle(effects);
    assert_eq!(read_from(&rig), [B]);
    rig.reach(B, Reach::Away);
    assert_eq!(read_from(&rig), [A]);
}

#[test]
fn placement_only_who_is_ready_becomes_the_primary() {
    let mut rig = Rig::new(2);
    assert_eq!(rig.board.why_not_preferred(B), None);
    rig.reach(B, Reach::Suspect);
    assert_eq!(rig.board.why_not_preferred(B), Some(NotReady::Away));
    rig.reach(B, Reach::Here);
    rig.write(Kind::Delete);
    let effects = rig.applied(A);
    assert_eq!(rig.board.why_not_preferred(B), None, "one write behind is near");
    rig.in_doubt(B);
    assert_eq!(rig.board.why_not_preferred(B), Some(NotReady::Behind(1)));
    rig.quiesced(lane(), B);
    drop(effects);
    assigned(&mut rig, B, Duty::SyncOnly);
    assert_eq!(rig.board.why_not_preferred(B), Some(NotReady::Drained));
    assigned(&mut rig, B, Duty::Full);
    rig.step(Input::Missing { instance: B, collections: vec![collection()] });
    assert_eq!(rig.board.why_not_preferred(B), Some(NotReady::Lacks(1)));
    assert_eq!(rig.board.why_not_preferred(A), None);
}

#[test]
fn placement_the_last_copy_is_named() {
    let last = |first| Some(LastCopies { count: 1, first: Some(first) });
    let mut rig = Rig::new(2);
    assert_eq!((rig.board.last_copies(A), rig.board.last_copies(B)), (None, None));
    assigned(&mut rig, B, Duty::SyncOnly);
    assert_eq!(rig.board.last_copies(A), last(collection()));
    assigned(&mut rig, B, Duty::Full);
    rig.step(Input::Missing { instance: B, collections: vec![collection()] });
    assert_eq!((rig.board.last_copies(A), rig.board.last_copies(B)), (last(collection()), None));
    rig.reach(B, Reach::Away);
    assert_eq!(rig.board.last_copies(A), last(collection()));
    assert_eq!(Rig::new(1).board.last_copies(A), last(collection()));
    let mut blank = Board::new(names(2), LIMITS);
    blank.step(Input::Reached { instance: A, reach: Reach::Here });
    assert_eq!(blank.last_copies(A), Some(LastCopies { count: 0, first: None }), "nobody else is there");
}
