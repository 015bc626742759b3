//! What a deletion would delete that does not exist yet: the names that entries before it bring.

use super::*;

fn named(name: &str) -> (Scope, String) {
    (scope(), name.to_owned())
}

fn database() -> Deletion {
    Deletion::Database { scope: scope() }
}

#[test]
fn r7_what_entries_before_a_deletion_bring_would_be_deleted_too() {
    let mut rig = Rig::new(2);
    assert_eq!(rig.board.names_under(&database()), ["docs"]);
    let other = Scope::new(DEFAULT_TENANT, "other");
    let brings = Intent::Brings(vec![named("global"), (other.clone(), "elsewhere".to_owned())]);
    rig.submit(LaneId::Catalog, profile(Kind::CreateCollection), brings, AckPolicy::Durable);
    let renames = Intent::Renames(Some(collection()), Some("precious".to_owned()));
    rig.submit(LaneId::Catalog, profile(Kind::UpdateCollection), renames, AckPolicy::Durable);
    assert_eq!(rig.board.names_under(&database()), ["docs", "global", "precious"]);
    assert_eq!(rig.board.names_under(&Deletion::Database { scope: other }), ["elsewhere"]);
    assert_eq!(rig.board.names_under(&Deletion::Everything), ["docs", "global", "elsewhere", "precious"]);
    let by_name = |name: &str| Deletion::Collection { scope: scope(), name: name.to_owned() };
    assert_eq!(rig.board.names_under(&by_name("global")), ["global"]);
    assert_eq!(rig.board.names_of(collection()), ["docs", "precious"]);

    rig.outcome(LaneId::Catalog, A, Outcome::Rejected { about: None });
    assert!(rig.board.names_under(&database()).contains(&"global".to_owned()), "not before that is durable");
    rig.recorded(LaneId::Catalog, A);
    assert_eq!(rig.board.names_under(&database()), ["docs", "precious"]);
    let changes = vec![CatalogChange::CollectionRenamed { collection: collection(), name: "precious".to_owned() }];
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences { changes, diverged: Vec::new() }));
    rig.recorded(LaneId::Catalog, A);
    assert_eq!(rig.board.names_under(&database()), ["precious"], "it is there, under its new name alone");
    assert_eq!(rig.board.names_of(collection()), ["precious"]);
}

#[test]
fn r7_after_a_restart_what_is_open_brings_its_names_still() {
    let brings = Intent::Brings(vec![named("global")]);
    let open = RestoredEntry { intent: brings.clone(), ..restored_entry(2, Kind::CreateCollection, None) };
    let rig = Rig::restored(1, Dimension::Known, vec![restored_catalog(1, vec![open])]);
    assert_eq!(rig.board.names_under(&database()), ["docs", "global"]);
    let settled =
        RestoredEntry { intent: brings, ..restored_entry(2, Kind::CreateCollection, Some(Verdict::Rejected)) };
    let rig = Rig::restored(1, Dimension::Known, vec![restored_catalog(1, vec![settled])]);
    assert_eq!(rig.board.names_under(&database()), ["docs"]);
}
