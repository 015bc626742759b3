//! R11: an instance that the journal has no room for is diverged, never one of the last two that have everything.

use super::*;

const C: InstanceId = InstanceId(2);

/// Three instances, the last of which is away and lacks one write.
fn one_behind(count: usize) -> Rig {
    let mut rig = Rig::new(count);
    rig.reach(C, Reach::Away);
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    rig
}

fn detach(rig: &mut Rig, lane: LaneId, instance: InstanceId) -> Vec<Effect> {
    rig.step(Input::LeftBehind { lane, instance })
}

#[test]
fn r11_an_instance_left_behind_is_diverged_durably_and_nothing_waits_for_it() {
    let mut rig = one_behind(3);
    assert_eq!(rig.board.backlog(C), 1);
    let effects = detach(&mut rig, lane(), C);
    let noted = |effect: &Effect| {
        *effect
            == Effect::Persist(Persist::Divergence { replicas: vec![(lane(), C)], cause: DivergenceCause::LeftBehind })
    };
    assert!(effects.iter().any(noted), "{effects:?}");
    assert_eq!((rig.state_of(C), rig.board.backlog(C)), (LaneState::Diverged, 0));
    assert!(sends(&rig.reach(C, Reach::Here)).is_empty());
    assert!(!rig.fresh().contains(&C));
    assert!(detach(&mut rig, lane(), C).is_empty(), "once");
}

#[test]
fn r11_no_instance_is_left_behind_unless_two_others_have_more() {
    let mut rig = one_behind(3);
    assert!(detach(&mut rig, lane(), A).is_empty(), "it has everything");
    rig.step(Input::Missing { instance: B, collections: vec![collection()] });
    assert!(detach(&mut rig, lane(), C).is_empty(), "one copy is none");
    assert_eq!(rig.state_of(C), LaneState::InStep);
    let mut rig = one_behind(3);
    rig.reach(C, Reach::Here);
    let effects = rig.applied(C);
    rig.settle(effects);
    assert!(detach(&mut rig, lane(), C).is_empty(), "it has caught up since");
}

#[test]
fn r11_no_instance_is_left_behind_in_the_catalog_lane() {
    let mut rig = Rig::new(3);
    rig.reach(C, Reach::Away);
    rig.delete_collection();
    rig.deleted(A);
    rig.recorded(LaneId::Catalog, A);
    rig.deleted(B);
    rig.recorded(LaneId::Catalog, B);
    assert!(detach(&mut rig, LaneId::Catalog, C).is_empty());
    assert_eq!(rig.board.lanes[&LaneId::Catalog].progress(C).state, LaneState::InStep);
}
