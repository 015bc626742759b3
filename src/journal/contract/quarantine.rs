//! Quarantined entries stay until they are lifted, and the instance that died of an entry is recorded (rule R13).

use super::*;
use crate::order::RequestClass;

const LANE: LaneId = LaneId::Catalog;

/// A write that is not vouched for.
fn unusual(lane: LaneId) -> Draft {
    let plain = draft(lane, "unusual");
    let profile = Profile {
        kind: Kind::Delete,
        vouching: Vouching::Unvouched,
        conditions: Conditions::Metadata,
        ..plain.profile
    };
    Draft { profile, ..plain }
}

fn settled(seq: Seq, verdict: Verdict) -> Fact {
    Fact::Verdict { seq, verdict, by: Some(InstanceName::new("primary")), answer: None }
}

async fn listed(store: &dyn Store) -> Vec<Seq> {
    store.quarantines().await.unwrap().iter().map(|found| found.transaction.seq).collect()
}

pub async fn a_profile_comes_back_with_its_vouching(bench: &impl Bench) {
    let store = bench.open();
    let drafts = vec![unusual(LANE), draft(LANE, "x")];
    let profiles: Vec<Profile> = drafts.iter().map(|draft| draft.profile).collect();
    let seqs = append(&*store, drafts).await;
    let loaded = load(&*store).await;
    assert_eq!(loaded.entries.iter().map(|entry| entry.profile).collect::<Vec<_>>(), profiles);
    let requests = store.requests(&seqs).await.unwrap();
    assert_eq!(requests.iter().map(|request| request.profile).collect::<Vec<_>>(), profiles);
}

/// Such a write may still be quarantined, so no client may be answered before the verdict is durable.
pub async fn what_is_not_vouched_for_is_answered_when_it_is_durable(bench: &impl Bench) {
    let store = bench.open();
    let given = |plain: Draft| {
        let key = plain.transaction_id.to_string();
        Draft { client_key: Some(ClientKey { tenant: "t".to_owned(), key, fingerprint: [7; 32] }), ..plain }
    };
    append(&*store, vec![given(unusual(LANE)), given(draft(LANE, "x"))]).await;
    let policies: Vec<_> = load(&*store).await.entries.iter().map(|entry| entry.ack_policy).collect();
    assert_eq!(policies, [AckPolicy::Durable, AckPolicy::Applied]);
}

pub async fn who_died_of_an_open_entry_is_remembered(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, vec![unusual(LANE), unusual(LANE)]).await;
    let on = |name: &str| Some(InstanceName::new(name));
    let suspected = |seq: Seq, on| Fact::Suspected { seq, on };
    record(&*store, vec![suspected(seqs[0], on("primary")), suspected(seqs[1], on("replica"))]).await;
    record(&*store, vec![suspected(seqs[0], None), suspected(seqs[0], on("replica")), suspected(seqs[1], None)]).await;
    record(&*store, vec![suspected(Seq::new(77), on("primary"))]).await;
    drop(store);
    let loaded = load(&*bench.open()).await;
    assert_eq!(loaded.entries.iter().map(|row| row.suspect_on.clone()).collect::<Vec<_>>(), [on("replica"), None]);
}

pub async fn what_is_quarantined_is_listed_until_it_is_lifted(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, vec![unusual(LANE), unusual(LANE), draft(LANE, "x")]).await;
    record(&*store, seqs[..2].iter().map(|seq| settled(*seq, Verdict::Quarantined)).collect()).await;
    // The first verdict stays, in the same commit and in a later one.
    record(&*store, vec![applied(seqs[2]), settled(seqs[2], Verdict::Quarantined)]).await;
    drop(store);
    let store = bench.open();
    let class = RequestClass { kind: Kind::Delete, conditions: Conditions::Metadata };
    assert_eq!(load(&*store).await.quarantined, [(LANE, seqs[0], class), (LANE, seqs[1], class)]);
    let found = store.quarantines().await.unwrap();
    assert_eq!(found.iter().map(|found| found.transaction.seq).collect::<Vec<_>>(), seqs[..2]);
    assert_eq!((found[0].conditions, found[0].transaction.verdict), (Conditions::Metadata, Some(Verdict::Quarantined)));
    record(&*store, vec![Fact::Lifted { seq: seqs[0] }, Fact::Lifted { seq: Seq::new(77) }]).await;
    assert_eq!(listed(&*store).await, [seqs[1]]);
    // The same fact again, as after a commit in doubt.
    record(&*store, vec![settled(seqs[0], Verdict::Quarantined)]).await;
    assert_eq!(listed(&*store).await, [seqs[1]], "lifted once and for all");
}

pub async fn retention_keeps_what_is_quarantined_and_goes_on_behind_it(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, vec![draft(LANE, "x"), unusual(LANE), draft(LANE, "x"), draft(LANE, "x")]).await;
    let mut facts = vec![settled(seqs[1], Verdict::Quarantined), status(seqs[1], Status::Completed)];
    facts.extend(finished(&[seqs[0], seqs[2], seqs[3]]));
    facts.extend([progress(LANE, "primary", seqs[3]), progress(LANE, "replica", seqs[3])]);
    record(&*store, facts).await;
    let trim = async |most| store.trim(LATER, &instances(), Trimming::Age, most).await.unwrap().transactions;
    assert_eq!(trim(2).await, 2);
    assert_eq!(trim(10).await, 1);
    assert_eq!(trim(1).await, 0, "what stays is in nobody's way");
    let body = store.requests(&seqs).await.unwrap();
    assert_eq!(
        body.iter().map(|request| (request.seq, request.body.clone())).collect::<Vec<_>>(),
        [(seqs[1], Bytes::from_static(b"unusual"))]
    );
    let loaded = load(&*store).await;
    assert!(loaded.entries.is_empty());
    assert_eq!(loaded.floors, [(LANE, seqs[3])]);
    record(&*store, vec![Fact::Lifted { seq: seqs[1] }]).await;
    assert_eq!(trim(10).await, 1);
}

pub async fn a_quarantine_goes_with_its_collection(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let lane = LaneId::Records(collection);
    record(&*store, vec![created(collection, "a", Seq::new(1))]).await;
    let seq = append(&*store, vec![unusual(lane)]).await[0];
    record(&*store, vec![settled(seq, Verdict::Quarantined), status(seq, Status::Completed)]).await;
    assert_eq!((listed(&*store).await, load(&*store).await.quarantined.len()), (vec![seq], 1));
    record(&*store, vec![Fact::Catalog(CatalogChange::CollectionDeleted { collection })]).await;
    assert_eq!((listed(&*store).await, load(&*store).await.quarantined.len()), (vec![], 0));
    assert_eq!(store.trim(LATER, &instances(), Trimming::Age, 10).await.unwrap().transactions, 1);
}

pub async fn a_quarantined_copy_stays_so_until_it_is_diverged_or_in_step(bench: &impl Bench) {
    let store = bench.open();
    let instance = InstanceName::new("primary");
    let state = async || load(&*store).await.progress.remove(0).state;
    let reason = "died".to_owned();
    let quarantined = Fact::Quarantined { lane: LANE, instance: instance.clone(), reason: reason.clone() };
    record(&*store, vec![progress(LANE, "primary", Seq::new(4)), quarantined.clone()]).await;
    let row = load(&*store).await.progress.remove(0);
    assert_eq!((row.through, row.state, row.reason), (Seq::new(4), LaneState::Quarantined, Some(reason.clone())));
    record(&*store, vec![Fact::Diverged { lane: LANE, instance: instance.clone(), reason }]).await;
    assert_eq!(state().await, LaneState::Diverged);
    record(&*store, vec![quarantined, Fact::InStep { lane: LANE, instance: instance.clone() }]).await;
    assert_eq!(state().await, LaneState::InStep);
    let (reason, wrong) = ("wrong".to_owned(), instance.clone());
    record(&*store, vec![Fact::Condemned { lane: LANE, instance, reason: reason.clone() }]).await;
    assert_eq!(state().await, LaneState::Condemned);
    record(&*store, vec![Fact::Contradicted { lane: LANE, instance: wrong, reason }]).await;
    assert_eq!(state().await, LaneState::Contradicted);
}
