//! The contract on SQLite, and what only a file can get wrong: locks, schema, disk space, a commit in doubt.

use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use super::writer::Command;
use super::{OpenError, SqliteOptions, SqliteStore};
use crate::ids::{LaneId, Seq};
use crate::journal::contract::views::{Shell, Shown};
use crate::journal::contract::{self, Bench, append, by_id, draft, load, record};
use crate::journal::{Batch, CommitError, Compression, Store, Trimming};

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
contract::views::views_suite!(File::new());

#[tokio::test]
#[ignore = "a measurement"]
async fn bytes_per_transaction() {
    contract::sizing::bytes_per_transaction(&File::new()).await;
}

impl Shell for File {
    async fn ask(&self, statement: &str) -> Shown {
        contract::moving::File(self.path()).ask(statement).await
    }

    fn day_ago(&self) -> &'static str {
        contract::moving::File(self.path()).day_ago()
    }

    fn hour(&self) -> &'static str {
        contract::moving::File(self.path()).hour()
    }

    fn seconds(&self) -> &'static str {
        contract::moving::File(self.path()).seconds()
    }
}

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
    assert!(matches!(error, OpenError::Newer { found: 99, known, .. } if known < 99), "{error}");
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
async fn a_probe_writes() {
    let file = File::new();
    let store = file.store();
    append(&store, vec![draft(LaneId::Catalog, "x")]).await;
    let wal = || std::fs::metadata(file.path().with_file_name("journal.db-wal")).unwrap().len();
    let before = wal();
    store.commit(Batch::default()).await.unwrap();
    assert_eq!(wal(), before, "a commit of nothing writes nothing, and shows nothing");
    store.probe().await.unwrap();
    assert!(wal() > before);
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
        let trimmed = store.trim(contract::LATER, &contract::instances(), Trimming::Age, 10).await.unwrap();
        assert_eq!(trimmed.transactions, 1);
    }
    assert_eq!(std::fs::metadata(file.path().with_file_name("journal.db-wal")).unwrap().len(), 0);
}

/// One partial index is for a certain lane. Without a setting of the connection, SQLite would prepare a statement again
/// for each lane.
#[tokio::test]
async fn a_statement_is_prepared_once_whatever_is_asked_for() {
    let file = File::new();
    let store = file.store();
    let ask = |connection: &Connection| {
        for sql in
            ["SELECT seq FROM transactions WHERE lane = ?1", "UPDATE transactions SET synced_at = 1 WHERE lane = ?1"]
        {
            let mut statement = connection.prepare_cached(sql).unwrap();
            for number in 0..10 {
                let lane = format!("lane {number}");
                if statement.readonly() {
                    assert!(!statement.exists([lane]).unwrap());
                } else {
                    statement.execute([lane]).unwrap();
                }
            }
            assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0, "{sql}");
        }
    };
    store.inspect(ask).await;
}

#[tokio::test]
async fn what_was_compressed_is_read_whatever_the_setting() {
    let file = File::new();
    let text: &'static str = Box::leak(format!("[\"{}\"]", "again and again ".repeat(200)).into_boxed_str());
    let zstd = SqliteOptions { compression: Compression::Zstd, ..SqliteOptions::default() };
    let store = SqliteStore::open_with(&file.path(), &zstd).unwrap();
    let seqs = append(&store, vec![draft(LaneId::Catalog, text), draft(LaneId::Catalog, "[]")]).await;
    drop(store);
    let stored = file.ask("SELECT encoding, length(body) < 500 FROM bodies ORDER BY seq").await.rows;
    let row = |values: [&str; 2]| values.map(|value| Some(value.to_owned())).to_vec();
    assert_eq!(stored, [row(["zstd", "1"]), row(["plain", "1"])]);
    let store = file.store();
    let requests = store.requests(&seqs).await.unwrap();
    assert_eq!(requests.iter().map(|request| request.body.len()).collect::<Vec<_>>(), [text.len(), 2]);
    let data = file.ask("SELECT data FROM emergency_transaction_log ORDER BY data").await.rows;
    assert_eq!(data[0][0].as_deref(), Some("[]"));
    let described = format!("{{\"encoding\":\"zstd\",\"bytes\":{}}}", text.len());
    assert_eq!(data[1][0].as_deref(), Some(described.as_str()));
    store
        .inspect(|connection| {
            connection.execute("UPDATE bodies SET body = x'28b52ffd00'", []).unwrap();
        })
        .await;
    assert!(store.requests(&seqs[..1]).await.unwrap_err().to_string().contains("damaged"));
}

#[test]
fn a_table_with_the_name_of_a_view_stops_the_migration_and_nothing_is_changed() {
    let file = File::new();
    std::fs::create_dir_all(file.path().parent().unwrap()).unwrap();
    Connection::open(file.path()).unwrap().execute("CREATE TABLE Unified_Wal_Writes (x)", []).unwrap();
    let error = SqliteStore::open(&file.path()).err().unwrap().to_string();
    assert!(error.contains("unified_wal_writes") && error.contains("rename it"), "{error}");
    let objects = || -> i64 {
        let connection = Connection::open(file.path()).unwrap();
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(objects(), 1);
    Connection::open(file.path()).unwrap().execute("ALTER TABLE unified_wal_writes RENAME TO old", []).unwrap();
    SqliteStore::open(&file.path()).unwrap();
}

#[tokio::test]
async fn what_differs_from_this_binarys_schema_is_named() {
    let file = File::new();
    let nothing = Vec::<String>::new();
    assert!(super::differences(&file.path()).unwrap()[0].starts_with("there is no journal at "));
    assert!(!file.path().parent().unwrap().exists(), "looking makes nothing");
    assert!(super::migrate(&file.path()).unwrap().len() > 2);
    assert_eq!(super::differences(&file.path()).unwrap(), nothing);
    let store = file.store();
    assert_eq!(super::differences(&file.path()).unwrap(), nothing, "while an edge is running");
    assert!(matches!(super::migrate(&file.path()), Err(OpenError::InUse { .. })));
    drop(store);
    assert_eq!(super::migrate(&file.path()).unwrap(), nothing);
    let files = || std::fs::read_dir(file.path().parent().unwrap()).unwrap().count();
    let before = files();
    for (change, expected) in [
        ("DROP TRIGGER unified_wal_writes_delete", "the trigger unified_wal_writes_delete is missing"),
        ("DROP VIEW collection_id_mapping", "the view collection_id_mapping is missing"),
        ("ALTER TABLE progress ADD COLUMN x TEXT", "the table progress is different: CREATE TABLE progress"),
        ("UPDATE refinery_schema_history SET checksum = '1' WHERE version = 2", "V2__operators is not what was"),
        ("DELETE FROM refinery_schema_history WHERE version = 1", "V1__journal has not been applied"),
    ] {
        Connection::open(file.path()).unwrap().execute(change, []).unwrap();
        let found = super::differences(&file.path()).unwrap();
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:?}");
        assert_eq!(files(), before);
    }
}

#[tokio::test]
async fn who_is_not_configured_any_more_is_not_waited_for() {
    let file = File::new();
    let store = file.store();
    store.begin(&contract::instances(), contract::MADE).await.unwrap();
    let seqs = append(&store, vec![draft(LaneId::Catalog, "x")]).await;
    record(&store, vec![contract::applied(seqs[0]), contract::progress(LaneId::Catalog, "primary", seqs[0])]).await;
    let synced = async || file.ask("SELECT status FROM unified_wal_writes").await.rows[0][0].clone().unwrap();
    assert_eq!(synced().await, "executed");
    store.begin(&contract::instances()[..1], contract::MADE).await.unwrap();
    assert_eq!(synced().await, "synced");
}
