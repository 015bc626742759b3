//! The cost of a step: long backlogs and many lanes without quadratic work.

use std::time::Duration;

use super::*;
use crate::clock::processor_time;

const MANY: u64 = 100_000;
/// Quadratic work takes minutes, so this leaves room for a slow machine. It is processor time, so other processes do not count.
const SOON: Duration = Duration::from_secs(60);

#[track_caller]
fn assert_soon(begun: Duration) {
    let worked = processor_time() - begun;
    assert!(worked < SOON, "{worked:?}");
}

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
    let begun = processor_time();
    let effects = rig.step(submissions(2, Kind::Add));
    rig.settle(effects);
    assert_eq!(rig.board.entries() as u64, MANY);
    // One by one from here on: the most steps that the backlog can take.
    rig.board.limits.documents = 1;
    let effects = rig.reach(B, Reach::Here);
    rig.settle(effects);
    assert_eq!(rig.board.entries(), 0);
    assert_soon(begun);
}

#[test]
fn a_backlog_of_refused_entries_is_walked_once() {
    let mut rig = Rig::new(2);
    rig.reach(B, Reach::Away);
    let begun = processor_time();
    rig.step(submissions(2, Kind::Delete));
    for _ in 0..MANY {
        rig.rejected(A);
        rig.recorded(lane(), A);
        rig.fresh();
    }
    assert_eq!(rig.board.entries(), 0, "what everyone skips is forgotten");
    assert_soon(begun);
}

#[test]
fn writes_to_deleted_collections_cost_no_walk_each() {
    let mut rig = Rig::new(1);
    rig.delete_collection();
    rig.step(submissions(3, Kind::Add));
    rig.deleted(A);
    let begun = processor_time();
    rig.recorded(LaneId::Catalog, A);
    rig.step(submissions(3 + MANY, Kind::Add));
    assert_soon(begun);
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

/// Returns a board of two instances with this many collections, each with a lane in which nothing is left to do.
fn settled_board(collections: u64) -> Rig {
    let numbers = 0..u128::from(collections);
    let id = |number: u128| CollectionId::new(Uuid::from_u128(1_000_000 + number));
    let mut catalog = catalog(2);
    for number in numbers.clone() {
        let (collection, scope, name) = (id(number), scope(), format!("c{number}"));
        let origin = Origin::Created;
        let created = Seq::new(1);
        catalog.fold(created, &CatalogChange::CollectionCreated { collection, scope, name, created, origin });
        for instance in names(2) {
            let on_instance = InstanceCollectionId::new(Uuid::from_u128(number));
            catalog.fold(created, &CatalogChange::Mapped { collection, instance, id: on_instance });
        }
    }
    let restored = |number| RestoredLane { id: LaneId::Records(id(number)), ..restored_lane(2, Vec::new()) };
    let mut lanes: Vec<RestoredLane> = numbers.map(restored).collect();
    lanes.extend([restored_lane(2, Vec::new()), restored_catalog(2, Vec::new())]);
    let (board, _) = Board::restore(names(2), LIMITS, catalog, lanes, Seq::new(1));
    let mut rig = Rig::of(board, 1);
    rig.reach(A, Reach::Here);
    rig.reach(B, Reach::Here);
    rig
}

/// Does the regular work this many times: what is done for each write, for each read and several times a second.
fn usual_work(rig: &mut Rig, times: u32) -> Duration {
    let begun = processor_time();
    for _ in 0..times {
        let effects = rig.write(Kind::Upsert);
        rig.settle(effects);
        assert_eq!((rig.board.entries(), rig.fresh()), (0, vec![A, B]));
        rig.step(Input::LookAgain(Look::Around));
        assert_eq!((rig.board.comparisons(), rig.board.rebuilds()), (Vec::new(), Vec::new()));
        assert_eq!((rig.board.backlog(A), rig.board.awaiting_recovery()), (0, 0));
        assert_eq!(
            (rig.board.without_second_copy(1), rig.board.settled_through(B)),
            ((0, Vec::new()), rig.board.last())
        );
        assert!(rig.board.lane_views().len() <= 1 && rig.board.has_caught_up(A, rig.board.last()));
        assert!(rig.board.object_version(collection()).is_some() && rig.board.shows_version(collection(), A));
    }
    processor_time() - begun
}

/// 20,000 looks at 20,000 lanes would take minutes.
#[test]
fn what_is_done_for_each_request_does_not_grow_with_the_number_of_collections() {
    let mut many = settled_board(20_000);
    let took = usual_work(&mut many, 2_000);
    let mut few = settled_board(100);
    let expected = usual_work(&mut few, 2_000);
    assert!(took < expected * 5 + Duration::from_secs(1), "{took:?}, and with few collections {expected:?}");
    assert_eq!(many.board.lanes.miscounted(), None);
}

#[test]
fn a_deletion_does_not_cost_a_look_at_every_other_collection() {
    let mut rig = settled_board(10_000);
    let begun = processor_time();
    for number in 0..2_000 {
        let deletion = Deletion::Collection { scope: scope(), name: format!("c{number}") };
        rig.submit(LaneId::Catalog, profile(Kind::DeleteCollection), Intent::Deletes(deletion), AckPolicy::Durable);
        let collection = CollectionId::new(Uuid::from_u128(1_000_000 + number));
        for instance in [A, B] {
            let changes = match instance {
                A => vec![CatalogChange::CollectionDeleted { collection }],
                _ => Vec::new(),
            };
            let outcome = Outcome::Applied(Consequences { changes, diverged: Vec::new() });
            rig.outcome(LaneId::Catalog, instance, outcome);
            rig.recorded(LaneId::Catalog, instance);
        }
    }
    assert_eq!(rig.board.catalog().count(), 8_001);
    assert_eq!(rig.board.lanes.len(), 8_002, "their lanes are forgotten");
    assert_eq!((rig.board.lanes.miscounted(), rig.board.catalog().miscounted()), (None, None));
    assert_soon(begun);
}

/// An instance was away while many collections were written to. The lanes come in turn, a bounded number at a time.
#[test]
fn looking_again_costs_the_same_however_many_lanes_wait_and_reaches_them_all() {
    let mut rig = settled_board(3_000);
    for instance in [A, B] {
        rig.reach(instance, Reach::Away);
    }
    let lanes = (0..3_000).map(|number| LaneId::Records(CollectionId::new(Uuid::from_u128(1_000_000 + number))));
    let submission = |(place, lane): (u64, LaneId)| Submission {
        seq: Seq::new(2 + place),
        lane,
        profile: profile(Kind::Upsert),
        intent: Intent::Plain,
        ack_policy: AckPolicy::Applied,
    };
    assert!(sends(&rig.step(Input::Journaled((0..).zip(lanes).map(submission).collect()))).is_empty());
    // No input announces it.
    rig.board.reach = vec![Reach::Here, Reach::Away];
    let mut look = |look| sends(&rig.step(Input::LookAgain(look))).len();
    let around = [(); 4].map(|()| look(Look::Around));
    assert_eq!(around, [1024, 1024, 952, 0]);
    assert_eq!(look(Look::Everywhere), 0, "all are under way");
}

#[test]
fn what_is_looked_at_in_parts_is_all_of_it() {
    let mut rig = settled_board(600);
    let (mut expected, mut after) = (Vec::new(), None);
    loop {
        let (some, last) = rig.board.expected_on(A, after, 100);
        assert!(some.len() <= 100);
        expected.extend(some.into_iter().map(|(collection, _)| collection));
        let Some(last) = last else { break };
        after = Some(last);
    }
    let all: Vec<CollectionId> = rig.board.catalog().collections().map(|known| known.id).collect();
    assert_eq!((expected.len(), &expected), (601, &all), "each once, ordered by id");
    let diverged = rig.board.diverge(all.iter().map(|collection| (LaneId::Records(*collection), B)).collect());
    rig.board.lanes.take_stock();
    assert_eq!(diverged.len(), 601);
    let (mut compared, mut after) = (Vec::new(), None);
    loop {
        let (some, last) = rig.board.comparisons_after(after, 100);
        compared.extend(some);
        after = last;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((compared.len(), compared), (601, rig.board.comparisons()));
}
