//! Late writes of an earlier edge: the replica is not trusted, and not compared before a settle time of its own.

use super::*;

fn late_write(rig: &mut Rig, lane: LaneId) -> Vec<Effect> {
    rig.step(Input::LateWrite { lane, instance: B })
}

/// The waits that begin for the second instance.
fn waits(effects: &[Effect]) -> Vec<WaitId> {
    let wait = |effect: &Effect| match effect {
        Effect::Perform(Action::AwaitQuiescence { instance: B, wait, .. }) => Some(*wait),
        _ => None,
    };
    effects.iter().filter_map(wait).collect()
}

fn inspects(effects: &[Effect]) -> bool {
    effects.contains(&Effect::Perform(Action::Inspect { instance: B }))
}

#[test]
fn r4_a_late_write_is_kept_while_a_deletion_is_under_way() {
    let mut rig = Rig::new(2);
    rig.delete_collection();
    late_write(&mut rig, lane());
    rig.outcome(LaneId::Catalog, A, Outcome::Rejected { about: None });
    rig.recorded(LaneId::Catalog, A);
    assert_eq!((rig.state_of(B), rig.fresh()), (LaneState::Diverged, vec![A]));
}

#[test]
fn r4_a_late_write_begins_a_wait_of_its_own() {
    let mut rig = Rig::new(2);
    rig.reach(A, Reach::Away);
    rig.write(Kind::Upsert);
    let before = waits(&rig.in_doubt(B));
    rig.reach(A, Reach::Here);
    let own = waits(&late_write(&mut rig, lane()));
    assert!(own > before, "{own:?} after {before:?}");
    rig.step(Input::Quiesced { lane: lane(), instance: B, wait: before[0] });
    let effects = rig.applied(A);
    rig.settle(effects);
    assert_eq!(rig.board.comparisons(), [], "the wait that began before the late write proves nothing");
    rig.quiesced(lane(), B);
    assert_eq!(rig.board.comparisons().len(), 1);
}

#[test]
fn r4_the_wait_for_a_late_write_begins_when_the_request_in_flight_has_ended() {
    let mut rig = Rig::new(2);
    let effects = rig.write(Kind::Upsert);
    assert_eq!(sends(&effects), [(A, vec![2])]);
    rig.applied(A);
    rig.recorded(lane(), A);
    assert!(waits(&late_write(&mut rig, lane())).is_empty(), "its request is under way");
    assert_eq!(waits(&rig.applied(B)).len(), 1);
    assert_eq!(rig.board.comparisons(), []);
    rig.quiesced(lane(), B);
    assert_eq!(rig.board.comparisons().len(), 1);
}

#[test]
fn r4_a_comparison_before_a_late_write_admits_no_instance() {
    let mut rig = Rig::new(2);
    late_write(&mut rig, lane());
    rig.quiesced(lane(), B);
    let [before] = rig.board.comparisons().try_into().unwrap();
    late_write(&mut rig, lane());
    rig.quiesced(lane(), B);
    assert!(rig.step(Input::FoundEqual(before)).is_empty());
    assert_eq!(rig.state_of(B), LaneState::Diverged);
    let [since] = rig.board.comparisons().try_into().unwrap();
    rig.step(Input::FoundEqual(since));
    assert_eq!(rig.state_of(B), LaneState::InStep);
}

#[test]
fn r8_after_a_late_write_the_catalog_is_inspected_again_when_quiesced() {
    let mut rig = Rig::new(2);
    let effects = late_write(&mut rig, LaneId::Catalog);
    assert!(inspects(&effects), "{effects:?}");
    assert_eq!(waits(&effects).len(), 1);
    let effects = rig.quiesced(LaneId::Catalog, B);
    assert!(inspects(&effects), "{effects:?}");
    // Only for that wait.
    rig.submit(LaneId::Catalog, profile(Kind::UpdateCollection), Intent::Plain, AckPolicy::Durable);
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences::default()));
    rig.recorded(LaneId::Catalog, A);
    rig.outcome(LaneId::Catalog, B, Outcome::NotSent { retry: Retry::AfterBackoff });
    assert!(!inspects(&rig.quiesced(LaneId::Catalog, B)));
}
