//! Use case 1: nothing fails. A CMS creates its collections, uploads, edits, searches and deletes documents.

use std::collections::BTreeSet;

use serde_json::json;

use crate::catalog_fixture::{self, Document};
use crate::cms::Cms;
use crate::figures::Figures;
use testkit::Cluster;
use testkit::cluster::CATCH_UP;
use testkit::place::wait_for;

const COLLECTIONS: [&str; 3] = ["global", "project-1", "project-2"];
const DOCUMENTS: u64 = 8;

/// Performs what every editor does all day, in each collection.
pub fn a_day(cms: &mut Cms<'_>, collection: &str, day: u64) {
    let name = |number: u64| format!("{collection}/day-{day}/page-{number}.pdf");
    for number in 0..DOCUMENTS {
        cms.upload(collection, Document::new(&name(number), 3 + number % 5));
        cms.search(collection, &name(number));
    }
    for number in [1, 4] {
        cms.replace(collection, &name(number), 2 + number);
        cms.show(collection, &name(number));
    }
    cms.delete(collection, &name(2));
    cms.delete_by_ids(collection, &name(3));
    for number in [2, 3, 5] {
        cms.show(collection, &name(number));
    }
    cms.list();
    cms.health();
}

/// Checks that this session has as many transactions as writes, all of them completed.
pub fn assert_accounted(cms: &Cms<'_>) {
    wait_for("every transaction's end", CATCH_UP, || {
        let page = cms.transactions();
        (page["counts"]["COMPLETED"].as_u64() == u64::try_from(cms.writes).ok() && page["total"] == cms.writes)
            .then_some(())
    });
}

/// Waits until every server has everything. Then compares what each holds with what the CMS was answered, and with the
/// journal.
pub fn assert_stored(cluster: &Cluster, cms: &Cms<'_>, figures: &Figures) {
    cluster.assert_converged();
    let (compared, differences) = catalog_fixture::compare(&cms.catalog_fixture, &cluster.servers);
    figures.tell("records compared, on all instances", compared);
    figures.tell("differences", differences.len());
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(compared > 50, "only {compared} records compared");
}

#[test]
fn case_1_normal_operation() {
    let cluster = Cluster::two();
    let figures = Figures::default();
    let mut cms = Cms::new(&cluster.client(), "case-1", &figures);
    for name in COLLECTIONS {
        cms.create(name);
    }
    for name in COLLECTIONS {
        a_day(&mut cms, name, 1);
    }
    cms.create("obsolete");
    cms.drop_collection("obsolete");
    let mappings = cluster.client().get("/collection/mappings").expect(200).json();
    assert_eq!(mappings["count"], json!(COLLECTIONS.len()), "{mappings}");
    let mut own = BTreeSet::new();
    for mapping in mappings["mappings"].as_array().expect("mappings") {
        assert_eq!(mapping["complete"], true, "{mapping}");
        own.extend(
            mapping["instances"].as_array().expect("instances").iter().map(|one| one["collection_id"].to_string()),
        );
    }
    assert_eq!(own.len(), 2 * COLLECTIONS.len(), "each instance has an id of its own for each collection");
    assert_accounted(&cms);
    assert_stored(&cluster, &cms, &figures);
    assert_eq!(figures.errors(), Vec::<String>::new());
    figures.tell("transactions, all COMPLETED", cms.writes);
    figures.print("Use case 1: normal operation, a CMS with document groups");
}
