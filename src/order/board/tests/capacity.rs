//! What a step may cost: long backlogs and many lanes without quadratic work.

use std::time::{Duration, Instant};

use super::*;

const MANY: u64 = 100_000;
/// Quadratic work takes minutes; this leaves room for a slow machine.
const SOON: Duration = Duration::from_secs(60);

fn submissions(from: u64, kind: Kind) -> Input {
    let submission = |seq| Submission {
        seq: Seq::new(seq),
        lane: lane(),
        profile: profile(kind),
        intent: Intent::Plain,
        ack_policy: AckPolicy::Applied,
    };
    Input::Journaled((from..from + MANY).map(submission).collect())
}

#[test]
fn a_backlog_of_applied_entries_drains_in_linear_time() {
    let mut rig = Rig::new(2);
    rig.reach(B, Reach::Away);
    let begun = Instant::now();
    let effects = rig.step(submissions(2, Kind::Add));
    rig.settle(effects);
    assert_eq!(rig.board.entries() as u64, MANY);
    // One by one from here on: the most steps that the backlog can take.
    rig.board.limits.documents = 1;
    let effects = rig.reach(B, Reach::Here);
    rig.settle(effects);
    assert_eq!(rig.board.entries(), 0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_backlog_of_refused_entries_is_walked_once() {
    let mut rig = Rig::new(2);
    rig.reach(B, Reach::Away);
    let begun = Instant::now();
    rig.step(submissions(2, Kind::Delete));
    for _ in 0..MANY {
        rig.rejected(A);
        rig.recorded(lane(), A);
        rig.fresh();
    }
    assert_eq!(rig.board.entries(), 0, "what everyone skips is forgotten");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn writes_to_deleted_collections_cost_no_walk_each() {
    let mut rig = Rig::new(1);
    rig.delete_collection();
    rig.step(submissions(3, Kind::Add));
    rig.deleted(A);
    let begun = Instant::now();
    rig.recorded(LaneId::Catalog, A);
    rig.step(submissions(3 + MANY, Kind::Add));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_catalog_change_wakes_only_what_it_is_about() {
    let mut rig = Rig::new(2);
    for index in 0..10_000 {
        rig.board.ensure_lane(LaneId::Records(CollectionId::new(Uuid::from_u128(1000 + index))));
    }
    rig.board.wake_changed(&[mapped(A)]);
    assert_eq!(rig.board.dirty.len(), 2);
}
