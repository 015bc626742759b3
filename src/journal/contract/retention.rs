//! Retention: what may be removed, what must stay, and that positions are never reused (rule R11).

use super::*;
use crate::journal::retention::{RetentionOptions, make_room, round};

const ALL: u32 = 1000;

async fn trim(store: &dyn Store, most: u32) -> u64 {
    store.trim(LATER, &instances(), Trimming::Age, most).await.unwrap().transactions
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
    assert_eq!(
        store.trim(DONE, &instances(), Trimming::Age, ALL).await.unwrap().transactions,
        0,
        "not before its time"
    );
    assert_eq!(trim(&*store, ALL).await, 2);
    let snapshot = load(&*store).await;
    assert_eq!(snapshot.floors, [(LaneId::Catalog, seqs[1])]);
    assert_eq!(positions(&snapshot), seqs[2..]);
    let only = [InstanceName::new("primary")];
    assert_eq!(
        store.trim(LATER, &only, Trimming::Age, ALL).await.unwrap().transactions,
        3,
        "who is not configured holds nothing"
    );
}

pub async fn a_lanes_history_begins_at_its_floor(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let lane = LaneId::Records(collection);
    record(&*store, vec![created(collection, "a", Seq::new(1))]).await;
    let seqs =
        append(&*store, vec![draft(lane, "a"), draft(LaneId::Catalog, "x"), draft(lane, "b"), draft(lane, "c")]).await;
    record(&*store, finished(&seqs[..3])).await;
    record(&*store, vec![progress(lane, "primary", seqs[2]), progress(lane, "replica", seqs[0])]).await;
    let history = async |after, most| {
        let history = store.history(lane, after, most).await.unwrap();
        let entry = |(request, verdict): &(Request, Option<Verdict>)| (request.seq, request.body.to_vec(), *verdict);
        (history.floor, history.entries.iter().map(entry).collect::<Vec<_>>())
    };
    let applied = Some(Verdict::Applied);
    let [a, b, c] =
        [(seqs[0], b"a".to_vec(), applied), (seqs[2], b"b".to_vec(), applied), (seqs[3], b"c".to_vec(), None)];
    assert_eq!(history(Seq::ZERO, 10).await, (Seq::ZERO, vec![a.clone(), b.clone(), c.clone()]));
    assert_eq!(history(Seq::ZERO, 2).await, (Seq::ZERO, vec![a, b.clone()]));
    assert_eq!(trim(&*store, ALL).await, 1);
    assert_eq!(history(Seq::ZERO, 10).await, (seqs[0], vec![b, c.clone()]));
    assert_eq!(history(seqs[2], 10).await, (seqs[0], vec![c]));
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
    let instance = InstanceName::new("replica");
    record(&*store, vec![Fact::Diverged { lane: LaneId::Catalog, instance, reason: "x".to_owned() }]).await;
    assert_eq!(trim(&*store, ALL).await, 2);
}

pub async fn nothing_is_trimmed_without_an_instance_in_step(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 1).await;
    mark(&*store, seqs[0], seqs[0]).await;
    assert_eq!(store.trim(LATER, &[], Trimming::Age, ALL).await.unwrap().transactions, 0);
    let stand = |instance| Fact::Diverged { lane: LaneId::Catalog, instance, reason: "x".to_owned() };
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

/// This must hold however many of the oldest transactions must stay.
pub async fn what_must_stay_hides_nothing_that_may_go(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let lane = LaneId::Records(collection);
    record(&*store, vec![created(collection, "a", Seq::new(1))]).await;
    let stay = append(&*store, (0..1_200).map(|_| draft(lane, "x")).collect()).await;
    record(&*store, finished(&stay)).await;
    record(&*store, vec![progress(lane, "primary", stay[1_199])]).await;
    let go = finish(&*store, 3).await;
    mark(&*store, go[2], go[2]).await;
    assert_eq!(trim(&*store, 2).await, 2);
    assert_eq!(trim(&*store, 2).await, 1);
    assert_eq!(trim(&*store, 2).await, 0);
    assert_eq!(store.requests(&stay).await.unwrap().len(), stay.len());
    record(&*store, vec![progress(lane, "replica", stay[4])]).await;
    assert_eq!(trim(&*store, ALL).await, 5);
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
    // The same collection cannot come back. If it did, no progress and no floor of the old one would be left.
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

fn diverged(instance: &str, lane: LaneId) -> Fact {
    Fact::Diverged { lane, instance: InstanceName::new(instance), reason: "x".to_owned() }
}

pub async fn for_room_two_must_be_in_step(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 2).await;
    mark(&*store, seqs[1], seqs[1]).await;
    record(&*store, vec![diverged("replica", LaneId::Catalog)]).await;
    let capacity = async || store.trim(LATER, &instances(), Trimming::Capacity, ALL).await.unwrap();
    assert_eq!(capacity().await.transactions, 0, "the journal may be the second copy");
    let alone = store.trim(LATER, &instances()[1..], Trimming::Capacity, ALL).await.unwrap();
    assert_eq!(alone.transactions, 0, "the only one that is configured is not in step");
    let instance = InstanceName::new("replica");
    record(&*store, vec![Fact::InStep { lane: LaneId::Catalog, instance }]).await;
    let trimmed = capacity().await;
    assert_eq!(trimmed.transactions, 2);
    assert!(trimmed.bytes > 2 * 100, "{trimmed:?}");
}

pub async fn for_room_one_is_enough_if_one_alone_is_configured(bench: &impl Bench) {
    let store = bench.open();
    let seqs = finish(&*store, 3).await;
    mark(&*store, seqs[1], Seq::ZERO).await;
    let trimmed = store.trim(LATER, &instances()[..1], Trimming::Capacity, ALL).await.unwrap();
    assert_eq!(trimmed.transactions, 2, "not what it has yet to apply");
}

pub async fn what_is_held_is_told_by_lane_and_instance(bench: &impl Bench) {
    let store = bench.open();
    let (collection, gone) = (new_collection(), new_collection());
    let (lane, gone_lane) = (LaneId::Records(collection), LaneId::Records(gone));
    let drafts = vec![draft(lane, "body"), draft(lane, "body"), draft(gone_lane, "x"), draft(LaneId::Catalog, "x")];
    let seqs = append(&*store, drafts).await;
    let mut facts = finished(&seqs);
    facts.extend([created(collection, "a", Seq::new(1)), created(gone, "b", Seq::new(1))]);
    facts.push(Fact::Catalog(CatalogChange::CollectionDeleted { collection: gone }));
    facts.extend([progress(lane, "primary", seqs[1]), progress(lane, "replica", seqs[0]), diverged("replica", lane)]);
    record(&*store, facts).await;
    let mut held = store.held(&instances()).await.unwrap();
    held.sort_by_key(|held| held.lane);
    assert_eq!(held.iter().map(|held| held.lane).collect::<Vec<_>>(), [LaneId::Catalog, lane]);
    let shape = |at: usize| -> Vec<(&str, Seq, LaneState)> {
        held[at].places.iter().map(|place| (place.instance.as_str(), place.through, place.state)).collect()
    };
    assert_eq!(shape(0), [("primary", Seq::ZERO, LaneState::InStep), ("replica", Seq::ZERO, LaneState::InStep)]);
    assert_eq!(shape(1), [("primary", seqs[1], LaneState::InStep), ("replica", seqs[0], LaneState::Diverged)]);
    let [primary, replica] = &held[1].places[..] else { panic!("two places") };
    assert_eq!(primary.bytes_through, 2 * replica.bytes_through);
    assert_eq!(held[0].places[0].bytes_through, 0);
}

/// Eight finished transactions of 100 KB; the newer half ended just now.
async fn eight(store: &dyn Store, lane: LaneId) -> Vec<Seq> {
    let body: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
    let seqs = append(store, (0..8).map(|_| draft(lane, body)).collect()).await;
    let day = std::time::Duration::from_secs(86_400);
    let ended = |(index, seq): (usize, &Seq)| {
        let at = if index < 4 { Timestamp::now().before(3 * day) } else { Timestamp::now() };
        let (response_status, failure_reason) = (Some(201), None);
        let (timing_gap, executed_on) = (TimingGap::No, None);
        let status = Status::Completed;
        Fact::Status { seq: *seq, status, response_status, failure_reason, timing_gap, executed_on, at }
    };
    let mut facts: Vec<Fact> = seqs.iter().map(|seq| applied(*seq)).collect();
    facts.extend(seqs.iter().enumerate().map(ended));
    record(store, facts).await;
    seqs
}

pub async fn room_is_made_before_the_time_and_the_oldest_goes_first(bench: &impl Bench) {
    let store = bench.open();
    let (older, newer) = (new_collection(), new_collection());
    let (older, newer) = (LaneId::Records(older), LaneId::Records(newer));
    for lane in [older, newer] {
        let LaneId::Records(collection) = lane else { continue };
        record(&*store, vec![created(collection, &collection.to_string(), Seq::new(1))]).await;
    }
    for lane in [newer, older] {
        let seqs = eight(&*store, lane).await;
        let through = seqs[7];
        record(&*store, vec![progress(lane, "primary", through), progress(lane, "replica", through)]).await;
    }
    let used = store.used_bytes(0).await.unwrap();
    assert!(used > 1_600_000, "{used}");
    // The limit leaves room for eight or nine of the sixteen. The eight that ended three days ago go first.
    let options = RetentionOptions { max_bytes: used - 750_000, batch: 1, ..Default::default() };
    let room = make_room(&*store, &instances(), &options).await.unwrap();
    let capacity = room.capacity;
    assert!(capacity.used <= capacity.limit && capacity.held_back_by.is_none(), "{capacity:?}");
    let left: Vec<bool> = store
        .requests(&(1..=16).map(Seq::new).collect::<Vec<_>>())
        .await
        .unwrap()
        .iter()
        .map(|request| request.seq.get() % 8 == 0 || request.seq.get() % 8 > 4)
        .collect();
    assert!((8..=9).contains(&left.len()), "no more than needed: {}", left.len());
    assert!(left.iter().filter(|newer| **newer).count() == 8, "what ended just now stays");
    assert!(room.removed > 0 && room.leave.is_empty());
    // Within the limit there is nothing to do.
    assert_eq!(make_room(&*store, &instances(), &options).await.unwrap().capacity.held_back_by, None);
}

pub async fn a_journal_over_its_limit_names_who_holds_it(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let lane = LaneId::Records(collection);
    record(&*store, vec![created(collection, "a", Seq::new(1))]).await;
    let seqs = eight(&*store, lane).await;
    record(&*store, vec![progress(lane, "primary", seqs[7]), progress(lane, "replica", seqs[1])]).await;
    let options = RetentionOptions { max_bytes: 400_000, ..Default::default() };
    let room = make_room(&*store, &instances(), &options).await.unwrap();
    let capacity = room.capacity;
    assert_eq!(capacity.held_back_by, Some(InstanceName::new("replica")));
    assert!(capacity.used > capacity.limit);
    assert_eq!(store.requests(&seqs).await.unwrap().len(), 6, "what the replica lacks stays");
    assert!(room.leave.is_empty(), "of two instances none is left behind");
    // With a third instance that has everything, two others have it.
    let three = ["primary", "third", "replica"].map(InstanceName::new);
    record(&*store, vec![progress(lane, "third", seqs[7])]).await;
    let leave = make_room(&*store, &three, &options).await.unwrap().leave;
    assert_eq!(leave, [(lane, InstanceName::new("replica"))]);
    record(&*store, vec![diverged("replica", lane)]).await;
    let capacity = make_room(&*store, &three, &options).await.unwrap().capacity;
    assert!(capacity.used <= capacity.limit && capacity.held_back_by.is_none(), "{capacity:?}");
}
