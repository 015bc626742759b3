//! Retention: what may go, what must stay, and that positions never come again (rule R11).

use super::*;
use crate::journal::retention::{RetentionOptions, round};

const ALL: u32 = 1000;

async fn trim(store: &dyn Store, most: u32) -> u64 {
    store.trim(LATER, &instances(), most).await.unwrap().transactions
}

/// `count` finished transactions in the catalog lane.
async fn finish(store: &dyn Store, count: usize) -> Vec<Seq> {
    let seqs = append(store, (0..count).map(|_| draft(LaneId::Catalog, "x")).collect()).await;
    record(store, finished(&seqs)).await;
    seqs
}

async fn mark(store: &dyn Store, primary: Seq, replica: Seq) {
    let lane = LaneId::Catalog;
    record(store, vec![progress(lane, "primary", primary), progress(lane, "replica", replica)]).await;
}

pub async fn trimming_waits_for_every_configured_instance(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 5).await;
    assert_eq!(trim(&*store, ALL).await, 0, "an instance without a mark has nothing");
    record(&*store, vec![progress(LaneId::Catalog, "primary", seqs[4])]).await;
    assert_eq!(trim(&*store, ALL).await, 0, "one instance is not all");
    record(&*store, vec![progress(LaneId::Catalog, "replica", seqs[1])]).await;
    assert_eq!(store.trim(DONE, &instances(), ALL).await.unwrap().transactions, 0, "not before its time");
    assert_eq!(trim(&*store, ALL).await, 2);
    let snapshot = load(&*store).await;
    assert_eq!(snapshot.floors, [(LaneId::Catalog, seqs[1])]);
    assert_eq!(positions(&snapshot), seqs[2..]);
    let only = [InstanceName::new("primary")];
    assert_eq!(store.trim(LATER, &only, ALL).await.unwrap().transactions, 3, "who is not configured holds nothing");
}

pub async fn trimming_stops_at_an_open_entry(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, (0..5).map(|_| draft(LaneId::Catalog, "x")).collect()).await;
    let but_third: Vec<_> = seqs.iter().copied().filter(|seq| *seq != seqs[2]).collect();
    record(&*store, finished(&but_third)).await;
    mark(&*store, seqs[4], seqs[4]).await;
    assert_eq!(trim(&*store, ALL).await, 2);
    assert_eq!(positions(&load(&*store).await), [seqs[2]], "an entry without a verdict is loaded below every mark");
    record(&*store, vec![applied(seqs[2])]).await;
    assert_eq!(trim(&*store, ALL).await, 0, "settled, and its client's side still open");
    record(&*store, vec![status(seqs[2], Status::Recovered)]).await;
    assert_eq!(trim(&*store, ALL).await, 3);
}

pub async fn trimming_asks_no_diverged_instance(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 2).await;
    mark(&*store, seqs[1], Seq::ZERO).await;
    assert_eq!(trim(&*store, ALL).await, 0);
    let standing = Standing::Diverged { reason: "x".to_owned() };
    let instance = InstanceName::new("replica");
    record(&*store, vec![Fact::Standing { lane: LaneId::Catalog, instance, standing }]).await;
    assert_eq!(trim(&*store, ALL).await, 2);
}

pub async fn nothing_is_trimmed_without_an_instance_in_step(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 1).await;
    mark(&*store, seqs[0], seqs[0]).await;
    assert_eq!(store.trim(LATER, &[], ALL).await.unwrap().transactions, 0);
    let standing = Standing::Diverged { reason: "x".to_owned() };
    let stand = |instance| Fact::Standing { lane: LaneId::Catalog, instance, standing: standing.clone() };
    record(&*store, instances().map(stand).to_vec()).await;
    assert_eq!(trim(&*store, ALL).await, 0);
}

pub async fn positions_are_never_reused(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 3).await;
    mark(&*store, seqs[2], seqs[2]).await;
    assert_eq!(trim(&*store, ALL).await, 3);
    assert!(store.requests(&seqs).await.unwrap().is_empty());
    drop(store);
    let store = bench.open();
    assert_eq!(load(&*store).await.last, seqs[2]);
    assert_eq!(finish(&*store, 1).await, [seqs[2].next()]);
}

pub async fn trimming_is_bounded(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 5).await;
    mark(&*store, seqs[4], seqs[4]).await;
    assert_eq!(trim(&*store, 3).await, 3);
    assert_eq!(load(&*store).await.floors, [(LaneId::Catalog, seqs[2])]);
    assert_eq!(trim(&*store, 3).await, 2);
    assert_eq!(trim(&*store, 3).await, 0);
}

pub async fn a_trimmed_key_is_free_again(bench: &impl Bench) {
    let store = bench.open();
    let seq = append(&*store, vec![keyed("tenant", "key")]).await[0];
    record(&*store, finished(&[seq])).await;
    mark(&*store, seq, seq).await;
    assert_eq!(trim(&*store, ALL).await, 1);
    assert_eq!(append(&*store, vec![keyed("tenant", "key")]).await, [seq.next()]);
}

pub async fn a_deleted_lane_is_forgotten(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let lane = LaneId::Records(collection);
    let seqs = append(&*store, vec![draft(lane, "a"), draft(lane, "b")]).await;
    record(&*store, vec![created(collection, "a", Seq::new(1)), progress(lane, "primary", seqs[0])]).await;
    record(&*store, finished(&seqs)).await;
    assert_eq!(trim(&*store, ALL).await, 0, "the replica has nothing of it yet");
    record(&*store, vec![Fact::Catalog(CatalogChange::CollectionDeleted { collection })]).await;
    assert_eq!(trim(&*store, ALL).await, 2, "nobody will execute these any more");
    // The same collection cannot come back; if it did, no mark and no floor of the old one would be left.
    record(&*store, vec![created(collection, "a", Seq::new(1))]).await;
    let snapshot = load(&*store).await;
    assert!(snapshot.progress.is_empty() && snapshot.floors.is_empty());
}

pub async fn loading_starts_at_the_lowest_instance(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let lane = LaneId::Records(collection);
    let seqs = append(&*store, (0..3).map(|_| draft(lane, "x")).collect()).await;
    let mut facts = finished(&seqs);
    facts.extend([created(collection, "a", Seq::new(1)), progress(lane, "primary", seqs[2])]);
    record(&*store, facts).await;
    assert_eq!(positions(&load(&*store).await), seqs, "an instance without a mark has nothing");
    record(&*store, vec![progress(lane, "replica", seqs[0])]).await;
    assert_eq!(positions(&load(&*store).await), seqs[1..]);
    let only = [InstanceName::new("primary")];
    assert!(store.load(&only).await.unwrap().entries.is_empty());
}

pub async fn a_round_removes_all_that_may_go(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 7).await;
    mark(&*store, seqs[6], seqs[5]).await;
    let options = RetentionOptions { keep: std::time::Duration::from_millis(500), batch: 2, ..Default::default() };
    let too_early = Timestamp::from_millis(DONE.millis() + 500);
    assert_eq!(round(&*store, &instances(), &options, too_early).await.unwrap(), 0);
    let in_time = Timestamp::from_millis(DONE.millis() + 501);
    assert_eq!(round(&*store, &instances(), &options, in_time).await.unwrap(), 6);
    assert_eq!(positions(&load(&*store).await), [seqs[6]]);
}
