//! Commits whose answer never arrived: what a lookup returns for them, and that this stays true.

use std::time::{Duration, Instant};

use super::support::{holder, options, store as store_on};
use crate::ids::{LaneId, Seq};
use crate::journal::contract::{append, draft, load, positions};
use crate::journal::postgres::{PostgresOptions, PostgresStore};
use crate::journal::{
    Batch, Claim, CommitError, Draft, Leadership, LeadershipError, Lookup, ReadError, Store, TransactionRow,
};
use testkit::commit_link::{AtCommit, CommitLink};
use testkit::postgres::Postgres;

/// A server, a link to it, and a store that holds the server's journal through the link.
async fn linked() -> (Postgres, CommitLink, PostgresStore) {
    let server = Postgres::fresh();
    let link = CommitLink::to(server.port());
    let store = holder(&server.url_at(link.port()), "the edge").await;
    (server, link, store)
}

async fn commit(store: &PostgresStore, draft: &Draft) -> Result<Vec<Seq>, CommitError> {
    store.commit(Batch { appends: vec![draft.clone()], facts: Vec::new() }).await
}

/// Appends, and expects a commit in doubt.
async fn doubt(store: &PostgresStore, draft: &Draft) {
    match commit(store, draft).await {
        Err(CommitError::InDoubt(_)) => {}
        other => panic!("{other:?}"),
    }
}

async fn look_up(store: &PostgresStore, draft: &Draft) -> Result<Option<TransactionRow>, ReadError> {
    store.transaction(&Lookup::Id(draft.transaction_id)).await
}

/// Looks the transaction up until there is an answer.
async fn answer(store: &PostgresStore, draft: &Draft) -> Option<TransactionRow> {
    let begun = Instant::now();
    loop {
        match look_up(store, draft).await {
            Ok(row) => return row,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_commit_cut_off_before_it_arrived_never_was() {
    let (_server, link, store) = linked().await;
    let written = draft(LaneId::Catalog, "x");
    link.at_commit(AtCommit::CutBefore);
    doubt(&store, &written).await;
    assert!(answer(&store, &written).await.is_none());
    assert_eq!(append(&store, vec![written.clone()]).await, [Seq::new(1)]);
    assert_eq!(positions(&load(&store).await), [Seq::new(1)]);
}

#[tokio::test]
async fn a_commit_whose_answer_was_cut_off_is_found() {
    let (_server, link, store) = linked().await;
    let written = draft(LaneId::Catalog, "x");
    link.at_commit(AtCommit::CutAfter);
    doubt(&store, &written).await;
    assert_eq!(answer(&store, &written).await.map(|row| row.seq), Some(Seq::new(1)));
    assert_eq!(append(&store, vec![draft(LaneId::Catalog, "y")]).await, [Seq::new(2)]);
    assert_eq!(positions(&load(&store).await), [1, 2].map(Seq::new));
}

#[tokio::test]
async fn wherever_a_commit_is_cut_its_lookup_is_right() {
    let (server, link, store) = linked().await;
    let mut expected = 0;
    for bytes in [0, 1, 20, 60, 500, 900, 1100, 1250, 1300] {
        let written = draft(LaneId::Catalog, "x");
        link.cut_after(bytes);
        match commit(&store, &written).await {
            Ok(_) => expected += 1,
            Err(_) => expected += i64::from(answer(&store, &written).await.is_some()),
        }
        let stored = server.sql("SELECT count(*) FROM chroma_edge.transactions");
        assert_eq!(stored, expected.to_string(), "cut after {bytes} bytes");
        assert_eq!(server.sql("SELECT count(*) FROM chroma_edge.bodies"), stored);
    }
}

#[tokio::test]
async fn what_was_kept_is_refused_after_a_lookup() {
    let server = Postgres::fresh();
    let link = CommitLink::to(server.port());
    // Two routes to the same server: the second one is used once the first swallows everything.
    let url = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", link.port(), server.port());
    let store = holder(&url, "the edge").await;
    append(&store, vec![draft(LaneId::Catalog, "before")]).await;
    let written = draft(LaneId::Catalog, "late");
    link.keep();
    doubt(&store, &written).await;
    assert!(answer(&store, &written).await.is_none());
    link.release();
    // What was held back arrives now. The server reports the outcome.
    testkit::place::wait_for("the late commit's end", Duration::from_secs(20), || {
        server.log().contains("the journal's epoch is").then_some(())
    });
    assert_eq!(server.sql("SELECT count(*) FROM chroma_edge.transactions"), "1");
    assert_eq!(append(&store, vec![written]).await, [Seq::new(2)]);
}

/// Commits until a commit is in doubt: a server that is reconfigured to wait for replicas starts doing so at some
/// point. Returns that commit and its position.
async fn until_in_doubt(store: &PostgresStore) -> (Draft, Seq, String) {
    let (begun, mut last) = (Instant::now(), load(store).await.last);
    loop {
        let written = draft(LaneId::Catalog, "hangs");
        match commit(store, &written).await {
            Ok(seqs) => last = seqs[0],
            Err(CommitError::InDoubt(text)) => return (written, Seq::new(last.get() + 1), text),
            Err(other) => panic!("{other}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not wait for replicas");
    }
}

#[tokio::test]
async fn a_lookup_waits_for_a_commit_that_hangs() {
    let server = Postgres::fresh();
    let store = holder(&server.url(), "the edge").await;
    append(&store, vec![draft(LaneId::Catalog, "before")]).await;
    // The replicas do not exist: a commit is durable on this server, and waits for them.
    without_its_replica(&server);
    let (written, seq, _) = until_in_doubt(&store).await;
    assert!(look_up(&store, &written).await.is_err(), "neither there nor not there");
    server.sql("ALTER SYSTEM RESET synchronous_standby_names");
    server.sql("SELECT pg_reload_conf()");
    assert_eq!(answer(&store, &written).await.map(|row| row.seq), Some(seq));
}

/// A store with longer time limits than a busy machine needs.
fn patient(server: &Postgres, name: &str) -> PostgresStore {
    store_on(&server.url(), PostgresOptions { term: Duration::from_secs(60), ..options(name) })
}

/// A store that holds the journal for as long as a test takes.
async fn long_holder(server: &Postgres) -> PostgresStore {
    let store = patient(server, "the edge");
    assert!(matches!(store.claim().await, Ok(Claim::Granted { .. })));
    store
}

/// From now on, commits wait for a replica that does not exist.
fn without_its_replica(server: &Postgres) {
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'absent'");
    server.sql("SELECT pg_reload_conf()");
}

/// Ends the wait of the next commit, which is then durable on this server only.
fn give_up_waiting(server: &Postgres) -> tokio::task::JoinHandle<()> {
    let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'chroma-edge'";
    let (url, bin) = (server.url(), server.psql_path());
    let sql = format!("SELECT pg_cancel_backend(pid) {waiting}");
    tokio::task::spawn_blocking(move || {
        testkit::place::wait_for("a commit that waits", Duration::from_secs(10), || {
            let output = std::process::Command::new(&bin).args(["-XAtq", "-c", &sql]).arg(&url).output().unwrap();
            (output.stdout == b"t\n").then_some(())
        });
    })
}

#[tokio::test]
async fn a_commit_that_stopped_waiting_for_replicas_is_in_doubt() {
    let server = Postgres::fresh();
    let store = holder(&server.url(), "the edge").await;
    append(&store, vec![draft(LaneId::Catalog, "before")]).await;
    without_its_replica(&server);
    let cancel = give_up_waiting(&server);
    let (written, seq, text) = until_in_doubt(&store).await;
    assert!(text.contains("replicas"), "{text}");
    cancel.await.unwrap();
    server.sql("ALTER SYSTEM RESET synchronous_standby_names");
    server.sql("SELECT pg_reload_conf()");
    assert_eq!(answer(&store, &written).await.map(|row| row.seq), Some(seq));
}

/// A commit that no replica has becomes readable once the server gives up waiting. A failover may not have it, and it
/// was never acknowledged: an edge that has read it must not conclude that the journal lost its tail.
#[tokio::test]
async fn what_was_read_and_never_acknowledged_is_not_missed() {
    const AS_IT_WAS: &str = "SET synchronous_commit = local; UPDATE chroma_edge.journal SET (commits, last_seq)";
    let server = Postgres::fresh();
    let store = long_holder(&server).await;
    append(&store, vec![draft(LaneId::Catalog, "before")]).await;
    let before = server.sql("SELECT (commits, last_seq) FROM chroma_edge.journal");
    let standby = patient(&server, "the standby");
    let held = Ok(Claim::Held { by: "the edge".to_owned() });
    assert_eq!(standby.claim().await, held);
    without_its_replica(&server);
    let cancel = give_up_waiting(&server);
    until_in_doubt(&store).await;
    cancel.await.unwrap();
    assert_ne!(server.sql("SELECT (commits, last_seq) FROM chroma_edge.journal"), before, "it is there to be read");
    for _ in 0..2 {
        assert_eq!(standby.claim().await, held);
        server.sql(&format!("{AS_IT_WAS} = ROW{before}"));
    }
}

#[tokio::test]
async fn a_renewal_that_no_replica_has_is_none() {
    let server = Postgres::fresh();
    let store = long_holder(&server).await;
    without_its_replica(&server);
    let cancel = give_up_waiting(&server);
    let begun = Instant::now();
    let renewed = loop {
        let renewed = store.renew().await;
        // The server starts waiting for replicas at some point.
        if renewed.is_err() || begun.elapsed() > Duration::from_secs(20) {
            break renewed;
        }
    };
    match renewed {
        Err(LeadershipError::Unavailable(why)) => assert!(why.contains("replica"), "{why}"),
        other => panic!("{other:?}"),
    }
    cancel.await.unwrap();
}

#[tokio::test]
async fn a_commit_that_hangs_delays_no_renewal_and_no_read() {
    let (_server, link, store) = linked().await;
    append(&store, vec![draft(LaneId::Catalog, "before")]).await;
    load(&store).await;
    link.at_commit(AtCommit::Keep);
    let written = draft(LaneId::Catalog, "hangs");
    let around = async {
        link.met().await;
        let begun = Instant::now();
        store.renew().await.unwrap();
        assert_eq!(load(&store).await.last, Seq::new(1));
        assert!(begun.elapsed() < Duration::from_secs(1), "while the commit hangs: {:?}", begun.elapsed());
    };
    tokio::join!(doubt(&store, &written), around);
}

#[tokio::test]
async fn a_refused_connection_leaves_nothing_in_doubt() {
    let (_server, link, store) = linked().await;
    append(&store, vec![draft(LaneId::Catalog, "before")]).await;
    link.refuse(true);
    link.cut();
    let written = draft(LaneId::Catalog, "x");
    let mut refused = commit(&store, &written).await;
    if matches!(refused, Err(CommitError::InDoubt(_))) {
        // The connection was cut after the first bytes had been handed over.
        refused = commit(&store, &written).await;
    }
    assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    link.refuse(false);
    assert_eq!(append(&store, vec![written]).await, [Seq::new(2)]);
}
