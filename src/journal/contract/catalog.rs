//! The catalog: every change, applied once or repeatedly.

use super::*;
use crate::ids::InstanceCollectionId;

fn shape(snapshot: &Snapshot) -> (Vec<String>, Vec<(Scope, Uuid)>, Vec<String>) {
    let collections = snapshot.collections.iter().map(|row| format!("{row:?}")).collect();
    (snapshot.tenants.clone(), snapshot.databases.clone(), collections)
}

fn defaults() -> (Vec<String>, Vec<(Scope, Uuid)>, Vec<String>) {
    let scope = Scope::new("default_tenant", "default_database");
    (vec!["default_tenant".to_owned()], vec![(scope, Uuid::nil())], Vec::new())
}

pub async fn a_new_journal_has_the_defaults(bench: &impl Bench) {
    let snapshot = load(&*bench.open()).await;
    assert_eq!(shape(&snapshot), defaults());
    assert_eq!(snapshot.last, Seq::ZERO);
    assert!(snapshot.entries.is_empty() && snapshot.progress.is_empty() && snapshot.floors.is_empty());
}

fn story(collection: CollectionId) -> Vec<CatalogChange> {
    let scope = Scope::new("tenant", "database");
    let (created, origin) = (Seq::new(9), Origin::Adopted);
    vec![
        CatalogChange::TenantCreated { tenant: "tenant".to_owned() },
        CatalogChange::DatabaseCreated { scope: scope.clone(), database_id: Uuid::from_u128(5) },
        CatalogChange::CollectionCreated { collection, scope, name: "a".to_owned(), created, origin },
        CatalogChange::Mapped {
            collection,
            instance: InstanceName::new("primary"),
            id: InstanceCollectionId::new(Uuid::from_u128(6)),
        },
        CatalogChange::CollectionRenamed { collection, name: "b".to_owned() },
        CatalogChange::Dimensioned { collection },
    ]
}

pub async fn changes_are_idempotent(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let facts: Vec<_> = story(collection).into_iter().map(Fact::Catalog).collect();
    record(&*store, facts.clone()).await;
    let once = load(&*store).await;
    let row = &once.collections[0];
    assert_eq!((row.collection, row.name.as_str(), row.created), (collection, "b", Seq::new(9)));
    assert_eq!((row.origin, row.dimensioned, row.scope.tenant.as_str()), (Origin::Adopted, true, "tenant"));
    let mapping = (InstanceName::new("primary"), InstanceCollectionId::new(Uuid::from_u128(6)));
    assert_eq!(row.mappings, [mapping]);
    record(&*store, facts).await;
    assert_eq!(shape(&load(&*store).await), shape(&once));
    for _ in 0..2 {
        record(&*store, vec![Fact::Catalog(CatalogChange::CollectionDeleted { collection })]).await;
        assert!(load(&*store).await.collections.is_empty());
    }
}

pub async fn deleting_a_database_deletes_its_collections(bench: &impl Bench) {
    let store = bench.open();
    let mut facts: Vec<_> = story(new_collection()).into_iter().map(Fact::Catalog).collect();
    let elsewhere = new_collection();
    facts.push(created(elsewhere, "elsewhere", Seq::new(10)));
    facts.push(Fact::Catalog(CatalogChange::DatabaseDeleted { scope: Scope::new("tenant", "database") }));
    record(&*store, facts).await;
    let snapshot = load(&*store).await;
    assert_eq!(snapshot.databases, defaults().1);
    assert_eq!(snapshot.collections.iter().map(|row| row.collection).collect::<Vec<_>>(), [elsewhere]);
    assert_eq!(snapshot.tenants, ["default_tenant", "tenant"]);
}

pub async fn a_reset_leaves_the_defaults(bench: &impl Bench) {
    let store = bench.open();
    let mut facts: Vec<_> = story(new_collection()).into_iter().map(Fact::Catalog).collect();
    let scope = Scope::new("default_tenant", "default_database");
    facts.push(Fact::Catalog(CatalogChange::DatabaseDeleted { scope }));
    facts.push(Fact::Catalog(CatalogChange::Reset));
    record(&*store, facts).await;
    assert_eq!(shape(&load(&*store).await), defaults());
}

pub async fn a_mapping_of_a_deleted_collection_is_nothing(bench: &impl Bench) {
    let store = bench.open();
    let late = story(new_collection()).into_iter().filter(|change| matches!(change, CatalogChange::Mapped { .. }));
    record(&*store, late.map(Fact::Catalog).collect()).await;
    assert_eq!(shape(&load(&*store).await), defaults());
}

pub async fn a_deleted_collections_lane_is_not_loaded(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let lane = LaneId::Records(collection);
    let seqs = append(&*store, vec![draft(lane, "settled"), draft(lane, "open")]).await;
    record(&*store, vec![created(collection, "a", Seq::new(1)), applied(seqs[0])]).await;
    record(&*store, vec![progress(lane, "primary", seqs[0]), progress(lane, "replica", seqs[0])]).await;
    record(&*store, vec![Fact::Catalog(CatalogChange::CollectionDeleted { collection })]).await;
    let snapshot = load(&*store).await;
    assert_eq!(positions(&snapshot), [seqs[1]], "an entry without a verdict is never left out");
    assert_eq!(snapshot.progress.len(), 2);
    record(&*store, vec![Fact::Verdict { seq: seqs[1], verdict: Verdict::Void, by: None, answer: None }]).await;
    let snapshot = load(&*store).await;
    assert!(snapshot.entries.is_empty() && snapshot.progress.is_empty());
}

pub async fn a_deleted_collection_is_remembered_until_trimmed(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, vec![draft(LaneId::Catalog, "made"), draft(LaneId::Catalog, "deleted")]).await;
    let (id, instance) = (CollectionId::new(Uuid::from_u128(5)), InstanceName::new("primary"));
    let created = CatalogChange::CollectionCreated {
        collection: id,
        scope: Scope::new("default_tenant", "default_database"),
        name: "gone".to_owned(),
        created: seqs[0],
        origin: Origin::Created,
    };
    let on_instance = crate::ids::InstanceCollectionId::new(Uuid::from_u128(6));
    let mapped = CatalogChange::Mapped { collection: id, instance: instance.clone(), id: on_instance };
    let deleted = CatalogChange::CollectionDeleted { collection: id };
    record(&*store, [created, mapped, deleted].map(Fact::Catalog).into()).await;
    let snapshot = load(&*store).await;
    assert!(snapshot.collections.is_empty());
    let departed = &snapshot.departed[0];
    assert_eq!((departed.deleted, &departed.mappings), (Some(seqs[1]), &vec![(instance, on_instance)]));
    let configured = instances();
    for name in &configured {
        assert_eq!(load(&*store).await.departed.len(), 1, "{name} has yet to execute the deletion");
        record(&*store, vec![progress(LaneId::Catalog, name.as_str(), seqs[1])]).await;
        store.trim(LATER, &configured, Trimming::Age, 10).await.unwrap();
    }
    assert!(load(&*store).await.departed.is_empty());
}
