//! Faults of the board: counted for each lane, kept across a restart, deleted on request.

use super::*;

pub(in crate::journal) async fn faults_of_a_lane_are_counted_in_a_row_and_forgotten(bench: &impl Bench) {
    let store = bench.open();
    let lane = LaneId::Records(new_collection());
    let hour = std::time::Duration::from_secs(60 * 60);
    assert_eq!(store.faults().await.unwrap(), []);
    store.note_fault(lane, "first\0", MADE).await.unwrap();
    store.note_fault(LaneId::Catalog, "another lane's", MADE).await.unwrap();
    store.note_fault(lane, "second", MADE.after(hour)).await.unwrap();
    drop(store);

    let store = bench.open();
    let fault = |lane, times, at, reason: &str| Fault { lane, times, at, reason: reason.to_owned() };
    let mut faults = store.faults().await.unwrap();
    faults.sort_by_key(|fault| fault.lane);
    let expected = [fault(LaneId::Catalog, 1, MADE, "another lane's"), fault(lane, 2, MADE.after(hour), "second")];
    assert_eq!(faults, expected);

    // Too long after the last one to be in a row with it.
    let late = MADE.after(hour * 2).after(std::time::Duration::from_millis(1));
    store.note_fault(lane, &"x".repeat(10_000), late).await.unwrap();
    store.forget_faults(LaneId::Catalog).await.unwrap();
    store.forget_faults(LaneId::Catalog).await.unwrap();
    let faults = store.faults().await.unwrap();
    assert_eq!(faults, [fault(lane, 1, late, &"x".repeat(500))]);
}
