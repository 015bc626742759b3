//! What a returning instance has to catch up with: the entries that existed then, not those that came later.

use super::*;

#[test]
fn an_instance_has_caught_up_when_it_has_what_was_there_at_its_return() {
    let mut rig = Rig::new(2);
    assert!(!rig.board.lacks_what_it_missed(B));
    rig.reach(B, Reach::Away);
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    rig.reach(B, Reach::Here);
    assert!(rig.board.lacks_what_it_missed(B) && !rig.board.lacks_what_it_missed(A));
    let newer = rig.write(Kind::Upsert);
    let effects = rig.applied(B);
    assert!(rig.board.lacks_what_it_missed(B), "not before it is durable");
    let again = rig.recorded(lane(), B);
    assert!(!rig.board.lacks_what_it_missed(B) && rig.board.backlog(B) > 0, "what came since does not count");
    drop((newer, effects, again));
    rig.reach(B, Reach::Suspect);
    rig.reach(B, Reach::Here);
    assert!(!rig.board.lacks_what_it_missed(B), "it was there all the time");
}
