//! Use cases 2 and 3: one server is killed while editors work, stays away for a while, and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::catalog_fixture::{CatalogFixture, Document};
use crate::cms::Cms;
use crate::figures::{Figures, shown};
use crate::normal::{a_day, assert_accounted, assert_stored};
use testkit::cluster::{CATCH_UP, Cluster};
use testkit::place::wait_for;

const NAMES: [&str; 2] = ["primary", "replica"];
/// A killed instance refuses connections. If it only hung, the probes would take about 3 s.
pub const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Runs an editor who works through all of it, in a collection of her own.
pub fn works_on<'a>(cluster: &Cluster, figures: &'a Figures, ready: &AtomicBool, stop: &AtomicBool) -> Cms<'a> {
    let mut cms = Cms::new(&cluster.client(), "editor", figures);
    cms.create("editor");
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("note-{number}");
        cms.upload("editor", Document::new(&name, 1 + number % 3));
        cms.show("editor", &name);
        if number % 4 == 3 {
            cms.delete("editor", &format!("note-{}", number - 2));
        }
        number += 1;
        ready.store(true, Ordering::Relaxed);
    }
    cms
}

/// Runs the use case with this instance as the victim, and prints the figures under this title.
fn outage_of(victim: usize, title: &str) {
    let mut cluster = Cluster::two();
    let figures = Figures::default();
    let mut cms = Cms::new(&cluster.client(), "cms", &figures);
    cms.create("site");
    cms.create("old");
    a_day(&mut cms, "site", 1);
    cms.upload("old", Document::new("leaflet", 4));
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let (ready, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let edited = std::thread::scope(|scope| {
        let (mut servers, edge) = (std::mem::take(&mut cluster.servers), &cluster);
        let editor = scope.spawn(|| works_on(edge, &figures, &ready, &stop));
        wait_for("the editor's first note", CATCH_UP, || ready.load(Ordering::Relaxed).then_some(()));

        let killed = Instant::now();
        servers[victim].kill();
        edge.edge.wait_until_healthy(NAMES[victim], false, CATCH_UP);
        figures.tell("time to detect", shown(killed.elapsed()));
        a_day(&mut cms, "site", 2);
        cms.delete("site", "site/day-1/page-5.pdf");
        cms.create("new");
        a_day(&mut cms, "new", 2);
        cms.drop_collection("old");
        let status = edge.edge.status();
        assert_eq!(status["healthy_instances"], json!(1), "{status}");
        let pending = status["instances"][victim]["pending_writes"].as_u64().unwrap_or_default();
        assert!(pending >= 30, "what the absent instance has yet to apply: {status}");
        figures.tell("writes during the outage, to catch up with", pending);

        servers[victim].restart();
        let back = Instant::now();
        a_day(&mut cms, "site", 3);
        stop.store(true, Ordering::Relaxed);
        let edited = editor.join().expect("the editor");
        edge.edge.wait_until_in_sync(CATCH_UP);
        figures.tell("time to catch up, load included", shown(back.elapsed()));
        (servers, edited.catalog_fixture, edited.writes)
    });
    let (servers, catalog_fixture, writes): (_, CatalogFixture, usize) = edited;
    cluster.servers = servers;
    assert_accounted(&cms);
    cms.catalog_fixture.extend(catalog_fixture);
    assert_stored(&cluster, &cms, &figures);
    figures.tell("acknowledged writes", cms.writes + writes);
    figures.print(title);
    assert_eq!(figures.errors(), Vec::<String>::new());
    assert!(figures.longest_wait() < LONGEST_WAIT, "{:?}", figures.longest_wait());
}

#[test]
fn case_2_primary_down() {
    outage_of(0, "Use case 2: the primary is killed while editors work, and comes back");
}

#[test]
fn case_3_replica_down() {
    outage_of(1, "Use case 3: the replica is killed while editors work, and comes back");
}
