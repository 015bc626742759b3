//! The two stores get the same batches and must end up equal. One records the facts one by one, the other folds them.

use std::sync::Arc;

use bytes::Bytes;
use testkit::postgres::Postgres;
use testkit::random::Random;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceName, LaneId, Scope, Seq, TransactionId};
use crate::journal::contract::{Bench, append, draft, instances, keyed, progress, record};
use crate::journal::sqlite::SqliteStore;
use crate::journal::{Batch, Draft, Fact, Lookup, Snapshot, Status, Store, StoredAnswer, TimingGap, Trimming};
use crate::order::{CatalogChange, LaneState, Origin, Verdict};

struct World {
    random: Random,
    collections: Vec<CollectionId>,
    last: u64,
    ids: Vec<TransactionId>,
}

impl World {
    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.random.below(2) == 0).then_some(value)
    }

    fn lane(&mut self) -> LaneId {
        let collection = *self.random.pick(&self.collections);
        *self.random.pick(&[LaneId::Catalog, LaneId::Records(collection)])
    }

    fn seq(&mut self) -> Seq {
        Seq::new(self.random.below(self.last + 3))
    }

    fn instance(&mut self) -> InstanceName {
        let name = *self.random.pick(&["primary", "replica", "former"]);
        InstanceName::new(name)
    }

    fn text(&mut self) -> String {
        self.random.pick(&["a", "b", "tenant", "nul \0", ""]).to_string()
    }

    fn scope(&mut self) -> Scope {
        Scope { tenant: self.text(), database: self.text() }
    }

    fn draft(&mut self) -> Draft {
        let lane = self.lane();
        let drafted = if self.random.below(8) == 0 {
            keyed(&self.text(), &Uuid::now_v7().to_string())
        } else {
            draft(lane, "a body")
        };
        self.ids.push(drafted.transaction_id);
        Draft { lane, ..drafted }
    }

    fn fact(&mut self) -> Fact {
        let seq = self.seq();
        match self.random.below(14) {
            0..=2 => Fact::Progress { lane: self.lane(), instance: self.instance(), through: seq },
            3 => {
                let reason = self.text();
                use LaneState::{Condemned, Contradicted, Diverged, InStep, Quarantined};
                let state = *self.random.pick(&[InStep, Diverged, Quarantined, Condemned, Contradicted]);
                let (lane, instance) = (self.lane(), self.instance());
                match state {
                    LaneState::InStep => Fact::InStep { lane, instance },
                    LaneState::Diverged => Fact::Diverged { lane, instance, reason },
                    LaneState::Quarantined => Fact::Quarantined { lane, instance, reason },
                    LaneState::Condemned => Fact::Condemned { lane, instance, reason },
                    LaneState::Contradicted => Fact::Contradicted { lane, instance, reason },
                }
            }
            4 | 5 => self.verdict(seq),
            6 => Fact::Resolved { seq, body: Bytes::from(self.text()) },
            7 | 8 => self.status(seq),
            9 => {
                let reason = self.text();
                let at = Timestamp::from_millis(i64::try_from(self.random.below(6_000)).unwrap());
                Fact::Retried { seq, reason, next_retry_at: self.maybe(at) }
            }
            10 => {
                let on = self.instance();
                Fact::Suspected { seq, on: self.maybe(on) }
            }
            11 => Fact::Lifted { seq },
            _ => Fact::Catalog(self.change()),
        }
    }

    fn verdict(&mut self, seq: Seq) -> Fact {
        let verdicts = [Verdict::Applied, Verdict::Rejected, Verdict::Void, Verdict::Abandoned, Verdict::Quarantined];
        let verdict = *self.random.pick(&verdicts);
        let (by, body) = (self.instance(), Bytes::from(self.text()));
        let answer = StoredAnswer { status: 200 + u16::try_from(self.random.below(9)).unwrap(), body };
        Fact::Verdict { seq, verdict, by: self.maybe(by), answer: self.maybe(answer) }
    }

    fn status(&mut self, seq: Seq) -> Fact {
        let (reason, on) = (self.text(), self.instance());
        Fact::Status {
            seq,
            status: *self.random.pick(&Status::ALL),
            response_status: self.maybe(503),
            failure_reason: self.maybe(reason),
            timing_gap: *self.random.pick(&[TimingGap::Yes, TimingGap::No]),
            executed_on: self.maybe(on),
            at: Timestamp::from_millis(i64::try_from(self.random.below(5_000)).unwrap()),
        }
    }

    fn change(&mut self) -> CatalogChange {
        let collection = *self.random.pick(&self.collections);
        match self.random.below(14) {
            0 => CatalogChange::TenantCreated { tenant: self.text() },
            1 => CatalogChange::DatabaseCreated {
                scope: self.scope(),
                database_id: Uuid::from_u128(u128::from(self.last)),
            },
            2 => CatalogChange::DatabaseDeleted { scope: self.scope() },
            3..=6 => {
                let (created, origin) = (self.seq(), *self.random.pick(&[Origin::Created, Origin::Adopted]));
                CatalogChange::CollectionCreated { collection, scope: self.scope(), name: self.text(), created, origin }
            }
            7 => CatalogChange::CollectionRenamed { collection, name: self.text() },
            8 => CatalogChange::CollectionDeleted { collection },
            9 | 10 => {
                let id = InstanceCollectionId::new(Uuid::from_u128(u128::from(self.random.below(99))));
                CatalogChange::Mapped { collection, instance: self.instance(), id }
            }
            11 | 12 => CatalogChange::Dimensioned { collection },
            _ => CatalogChange::Reset,
        }
    }

    fn batch(&mut self) -> Batch {
        let facts = (0..self.random.below(30)).map(|_| self.fact()).collect();
        let appends: Vec<Draft> = (0..self.random.below(6)).map(|_| self.draft()).collect();
        self.last += appends.len() as u64;
        Batch { appends, facts }
    }
}

/// A snapshot without the parts that two journals never share, in a fixed order.
fn shown(mut snapshot: Snapshot) -> String {
    snapshot.journal_id = Uuid::nil();
    snapshot.progress.sort_by_key(|row| (row.lane, row.instance.clone()));
    snapshot.floors.sort();
    for row in snapshot.collections.iter_mut().chain(&mut snapshot.departed) {
        row.mappings.sort();
    }
    format!("{snapshot:#?}")
}

async fn same(one: &dyn Store, other: &dyn Store, world: &World, what: &str) {
    for configured in [&instances()[..], &instances()[..1], &[InstanceName::new("former")]] {
        let (left, right) = (one.load(configured).await.unwrap(), other.load(configured).await.unwrap());
        assert_eq!(shown(left), shown(right), "{what}");
    }
    for id in &world.ids {
        let (left, right) = (one.transaction(&Lookup::Id(*id)).await, other.transaction(&Lookup::Id(*id)).await);
        assert_eq!(format!("{:?}", left.unwrap()), format!("{:?}", right.unwrap()), "{what}");
    }
    let all: Vec<Seq> = (0..=world.last).map(Seq::new).collect();
    let (left, right) = (one.requests(&all).await.unwrap(), other.requests(&all).await.unwrap());
    assert_eq!(format!("{left:?}"), format!("{right:?}"), "{what}");
    let (left, right) = (one.quarantines().await.unwrap(), other.quarantines().await.unwrap());
    assert_eq!(format!("{left:?}"), format!("{right:?}"), "{what}");
    let (left, right) = (one.totals().await.unwrap(), other.totals().await.unwrap());
    assert_eq!(left.by_status, right.by_status, "{what}");
}

#[tokio::test]
async fn folded_facts_are_what_facts_one_by_one_are() {
    let seed = std::env::var("TWIN_SEED").map_or_else(|_| u64::from(std::process::id()), |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let sqlite: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("journal.db")).unwrap());
    let server = Postgres::fresh();
    let postgres = server.open();
    let collections = (0..3).map(|_| crate::journal::contract::new_collection()).collect();
    let mut world = World { random: Random::new(seed), collections, last: 0, ids: Vec::new() };
    for round in 0..150 {
        let what = format!("TWIN_SEED={seed}, round {round}");
        let batch = world.batch();
        let positions = (sqlite.commit(batch.clone()).await.unwrap(), postgres.commit(batch).await.unwrap());
        assert_eq!(positions.0, positions.1, "{what}");
        let at = Timestamp::from_millis(i64::try_from(world.random.below(6_000)).unwrap());
        match world.random.below(12) {
            0 => {
                sqlite.begin(&instances(), at).await.unwrap();
                postgres.begin(&instances(), at).await.unwrap();
            }
            1 | 2 => {
                let most = u32::try_from(world.random.below(9)).unwrap();
                let why = *world.random.pick(&[Trimming::Age, Trimming::Capacity]);
                // Their bytes differ, because the two stores encode text differently.
                let left = sqlite.trim(at, &instances(), why, most).await.unwrap().transactions;
                let too = postgres.trim(at, &instances(), why, most).await.unwrap().transactions;
                assert_eq!(left, too, "{what}");
            }
            _ => {}
        }
        if round % 10 == 9 {
            same(&*sqlite, &*postgres, &world, &what).await;
        }
    }
}

#[tokio::test]
async fn what_every_configured_instance_has_is_marked_synced_once() {
    let server = Postgres::fresh();
    let store = server.open();
    store.begin(&instances(), Timestamp::from_millis(0)).await.unwrap();
    let lane = LaneId::Catalog;
    let seqs = append(&*store, (0..4).map(|_| draft(lane, "x")).collect()).await;
    let synced = || {
        server.sql(
            "SELECT string_agg(seq::text, ',' ORDER BY seq) FROM chroma_edge.transactions WHERE synced_at IS NOT NULL",
        )
    };
    record(&*store, vec![progress(lane, "primary", seqs[3]), progress(lane, "former", seqs[3])]).await;
    assert_eq!(synced(), "");
    record(&*store, vec![progress(lane, "replica", seqs[0]), progress(lane, "replica", seqs[1])]).await;
    assert_eq!(synced(), "1,2");
    let first = server.sql("SELECT synced_at FROM chroma_edge.transactions WHERE seq = 1");
    record(&*store, vec![progress(lane, "replica", seqs[2])]).await;
    assert_eq!(synced(), "1,2,3");
    assert_eq!(server.sql("SELECT synced_at FROM chroma_edge.transactions WHERE seq = 1"), first);
    store.begin(&instances()[..1], Timestamp::from_millis(0)).await.unwrap();
    assert_eq!(synced(), "1,2,3,4", "an instance that is no longer configured holds nothing back");
}
