//! The contract on SQLite, and what only a file can get wrong: locks, schema, room, a commit in doubt.

use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use super::writer::Command;
use super::{OpenError, SqliteStore};
use crate::ids::{LaneId, Seq};
use crate::journal::contract::{self, Bench, append, by_id, draft, load, record};
use crate::journal::{Batch, CommitError, Store};

struct File(TempDir);

impl File {
    fn new() -> File {
        File(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("deep/er/journal.db")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).unwrap()
    }
}

impl Bench for File {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store())
    }
}

contract::contract_suite!(File::new());

impl SqliteStore {
    /// Runs `look` on the writing connection, on its thread.
    async fn inspect(&self, look: impl FnOnce(&Connection) + Send + 'static) {
        self.ask(|reply| Command::Inspect { look: Box::new(look), reply }).await.unwrap();
    }
}

#[test]
fn a_second_edge_is_refused_and_told_which_file() {
    let file = File::new();
    let first = file.store();
    let error = SqliteStore::open(&file.path()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("deep/er/journal.db"), "{error}");
    let other_spelling = file.0.path().join("deep/../deep/er/journal.db");
    assert!(matches!(SqliteStore::open(&other_spelling).err(), Some(OpenError::InUse { .. })));
    drop(first);
    SqliteStore::open(&file.path()).unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let file = File::new();
    drop(file.store());
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (99, 'x', '', '0')";
    Connection::open(file.path()).unwrap().execute(newer, []).unwrap();
    let error = SqliteStore::open(&file.path()).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 99, known: 6, .. }), "{error}");
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_alone() {
    let file = File::new();
    drop(file.store());
    let text = "this is not a database, and far too precious to be written over".repeat(100);
    std::fs::write(file.path(), &text).unwrap();
    let error = SqliteStore::open(&file.path()).err().unwrap();
    assert!(matches!(error, OpenError::Database { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), text);
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let file = File::new();
    let store = file.store();
    append(&store, vec![draft(LaneId::Catalog, "x")]).await;
    for name in ["journal.db", "journal.db-wal", "journal.db.lock"] {
        let mode = std::fs::metadata(file.path().with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn every_commit_is_flushed() {
    let file = File::new();
    let store = file.store();
    store
        .inspect(|connection| {
            let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!((pragma("synchronous"), pragma("foreign_keys")), (2, 1));
            let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        })
        .await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let file = File::new();
    let store = file.store();
    let seq = append(&store, vec![draft(LaneId::Catalog, "x")]).await[0];
    store.inspect(|connection| connection.pragma_update(None, "max_page_count", 1).unwrap()).await;
    let big = draft(LaneId::Catalog, Box::leak("x".repeat(1 << 20).into_boxed_str()));
    match store.commit(Batch { appends: vec![big.clone()], facts: Vec::new() }).await {
        Err(CommitError::Refused(text)) => assert!(text.contains("the disk is full"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(by_id(&store, big.transaction_id).await.is_none());
    store.inspect(|connection| connection.pragma_update(None, "max_page_count", 1 << 30).unwrap()).await;
    assert_eq!(append(&store, vec![big]).await, [seq.next()]);
}

#[tokio::test]
async fn reads_do_not_wait_for_the_writer() {
    let file = File::new();
    let store = file.store();
    append(&store, vec![draft(LaneId::Catalog, "x")]).await;
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begun, begin) = tokio::sync::oneshot::channel();
    let hold = store.inspect(move |connection| {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        begun.send(()).unwrap();
        held.recv().unwrap();
        connection.execute_batch("ROLLBACK").unwrap();
    });
    let read = async {
        begin.await.unwrap();
        assert_eq!(load(&store).await.last, Seq::new(1));
        release.send(()).unwrap();
    };
    tokio::join!(hold, read);
}

#[tokio::test]
async fn a_doubt_is_over_before_a_lookup_answers() {
    let file = File::new();
    let store = file.store();
    let written = draft(LaneId::Catalog, "x");
    append(&store, vec![written.clone()]).await;
    store.doubt.store(true, std::sync::atomic::Ordering::Release);
    let fence = |expected: i64| {
        move |connection: &Connection| {
            let fence: i64 = connection.query_row("SELECT fence FROM meta", [], |row| row.get(0)).unwrap();
            assert_eq!(fence, expected);
        }
    };
    store.inspect(fence(0)).await;
    assert!(by_id(&store, written.transaction_id).await.is_some());
    store.inspect(fence(1)).await;
    by_id(&store, written.transaction_id).await;
    store.inspect(fence(1)).await;
    store.doubt.store(true, std::sync::atomic::Ordering::Release);
    store.inspect(|connection| connection.pragma_update(None, "query_only", true).unwrap()).await;
    let lookup = crate::journal::Lookup::Id(written.transaction_id);
    assert!(store.transaction(&lookup).await.is_err(), "no answer while the doubt lasts");
}

#[tokio::test]
async fn the_log_is_given_back_after_many_trims() {
    let file = File::new();
    let store = file.store();
    for _ in 0..16 {
        let seqs = append(&store, vec![draft(LaneId::Catalog, "x")]).await;
        let mut facts = contract::finished(&seqs);
        facts.extend(contract::instances().map(|instance| crate::journal::Fact::Progress {
            lane: LaneId::Catalog,
            instance,
            through: seqs[0],
        }));
        record(&store, facts).await;
        assert!(std::fs::metadata(file.path().with_file_name("journal.db-wal")).unwrap().len() > 0);
        let trimmed = store.trim(contract::LATER, &contract::instances(), 10).await.unwrap();
        assert_eq!(trimmed.transactions, 1);
    }
    assert_eq!(std::fs::metadata(file.path().with_file_name("journal.db-wal")).unwrap().len(), 0);
}
