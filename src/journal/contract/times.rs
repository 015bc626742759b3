//! When collections and transactions were created, and collections last changed.

use super::*;

pub async fn collections_are_created_and_changed_at_their_moments(bench: &impl Bench) {
    let store = bench.open();
    let [old, gone] = [new_collection(), new_collection()];
    let before = Timestamp::now();
    record(&*store, vec![created(old, "old", Seq::new(1)), created(gone, "gone", Seq::new(2))]).await;
    let first = store.collection_times().await.unwrap();
    let of = |times: &[CollectionTimes], id| times.iter().find(|one| one.collection == id).copied();
    let made = of(&first, old).unwrap();
    assert!(made.created_at.is_some_and(|at| at >= before && at <= Timestamp::now()), "{made:?}");
    assert_eq!(made.updated_at, made.created_at);
    // The times are those of the commits, in milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let renamed = CatalogChange::CollectionRenamed { collection: old, name: "new".to_owned() };
    let deleted = CatalogChange::CollectionDeleted { collection: gone };
    record(&*store, [renamed, deleted].map(Fact::Catalog).into()).await;
    let then = store.collection_times().await.unwrap();
    let changed = of(&then, old).unwrap();
    assert_eq!(changed.created_at, made.created_at);
    assert!(changed.updated_at > made.updated_at, "{changed:?}");
    assert_eq!(of(&then, gone), None);
}

pub async fn transactions_are_journaled_at_theirs(bench: &impl Bench) {
    let store = bench.open();
    let (lane, at) = (LaneId::Records(new_collection()), Timestamp::from_millis(1_700_000_000_123));
    let drafts = vec![Draft { created_at: at, ..draft(lane, "one") }, draft(lane, "two")];
    let later = drafts[1].created_at;
    let seqs = append(&*store, drafts).await;
    let asked = [seqs[0], seqs[1], Seq::new(seqs[1].get() + 7)];
    assert_eq!(store.journaled_at(&asked).await.unwrap(), [(seqs[0], at), (seqs[1], later)]);
}
