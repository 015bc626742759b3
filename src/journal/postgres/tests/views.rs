//! The operators' views on PostgreSQL, and what moving a journal to it keeps.

use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::support::store;
use crate::ids::{LaneId, Seq};
use crate::journal::contract::views::{self, Shell, Shown};
use crate::journal::contract::{self, append, applied, draft, instances, load, record};
use crate::journal::postgres::{DatabaseUrl, MoveError, PostgresOptions, bring_up_to_date, move_from, validate};
use crate::journal::sqlite::{Source, SqliteStore};
use crate::journal::{Compression, EventId, EventPage, EventScope, Status, Store};
use testkit::postgres::Postgres;

views::views_suite!(Postgres::fresh());

async fn shell(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Shell for Postgres {
    async fn ask(&self, statement: &str) -> Shown {
        let client = shell(&self.url()).await;
        client.simple_query("SET timezone = 'UTC'").await.unwrap();
        let (mut rows, mut changed) = (Vec::new(), 0);
        for message in client.simple_query(statement).await.unwrap() {
            match message {
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
                }
                SimpleQueryMessage::CommandComplete(count) if rows.is_empty() => changed = count,
                _ => {}
            }
        }
        Shown { rows, changed }
    }

    fn day_ago(&self) -> &'static str {
        "now() - interval '24 hours'"
    }

    fn hour(&self) -> &'static str {
        "date_trunc('hour', created_at)"
    }

    fn seconds(&self) -> &'static str {
        "extract(epoch FROM completed_at - created_at)"
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn bytes_per_transaction() {
    contract::sizing::bytes_per_transaction(&Postgres::fresh()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_the_name_of_a_view_stops_the_migration_and_nothing_is_changed() {
    let postgres = Postgres::fresh();
    postgres.ask("CREATE TABLE unified_wal_writes (x int)").await;
    let url = DatabaseUrl::parse(&postgres.url()).unwrap();
    let error = bring_up_to_date(&url).await.unwrap_err().to_string();
    assert!(error.contains("unified_wal_writes") && error.contains("rename it"), "{error}");
    let tables =
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'chroma_edge' AND tablename <> 'refinery_schema_history'";
    assert_eq!(postgres.ask(tables).await.rows[0][0].as_deref(), Some("0"));
    postgres.ask("ALTER TABLE unified_wal_writes RENAME TO old").await;
    bring_up_to_date(&url).await.unwrap();
}

/// Every row of a journal, in a form common to both stores.
async fn rows(journal: &impl Shell, tables: [(&str, &str); 7]) -> Vec<Vec<Vec<Option<String>>>> {
    let mut all = Vec::new();
    for (table, columns) in tables {
        all.push(journal.ask(&format!("SELECT {columns} FROM {table} ORDER BY 1, 2")).await.rows);
    }
    all
}

const SHARED: [(&str, &str); 7] = [
    (
        "unified_wal_writes",
        "created_at, write_id, method, path, executed_on, status, retry_count, error_message, synced_at, collection_id",
    ),
    (
        "emergency_transaction_log",
        "created_at, transaction_id, client_session, client_ip, status, failure_reason, response_status, response_data, completed_at, retry_count, operation_type, user_identifier",
    ),
    ("pending_recovery_transactions", "created_at, transaction_id, status"),
    (
        "collection_id_mapping",
        "collection_name, collection_id, primary_collection_id, replica_collection_id, created_at, updated_at, tenant, database",
    ),
    ("tenants", "tenant, tenant"),
    ("progress", "lane, instance, through, standing, reason"),
    ("floors", "lane, floor"),
];

/// All events, and how far they have been delivered.
async fn events(store: &dyn Store) -> (Vec<(EventId, Seq, Status)>, EventId, EventId, Option<EventId>) {
    let EventPage { events, last, forgotten, delivered } =
        store.events(&EventScope::All, EventId::FIRST, 1000).await.unwrap();
    let events = events.iter().map(|row| (row.event, row.transaction.seq, row.status)).collect();
    (events, last, forgotten, delivered)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_journal_is_the_same_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let store_of_file = SqliteStore::open(&path).unwrap();
    let seqs = contract::moving::fill(&store_of_file).await;
    let expected = format!("{:#?}", contract::moving::sorted(load(&store_of_file).await));
    let requests = format!("{:?}", store_of_file.requests(&seqs).await.unwrap());
    contract::record(&store_of_file, vec![crate::journal::Fact::Delivered(EventId::new(1))]).await;
    let told = events(&store_of_file).await;
    let postgres = Postgres::fresh();
    let url = DatabaseUrl::parse(&postgres.url()).unwrap();
    assert!(Source::open(&path).is_err(), "an edge works with it");
    drop(store_of_file);
    let source = Source::open(&path).unwrap();
    let moved = move_from(&source, &url).await.unwrap();
    assert!(moved.rows.iter().all(|(_, count)| *count > 0), "{moved:?}");
    drop(source);
    let file = contract::moving::File(path.clone());
    let in_postgres = SHARED.map(|(table, columns)| match table {
        "tenants" => ("chroma_edge.tenants", columns),
        "progress" => ("(SELECT lane, instance, through, standing, reason FROM chroma_edge.progress) AS p", columns),
        "floors" => ("chroma_edge.floors", columns),
        view => (view, columns),
    });
    let cut = |rows: Vec<Vec<Vec<Option<String>>>>| -> Vec<String> {
        // PostgreSQL writes `+00` after a timestamp, drops a fraction's trailing zeros, and cannot store U+0000.
        let text = |value: &Option<String>| {
            let text = value.clone().unwrap_or_default().replace('\0', "\u{2400}0");
            let time = text.trim_end_matches("+00");
            if time.len() >= 19 && time.as_bytes()[4] == b'-' && time.as_bytes()[10] == b' ' && time.contains('.') {
                return time.trim_end_matches('0').trim_end_matches('.').to_owned();
            }
            time.to_owned()
        };
        rows.iter().flatten().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect()
    };
    assert_eq!(cut(rows(&postgres, in_postgres).await), cut(rows(&file, SHARED).await));
    let again = Source::open(&path).unwrap();
    assert!(matches!(move_from(&again, &url).await, Err(MoveError::NotEmpty(_))), "once");
    let claimed = super::support::holder(&postgres.url(), "the new edge").await;
    assert_eq!(format!("{:#?}", contract::moving::sorted(load(&claimed).await)), expected);
    assert_eq!(format!("{:?}", claimed.requests(&seqs).await.unwrap()), requests);
    assert_eq!(events(&claimed).await, told, "a listener goes on where it was");
    // The journal continues at its last position.
    let last = load(&claimed).await.last;
    claimed.begin(&instances(), contract::LATER).await.unwrap();
    assert_eq!(append(&claimed, vec![draft(LaneId::Catalog, "next")]).await, [last.next()]);
    assert_eq!(validate(&url).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_come_back() {
    let postgres = Postgres::fresh();
    let options = PostgresOptions { compression: Compression::Zstd, ..super::support::options("zstd") };
    let written = store(&postgres.url(), options);
    crate::journal::Leadership::claim(&written).await.unwrap();
    let text: &'static str = Box::leak("again and again ".repeat(200).into_boxed_str());
    let seqs = append(&written, vec![draft(LaneId::Catalog, text)]).await;
    record(&written, vec![applied(seqs[0])]).await;
    let stored = postgres.ask("SELECT encoding, length(body) < 500 FROM chroma_edge.bodies").await.rows;
    assert_eq!(stored, [["zstd", "t"].map(|text| Some(text.to_owned())).to_vec()]);
    assert_eq!(written.requests(&seqs).await.unwrap()[0].body, text.as_bytes());
    let data = postgres.ask("SELECT data->>'encoding', data->>'bytes' FROM emergency_transaction_log").await.rows;
    assert_eq!(data, [["zstd", &text.len().to_string()].map(|text| Some(text.to_owned())).to_vec()]);
}
