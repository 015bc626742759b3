//! R10: an entry without an answer is abandoned only when it can no longer be executed anywhere.

use super::*;

fn unanswered_everywhere(rig: &mut Rig) -> Vec<Effect> {
    let mut last = Vec::new();
    for round in 0..MAX_RETRIES {
        for instance in [A, B] {
            last = rig.in_doubt(instance);
            assert!(!examines(&last), "round {round}: the abandoned requests may still be executed");
            if !(round == MAX_RETRIES - 1 && instance == B) {
                // The other instance is asked as soon as this one waits.
                rig.quiesced(lane(), if instance == A { B } else { A });
            }
        }
    }
    last
}

fn rig() -> Rig {
    let mut rig = Rig::new(2);
    rig.write(Kind::Add);
    rig
}

#[test]
fn r10_an_entry_is_examined_only_when_every_instance_has_quiesced() {
    let mut rig = rig();
    unanswered_everywhere(&mut rig);
    assert!(!examines(&rig.quiesced(lane(), A)) && sends(&rig.quiesced(lane(), A)).is_empty());
    assert!(examines(&rig.quiesced(lane(), B)));
    let seq = Seq::new(2);
    let absent = Input::Examined { lane: lane(), seq, shows: Examination::AbsentEverywhere };
    assert!(answers(&rig.step(absent)).is_empty(), "not before it is durable");
    assert_eq!(answers(&rig.recorded(lane(), A)), [(2, Verdict::Abandoned)]);
    assert_eq!(sends(&rig.write(Kind::Add)), [(A, vec![3])]);
}

#[test]
fn r10_an_unclear_examination_gives_nothing_up() {
    let mut rig = rig();
    unanswered_everywhere(&mut rig);
    rig.quiesced(lane(), A);
    rig.quiesced(lane(), B);
    let unclear = Input::Examined { lane: lane(), seq: Seq::new(2), shows: Examination::Unclear };
    assert_eq!(sends(&rig.step(unclear)), [(A, vec![2])]);
}

#[test]
fn r10_an_instance_that_goes_away_frees_the_entry() {
    let mut rig = rig();
    unanswered_everywhere(&mut rig);
    rig.quiesced(lane(), A);
    assert_eq!(sends(&rig.reach(B, Reach::Away)), [(A, vec![2])], "unreachable instances never count");
}

#[test]
fn r10_unreachable_instances_never_count() {
    let mut rig = rig();
    rig.reach(B, Reach::Away);
    for _ in 0..10 {
        rig.in_doubt(A);
        assert!(!examines(&rig.quiesced(lane(), A)));
    }
}

#[test]
fn r10_an_acknowledged_write_is_never_examined() {
    let mut rig = rig();
    rig.applied(A);
    for _ in 0..10 {
        rig.in_doubt(B);
        assert!(!examines(&rig.quiesced(lane(), B)));
    }
}

#[test]
fn r10_an_instance_that_says_nothing_happened_never_counts() {
    let mut rig = rig();
    for _ in 0..10 * MAX_RETRIES {
        for instance in [A, B] {
            // A locked database: the instance is reachable but executes nothing. The other one is asked meanwhile.
            let locked = Outcome::NotSent { retry: Retry::AfterBackoff };
            assert!(!examines(&rig.outcome(lane(), instance, locked)));
            assert!(!examines(&rig.quiesced(lane(), if instance == A { B } else { A })));
        }
    }
    assert_eq!(rig.board.awaiting_recovery(), 0, "its client still waits");
    rig.applied(A);
    assert!(answers(&rig.recorded(lane(), A)).is_empty(), "and has been answered when it was applied");
}

#[test]
fn r10_answers_lost_with_the_instance_never_count() {
    let mut rig = rig();
    for _ in 0..10 * MAX_RETRIES {
        for instance in [A, B] {
            let gone = Outcome::InDoubt { instance_was: Health::Gone };
            assert!(!examines(&rig.outcome(lane(), instance, gone)));
            assert!(!examines(&rig.quiesced(lane(), if instance == A { B } else { A })));
        }
    }
}
