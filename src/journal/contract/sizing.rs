//! How many bytes a transaction takes. Not a test, but how the numbers in docs/operations.md were measured.
//!
//! `cargo test --lib -- --ignored --nocapture bytes_per_transaction`

use super::*;

const COUNT: usize = 2_000;

/// Prints how many bytes a finished, synced transaction takes, by the size of its body.
pub async fn bytes_per_transaction(bench: &impl Bench) {
    let store = bench.open();
    store.begin(&instances(), MADE).await.unwrap();
    let lane = LaneId::Records(new_collection());
    for size in [300_usize, 1_000, 10_000, 100_000] {
        let before = store.totals().await.unwrap().bytes;
        let used = store.used_bytes(0).await.unwrap();
        let count = COUNT.min(200_000_000 / size);
        for _ in 0..count / 100 {
            // A document and floats as clients send them: text that compresses well, digits that hardly do.
            let floats = (0..size / 20).map(|_| format!("{:.6}", Uuid::new_v4().as_u128() as f64 / u128::MAX as f64));
            let floats = floats.collect::<Vec<_>>().join(",");
            let body = format!("{{\"embeddings\":[[{floats}]],\"documents\":[\"{}\"]}}", "word ".repeat(size / 10));
            let body = Bytes::from(body);
            let profile = Profile { bytes: body.len() as u64, ..draft(lane, "").profile };
            let draft = || Draft { body: body.clone(), profile, ..draft(lane, "") };
            let seqs = append(&*store, (0..100).map(|_| draft()).collect()).await;
            let mut facts = finished(&seqs);
            facts.extend(["primary", "replica"].map(|instance| progress(lane, instance, seqs[99])));
            record(&*store, facts).await;
        }
        let each = |after: u64, before: u64| after.saturating_sub(before) / count as u64;
        let (occupied, used) =
            (each(store.totals().await.unwrap().bytes, before), each(store.used_bytes(0).await.unwrap(), used));
        println!("body of about {size} bytes: {occupied} bytes on disk, {used} that count for the limit");
    }
}
