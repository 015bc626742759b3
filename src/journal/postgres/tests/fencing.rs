//! Who may write: claims, terms, takeovers, and what an edge that was taken over can still do.

use std::time::{Duration, Instant};

use super::support::{claimed, holder, options, store};
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::contract::{DONE, LATER, append, draft, finished, instances, load, positions, progress, record};
use crate::journal::postgres::{PostgresOptions, PostgresStore};
use crate::journal::{
    Batch, Claim, CommitError, Fact, LateWrite, Leadership, LeadershipError, LeaseTerm, Predecessor, Store, Trimming,
    retention,
};
use testkit::commit_link::{AtCommit, CommitLink};
use testkit::postgres::Postgres;

const TERM: Duration = Duration::from_millis(900);

fn brief(server: &Postgres, name: &str) -> PostgresStore {
    store(&server.url(), PostgresOptions { term: TERM, ..options(name) })
}

fn granted(claim: Claim) -> Predecessor {
    match claim {
        Claim::Granted { term: LeaseTerm::For(_), predecessor } => predecessor,
        other => panic!("{other:?}"),
    }
}

/// Claims until the lease is granted.
async fn take_over(store: &PostgresStore) -> Predecessor {
    let begun = Instant::now();
    loop {
        match store.claim().await {
            Ok(Claim::Held { by }) => assert!(begun.elapsed() < Duration::from_secs(20), "still held by {by}"),
            Ok(claim) => return granted(claim),
            Err(error @ LeadershipError::Unavailable(_)) => {
                assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn superseded<T: std::fmt::Debug>(result: Result<T, CommitError>) {
    match result {
        Err(CommitError::Superseded(by)) => assert_eq!(by, "the new one"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_edge_holds_it_and_the_next_waits_for_its_term() {
    let server = Postgres::fresh();
    let (old, new) = (brief(&server, "the old one"), brief(&server, "the new one"));
    assert_eq!(granted(claimed(&old).await.unwrap()), Predecessor::Gone);
    assert_eq!(claimed(&new).await.unwrap(), Claim::Held { by: "the old one".to_owned() });
    assert_eq!(granted(claimed(&old).await.unwrap()), Predecessor::Gone, "asking again is a renewal");
    assert_eq!(old.renew().await.unwrap(), LeaseTerm::For(TERM));
    let begun = Instant::now();
    assert_eq!(take_over(&new).await, Predecessor::MayLinger);
    assert!(begun.elapsed() >= TERM - Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(old.renew().await, Err(LeadershipError::Superseded { by: "the new one".to_owned() }));
}

/// No lease can be renewed while the database is away: the holder may ask first when it is back.
#[tokio::test]
async fn a_lease_that_ran_out_with_the_database_away_is_left_to_its_holder_for_a_moment() {
    let server = Postgres::fresh();
    let link = CommitLink::to(server.port());
    let (old, new) = (
        brief(&server, "the old one"),
        store(&server.url_at(link.port()), PostgresOptions { term: TERM, ..options("the new one") }),
    );
    take_over(&old).await;
    let held = Ok(Claim::Held { by: "the old one".to_owned() });
    assert_eq!(first_answer(&new).await, held);
    link.refuse(true);
    link.cut();
    let away = new.claim().await;
    assert!(matches!(away, Err(LeadershipError::Unavailable(_))), "{away:?}");
    testkit::place::wait_for("the end of the lease", Duration::from_secs(20), || {
        (server.sql("SELECT expires_at < clock_timestamp() FROM chroma_edge.lease") == "t").then_some(())
    });
    link.refuse(false);
    assert_eq!(first_answer(&new).await, held);
    assert_eq!(first_answer(&old).await.map(granted), Ok(Predecessor::Gone), "it holds the journal still");
    assert_eq!(take_over(&new).await, Predecessor::MayLinger, "it asks no more, and is not waited for");
}

/// The first answer of the database once it can be reached.
async fn first_answer(store: &PostgresStore) -> Result<Claim, LeadershipError> {
    for _ in 0..20 {
        match store.claim().await {
            Err(LeadershipError::Unavailable(_)) => {}
            answer => return answer,
        }
    }
    panic!("the database did not answer")
}

#[tokio::test]
async fn an_edge_that_was_taken_over_changes_nothing_any_more() {
    let server = Postgres::fresh();
    let (old, new) = (brief(&server, "the old one"), brief(&server, "the new one"));
    take_over(&old).await;
    let seqs = append(&old, vec![draft(LaneId::Catalog, "x"), draft(LaneId::Catalog, "y")]).await;
    record(&old, finished(&seqs)).await;
    let marks = instances().map(|instance| progress(LaneId::Catalog, instance.as_str(), seqs[1]));
    record(&old, marks.into()).await;
    take_over(&new).await;
    let before =
        server.sql("SELECT (SELECT count(*) FROM chroma_edge.transactions), j.* FROM chroma_edge.journal AS j");
    superseded(old.commit(Batch { appends: vec![draft(LaneId::Catalog, "z")], facts: Vec::new() }).await);
    let marks = vec![progress(LaneId::Catalog, "primary", Seq::new(9))];
    superseded(old.commit(Batch { appends: Vec::new(), facts: marks }).await);
    superseded(old.begin(&instances(), DONE).await);
    superseded(old.trim(LATER, &instances(), Trimming::Age, 10).await);
    let after = server.sql("SELECT (SELECT count(*) FROM chroma_edge.transactions), j.* FROM chroma_edge.journal AS j");
    assert_eq!(after, before);
    assert_eq!(append(&new, vec![draft(LaneId::Catalog, "z")]).await, [Seq::new(3)]);
    drop(old);
    assert_eq!(new.renew().await.unwrap(), LeaseTerm::For(TERM), "the old one has nothing to give back");
    assert_eq!(new.trim(LATER, &instances(), Trimming::Age, 10).await.unwrap().transactions, 2);
}

#[tokio::test]
async fn what_is_given_back_is_free_at_once() {
    let server = Postgres::fresh();
    let (old, new) = (brief(&server, "the old one"), brief(&server, "the new one"));
    take_over(&old).await;
    append(&old, vec![draft(LaneId::Catalog, "x")]).await;
    old.release().await;
    assert_eq!(granted(claimed(&new).await.unwrap()), Predecessor::Gone);
    let late = old.commit(Batch { appends: vec![draft(LaneId::Catalog, "late")], facts: Vec::new() }).await;
    assert!(matches!(late, Err(CommitError::Refused(_))), "{late:?}");
    drop(new);
    assert_eq!(granted(claimed(&old).await.unwrap()), Predecessor::Gone, "a store that ends gives it back");
    assert_eq!(append(&old, vec![draft(LaneId::Catalog, "y")]).await, [Seq::new(2)]);
}

/// Epoch and holder are both checked: a match of only one lets no commit through.
#[tokio::test]
async fn each_change_of_hands_raises_the_epoch_and_the_guard_wants_epoch_and_holder() {
    let server = Postgres::fresh();
    let (old, new) = (brief(&server, "the old one"), brief(&server, "the new one"));
    let epoch = || server.sql("SELECT epoch FROM chroma_edge.journal").parse::<i64>().unwrap();
    let refused = |epoch: &str, holder: &str| {
        let sql = format!("SELECT chroma_edge.guard({epoch}, {holder}, 0) FROM chroma_edge.journal");
        String::from_utf8(server.psql(&sql).stderr).unwrap().contains("the journal's epoch is")
    };
    take_over(&old).await;
    let first = epoch();
    assert!(!refused("epoch", "epoch_holder"));
    assert!(refused("epoch - 1", "epoch_holder"));
    assert!(refused("epoch", "gen_random_uuid()"));
    take_over(&new).await;
    let second = epoch();
    assert!(second > first, "{second}");
    // Released: whatever of it is still on its way is refused.
    new.release().await;
    assert!(epoch() > second);
    assert_eq!(server.sql("SELECT epoch_holder IS NULL FROM chroma_edge.journal"), "t");
}

#[tokio::test]
async fn a_term_that_ran_out_goes_on_when_nobody_came() {
    let server = Postgres::fresh();
    let store = brief(&server, "the edge");
    take_over(&store).await;
    server.sql("UPDATE chroma_edge.lease SET expires_at = now() - interval '1 hour'");
    assert_eq!(store.renew().await.unwrap(), LeaseTerm::For(TERM));
    assert_eq!(append(&store, vec![draft(LaneId::Catalog, "x")]).await, [Seq::new(1)]);
}

#[tokio::test]
async fn a_commit_half_sent_keeps_nobody_from_taking_over() {
    let server = Postgres::fresh();
    let link = CommitLink::to(server.port());
    let old = holder(&server.url_at(link.port()), "the old one").await;
    let new = store(&server.url(), options("the new one"));
    append(&old, vec![draft(LaneId::Catalog, "before")]).await;
    link.at_commit(AtCommit::Keep);
    let begun = Instant::now();
    let late = old.commit(Batch { appends: vec![draft(LaneId::Catalog, "late")], facts: Vec::new() });
    let (late, lingers) = tokio::join!(late, take_over(&new));
    assert!(matches!(late, Err(CommitError::InDoubt(_))), "{late:?}");
    assert_eq!(lingers, Predecessor::MayLinger);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    link.release();
    assert_eq!(append(&new, vec![draft(LaneId::Catalog, "after")]).await, [Seq::new(2)]);
    superseded(old.commit(Batch { appends: vec![draft(LaneId::Catalog, "later")], facts: Vec::new() }).await);
    assert_eq!(positions(&load(&new).await), [1, 2].map(Seq::new));
}

#[tokio::test]
async fn a_late_write_is_recorded_after_the_lease_is_lost_and_handled_once() {
    let server = Postgres::fresh();
    let (old, new) = (brief(&server, "the old one"), brief(&server, "the new one"));
    take_over(&old).await;
    take_over(&new).await;
    let late_write = LateWrite { lane: LaneId::Catalog, instance: InstanceName::new("replica") };
    old.report_late_writes(std::slice::from_ref(&late_write)).await.unwrap();
    let left = new.late_writes().await.unwrap();
    assert_eq!(left.iter().map(|(_, left)| left).collect::<Vec<_>>(), [&late_write]);
    superseded(old.commit(Batch { appends: Vec::new(), facts: vec![Fact::LateWriteHandled(left[0].0)] }).await);
    assert_eq!(new.late_writes().await.unwrap().len(), 1);
    record(&new, vec![Fact::LateWriteHandled(left[0].0)]).await;
    assert!(new.late_writes().await.unwrap().is_empty());
}

#[tokio::test]
async fn who_does_not_hold_it_commits_nothing() {
    let server = Postgres::fresh();
    drop(holder(&server.url(), "whoever made the tables").await);
    let store = store(&server.url(), options("the edge"));
    let refused = store.commit(Batch { appends: vec![draft(LaneId::Catalog, "x")], facts: Vec::new() }).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    let options = retention::RetentionOptions::default();
    assert_eq!(retention::round(&store, &instances(), &options, LATER).await.unwrap(), 0);
}

/// Makes the server's sessions read-only, or writable again.
fn set_read_only(server: &Postgres, value: &str) {
    server.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
    server.sql("SELECT pg_reload_conf()");
}

/// Renews until the answer is one of these; a session takes a while to pick up a changed setting.
async fn renewed(store: &PostgresStore, wanted: impl Fn(&Result<LeaseTerm, LeadershipError>) -> bool) {
    let begun = Instant::now();
    loop {
        let renewed = store.renew().await;
        if wanted(&renewed) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{renewed:?}");
    }
}

#[tokio::test]
async fn a_database_set_to_read_only_is_not_written_to() {
    let server = Postgres::fresh();
    let (store, other) = (brief(&server, "the edge"), brief(&server, "the other"));
    take_over(&store).await;
    append(&store, vec![draft(LaneId::Catalog, "before")]).await;
    assert!(matches!(claimed(&other).await, Ok(Claim::Held { .. })));
    set_read_only(&server, "on");
    let says = |text: &str| text.contains("read-only");
    renewed(&store, |renewed| matches!(renewed, Err(LeadershipError::Unavailable(text)) if says(text))).await;
    let refused = store.commit(Batch { appends: vec![draft(LaneId::Catalog, "x")], facts: Vec::new() }).await;
    assert!(matches!(&refused, Err(CommitError::Refused(text)) if says(text)), "{refused:?}");
    let mut claim = other.claim().await;
    while matches!(claim, Ok(Claim::Held { .. })) {
        tokio::time::sleep(TERM / 10).await;
        claim = other.claim().await;
    }
    assert!(matches!(&claim, Err(LeadershipError::Unavailable(text)) if says(text)), "{claim:?}");
    set_read_only(&server, "off");
    renewed(&store, Result::is_ok).await;
    assert_eq!(append(&store, vec![draft(LaneId::Catalog, "after")]).await, [Seq::new(2)]);
}

/// Puts the server's data back to a copy made between the first append and the second.
async fn put_back() -> (Postgres, PostgresStore) {
    let mut server = Postgres::durable();
    let store = holder(&server.url(), "the edge").await;
    append(&store, vec![draft(LaneId::Catalog, "kept")]).await;
    server.stop();
    let copy = server.copy();
    server.start();
    append(&store, vec![draft(LaneId::Catalog, "lost")]).await;
    server.kill();
    server.put_back(&copy);
    server.start();
    (server, store)
}

/// The journal stays halted until an operator clears it; positions already given out are not given out again.
async fn stays_halted(server: &Postgres, store: PostgresStore) {
    let next = super::support::store(&server.url(), options("the next one"));
    for store in [&store, &next] {
        let claim = store.claim().await;
        assert!(
            matches!(&claim, Err(LeadershipError::Unusable(text)) if text.contains("came back behind")),
            "{claim:?}"
        );
    }
    let refused = store.commit(Batch { appends: vec![draft(LaneId::Catalog, "x")], facts: Vec::new() }).await;
    assert!(matches!(&refused, Err(CommitError::Refused(text)) if text.contains("position 2")), "{refused:?}");
    server.sql("UPDATE chroma_edge.journal SET halted = NULL");
    drop(store);
    take_over(&next).await;
    assert_eq!(append(&next, vec![draft(LaneId::Catalog, "after")]).await, [Seq::new(3)]);
    assert_eq!(positions(&load(&next).await), [1, 3].map(Seq::new));
}

#[tokio::test]
async fn a_journal_that_comes_back_behind_is_found_by_a_commit() {
    let (server, store) = put_back().await;
    let refused = store.commit(Batch { appends: vec![draft(LaneId::Catalog, "x")], facts: Vec::new() }).await;
    assert!(matches!(&refused, Err(CommitError::Refused(text)) if text.contains("came back behind")), "{refused:?}");
    stays_halted(&server, store).await;
}

#[tokio::test]
async fn a_journal_that_comes_back_behind_is_found_by_a_renewal() {
    let (server, store) = put_back().await;
    let mut renewed = store.renew().await;
    if matches!(renewed, Err(LeadershipError::Unavailable(_))) {
        // That renewal used the connection that ended with the old server.
        renewed = store.renew().await;
    }
    assert!(
        matches!(&renewed, Err(LeadershipError::Unusable(text)) if text.contains("came back behind")),
        "{renewed:?}"
    );
    stays_halted(&server, store).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_of_the_server() {
    let mut server = Postgres::durable();
    let store = holder(&server.url(), "the edge").await;
    for round in 0..3_u64 {
        let seqs = append(&store, (0..10).map(|_| draft(LaneId::Catalog, "x")).collect()).await;
        server.kill();
        let refused = store.commit(Batch { appends: vec![draft(LaneId::Catalog, "x")], facts: Vec::new() }).await;
        assert!(refused.is_err(), "{refused:?}");
        server.start();
        let found = load(&store).await;
        assert_eq!((found.last, found.entries.len() as u64), (*seqs.last().unwrap(), (round + 1) * 10));
    }
}
