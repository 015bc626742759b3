//! Properties: runs contain only what may share a request, and folding a change twice has no further effect.

use proptest::prelude::*;

use super::*;

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Add), Just(Kind::Upsert), Just(Kind::Update), Just(Kind::Delete)]
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let encoding = prop_oneof![Just(Encoding::Floats), Just(Encoding::Base64), Just(Encoding::Absent)];
    let merge =
        proptest::option::weighted(0.9, (0u32..40, encoding).prop_map(|(docs, encoding)| Merge { docs, encoding }));
    (kind(), merge, 0u64..300_000).prop_map(|(kind, merge, bytes)| Profile { merge, ..Profile::of(kind, bytes) })
}

fn verdict() -> impl Strategy<Value = Option<Verdict>> {
    prop_oneof![6 => Just(None), 3 => Just(Some(Verdict::Applied)), 1 => Just(Some(Verdict::Rejected))]
}

proptest! {
    #[test]
    fn r9_a_run_is_neighbours_of_one_kind_within_the_limits(
        entries in proptest::collection::vec((any_profile(), verdict()), 1..40),
        doubt in 0u64..40,
    ) {
        let mut lane = Lane::new(vec![ReplicaProgress::new(Seq::ZERO, LaneState::InStep)], Dimension::Known);
        for (index, (profile, verdict)) in entries.iter().enumerate() {
            let entry = Entry { seq: Seq::new(index as u64 + 1), profile: *profile, verdict: *verdict };
            lane.push(entry, AckPolicy::Applied, ClientState::Waiting);
        }
        lane.replicas[0].doubt = Seq::new(doubt);
        for first in 1..=entries.len() as u64 {
            let run = lane.run_from(A, Seq::new(first), Seq::MAX, LIMITS);
            let consecutive: Vec<_> = (first..first + run.len() as u64).map(Seq::new).collect();
            prop_assert_eq!(&run, &consecutive);
            let of = |seq: &Seq| entries[seq.get() as usize - 1];
            let (head, verdict) = of(&run[0]);
            if run.len() > 1 {
                let docs: u32 = run.iter().filter_map(|seq| of(seq).0.merge).map(|merge| merge.docs).sum();
                let bytes: u64 = run.iter().map(|seq| of(seq).0.bytes).sum();
                prop_assert!(docs <= LIMITS.documents && bytes <= LIMITS.bytes);
                prop_assert!(first > doubt || run[run.len() - 1] <= Seq::new(doubt));
            }
            for seq in &run[1..] {
                let (profile, other) = of(seq);
                prop_assert_eq!((profile.kind, other), (head.kind, verdict));
                prop_assert_eq!(profile.merge.map(|m| m.encoding), head.merge.map(|m| m.encoding));
                prop_assert!(profile.merge.is_some());
            }
        }
    }

    #[test]
    fn folding_a_change_twice_changes_nothing_more(
        changes in proptest::collection::vec(change(), 0..30),
    ) {
        let (mut once, mut twice) = (Catalog::new(names(2)), Catalog::new(names(2)));
        for (index, change) in changes.iter().enumerate() {
            let seq = Seq::new(index as u64 + 1);
            once.fold(seq, change);
            twice.fold(seq, change);
            twice.fold(seq, change);
            prop_assert_eq!(summary(&once), summary(&twice));
            for collection in once.collections() {
                let named = once.by_name(&collection.scope, &collection.name);
                prop_assert!(named.is_some(), "every collection has its name");
                prop_assert_eq!(once.by_id(collection.id.uuid()).map(|c| c.id), Some(collection.id));
            }
        }
    }
}

fn id() -> impl Strategy<Value = CollectionId> {
    (0u128..4).prop_map(|id| CollectionId::new(Uuid::from_u128(id)))
}

fn progress() -> impl Strategy<Value = Scope> {
    prop_oneof![Just(scope()), Just(Scope::new(DEFAULT_TENANT, "other"))]
}

/// Changes as Chroma allows them: each id has its own name, so that no two collections share one.
fn change() -> impl Strategy<Value = CatalogChange> {
    prop_oneof![
        (id(), progress()).prop_map(|(collection, scope)| CatalogChange::CollectionCreated {
            collection,
            scope,
            name: format!("first-{collection}"),
            created: Seq::new(1),
            origin: Origin::Created,
        }),
        id().prop_map(|collection| CatalogChange::CollectionRenamed {
            collection,
            name: format!("second-{collection}"),
        }),
        id().prop_map(|collection| CatalogChange::CollectionDeleted { collection }),
        (id(), 0usize..3, 0u128..3).prop_map(|(collection, instance, id)| CatalogChange::Mapped {
            collection,
            instance: InstanceName::new(&format!("instance-{instance}")),
            id: InstanceCollectionId::new(Uuid::from_u128(1000 + id + 10 * collection.uuid().as_u128())),
        }),
        progress().prop_map(|scope| CatalogChange::DatabaseCreated { scope, database_id: Uuid::from_u128(5) }),
        progress().prop_map(|scope| CatalogChange::DatabaseDeleted { scope }),
        Just(CatalogChange::TenantCreated { tenant: "t".to_owned() }),
        Just(CatalogChange::Reset),
    ]
}

fn summary(catalog: &Catalog) -> String {
    let mut collections: Vec<_> = catalog.collections().map(|c| format!("{c:?}")).collect();
    collections.sort();
    let databases: Vec<_> = catalog.databases().map(|scope| (scope.clone(), catalog.database(scope))).collect();
    format!("{collections:?} {databases:?} {:?}", catalog.tenants().collect::<Vec<_>>())
}
