//! Halted lanes: nothing is done in them, and no read misses what was acknowledged.

use std::collections::BTreeSet;

use super::*;

/// A board whose collection's lane is halted with an open entry at 2; the instances are durably at these positions.
fn board(durable: [u64; 2], halted: LaneId) -> Board {
    let mut records = restored_lane(2, vec![restored_entry(2, Kind::Add, None)]);
    for (replica, durable) in records.replicas.iter_mut().zip(durable) {
        replica.durable = Seq::new(durable);
    }
    let mut board = Board::new(names(2), LIMITS);
    let lanes = vec![restored_catalog(2, Vec::new()), records];
    let effects = board.fill(catalog(2), lanes, Seq::new(2), &BTreeSet::from([halted]));
    assert!(halted == LaneId::Catalog || effects.is_empty(), "{effects:?}");
    for instance in [A, B] {
        board.step(Input::Reached { instance, reach: Reach::Here });
    }
    board
}

#[test]
fn nothing_is_done_in_a_halted_lane() {
    let mut board = board([1, 1], lane());
    assert!(board.is_halted(lane()) && !board.is_halted(LaneId::Catalog));
    assert_eq!(board.halted_entries(lane()), 1);
    let outcome = Outcome::Applied(Consequences::default());
    let inputs = [
        Input::LookAgain(Look::Everywhere),
        Input::Attempted { lane: lane(), instance: A, outcome },
        Input::Recorded { lane: lane(), instance: A },
        Input::LeftBehind { lane: lane(), instance: A },
    ];
    for input in inputs {
        assert_eq!(board.step(input), []);
    }
    let entry = Submission {
        seq: Seq::new(3),
        lane: lane(),
        profile: profile(Kind::Add),
        intent: Intent::Plain,
        ack_policy: AckPolicy::Applied,
    };
    assert_eq!(board.step(Input::Journaled(vec![entry])), []);
    assert_eq!((board.last(), board.halted_entries(lane())), (Seq::new(3), 2));
    assert!(board.comparisons().is_empty());
}

#[test]
fn r5_a_halted_lane_is_read_only_where_all_of_it_is() {
    let serves = |board: &Board, consistency| [A, B].map(|instance| board.serves(collection(), instance, consistency));
    let board = board([2, 1], lane());
    assert_eq!(serves(&board, Consistency::Fresh), [true, false]);
    assert_eq!(serves(&board, Consistency::Any), [true, true]);
}

#[test]
fn an_instance_that_lost_a_halted_collection_does_not_serve_it() {
    let mut board = board([2, 2], lane());
    let effects = board.step(Input::Missing { instance: A, collections: vec![collection()] });
    assert!(matches!(effects[..], [Effect::Persist(Persist::Divergence { .. })]), "{effects:?}");
    assert!(!board.serves(collection(), A, Consistency::Any));
}

#[test]
fn the_other_lanes_go_on_while_the_catalog_lane_is_halted() {
    let mut board = board([1, 1], LaneId::Catalog);
    assert!(board.is_halted(LaneId::Catalog) && !board.is_halted(lane()));
    let wait = board.lanes[&lane()].progress(A).wait;
    let effects = board.step(Input::Quiesced { lane: lane(), instance: A, wait });
    assert_eq!(sends(&effects), [(A, vec![2])]);
}

#[test]
fn a_panic_says_in_which_lane_it_was() {
    let mut rig = Rig::new(2);
    let again = restored_entry(2, Kind::Add, None);
    let out_of_order = restored_lane(2, vec![again.clone(), again]);
    let mut board = Board::new(names(2), LIMITS);
    let lanes = vec![restored_catalog(2, Vec::new()), out_of_order];
    let filled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        board.fill(catalog(2), lanes, Seq::new(2), &BTreeSet::new());
    }));
    assert!(filled.is_err(), "a lane is in seq order");
    assert_eq!(board.at(), Some(lane()));
    rig.write(Kind::Add);
    rig.applied(A);
    assert_eq!(rig.board.at(), Some(lane()));
}
