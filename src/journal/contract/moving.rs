//! A journal that contains some of everything, and a file's tables as a shell shows them: for tests that move a
//! journal.

use rusqlite::types::Value;

use super::views::{Shell, Shown};
use super::*;

/// Fills the store. Returns the positions of transactions that still have bodies.
pub(in crate::journal) async fn fill(store: &dyn Store) -> Vec<Seq> {
    store.begin(&instances(), MADE).await.unwrap();
    let (collection, gone) = (new_collection(), new_collection());
    let lane = LaneId::Records(collection);
    let strange = Draft {
        body: Bytes::from_static(b"\xff\0"),
        user_identifier: Some("nul \0 in a name".to_owned()),
        ..draft(lane, "")
    };
    let mut limited = draft(lane, "{\"limit\": 1}");
    limited.profile = Profile {
        kind: Kind::DeleteLimited,
        merge: None,
        bytes: 12,
        priority: Priority::Low,
        vouching: Vouching::Unvouched,
        conditions: Conditions::Both,
    };
    let drafts = vec![draft(LaneId::Catalog, "{}"), keyed("tenant", "key"), strange, limited, draft(lane, "{}")];
    let seqs = append(store, drafts).await;
    let id = InstanceCollectionId::new(Uuid::now_v7());
    let (catalog, replica) = (LaneId::Catalog, InstanceName::new("replica"));
    let mut facts = finished(&seqs[..2]);
    facts.extend([
        created(collection, "things", seqs[0]),
        created(gone, "gone", seqs[1]),
        Fact::Catalog(CatalogChange::TenantCreated { tenant: "another".to_owned() }),
        Fact::Catalog(CatalogChange::Mapped { collection, instance: replica.clone(), id }),
        Fact::Catalog(CatalogChange::Dimensioned { collection }),
        Fact::Catalog(CatalogChange::CollectionDeleted { collection: gone }),
        progress(catalog, "primary", seqs[1]),
        progress(catalog, "replica", seqs[0]),
        progress(lane, "primary", seqs[2]),
        Fact::Diverged { lane, instance: replica, reason: "because".to_owned() },
        Fact::Resolved { seq: seqs[3], body: Bytes::from_static(b"ids") },
        applied(seqs[2]),
        status(seqs[2], Status::Failed),
        Fact::Verdict {
            seq: seqs[4],
            verdict: Verdict::Quarantined,
            by: Some(InstanceName::new("primary")),
            answer: None,
        },
        Fact::Marked { instance: InstanceName::new("primary"), generation: Generation::new(3) },
        Fact::Suspected { seq: seqs[3], on: Some(InstanceName::new("primary")) },
        Fact::Retried { seq: seqs[3], reason: "x".to_owned(), next_retry_at: Some(LATER) },
    ]);
    record(store, facts).await;
    store.note_fault(lane, "a fault", DONE).await.unwrap();
    assert_eq!(store.trim(LATER, &instances(), Trimming::Age, 10).await.unwrap().transactions, 1);
    seqs[1..].to_vec()
}

/// Sorts the parts of the snapshot that have no order of their own.
pub(in crate::journal) fn sorted(mut snapshot: Snapshot) -> Snapshot {
    snapshot.progress.sort_by(|a, b| (a.lane, &a.instance).cmp(&(b.lane, &b.instance)));
    snapshot.floors.sort_unstable();
    snapshot.tenants.sort_unstable();
    snapshot
}

/// A journal file.
pub(in crate::journal) struct File(pub std::path::PathBuf);

impl Bench for File {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(crate::journal::sqlite::SqliteStore::open(&self.0).unwrap())
    }
}

impl Shell for File {
    async fn ask(&self, statement: &str) -> Shown {
        let connection = rusqlite::Connection::open(&self.0).unwrap();
        let mut prepared = connection.prepare(statement).unwrap();
        let columns = prepared.column_count();
        let text = |row: &rusqlite::Row<'_>, column| match row.get_unwrap::<_, Value>(column) {
            Value::Null => None,
            Value::Integer(number) => Some(number.to_string()),
            Value::Real(number) => Some(number.to_string()),
            Value::Text(text) => Some(text),
            Value::Blob(_) => panic!("{statement}: bytes"),
        };
        let read = |row: &rusqlite::Row<'_>| Ok((0..columns).map(|column| text(row, column)).collect());
        let rows = prepared.query_map([], read).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        Shown { rows, changed: connection.changes() }
    }

    fn day_ago(&self) -> &'static str {
        "datetime('now', '-24 hours')"
    }

    fn hour(&self) -> &'static str {
        "strftime('%Y-%m-%d %H:00', created_at)"
    }

    fn seconds(&self) -> &'static str {
        "(julianday(completed_at) - julianday(created_at)) * 86400"
    }
}
