//! Use case 6: a server is lost with its disk while editors work, and an empty one takes its place. Nothing else is
//! done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::catalog_fixture::Document;
use crate::cms::Cms;
use crate::figures::{Figures, shown};
use crate::normal::{a_day, assert_accounted, assert_stored};
use crate::outage::{LONGEST_WAIT, works_on};
use testkit::cluster::{CATCH_UP, Cluster};
use testkit::place::wait_for;

const HEALED: Duration = Duration::from_secs(120);
const ON: &str = "  heal: { enabled: true }\n  recovery_interval: 1s";

fn copied_records(cluster: &Cluster) -> f64 {
    let page = cluster.client().get("/metrics").expect(200).text();
    let line =
        page.lines().find(|line| line.starts_with("chroma_edge_copied_records ")).expect("the metric").to_owned();
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn is_whole(cluster: &Cluster) -> bool {
    let status = cluster.edge.status();
    status["without_second_copy"]["count"] == 0 && status["diverged"].as_array().is_some_and(Vec::is_empty)
}

#[test]
#[ignore = "over half a minute: run by make use-case-6"]
fn case_6_a_server_is_lost_and_replaced() {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    cluster.edge.announce("lacks collections");
    let figures = Figures::default();
    let mut cms = Cms::new(&cluster.client(), "cms", &figures);
    cms.create("site");
    cms.create("archive");
    (0..40).for_each(|number| cms.upload("archive", Document::new(&format!("volume-{number}"), 50)));
    a_day(&mut cms, "site", 1);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let (ready, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let edited = std::thread::scope(|scope| {
        let (mut servers, edge) = (std::mem::take(&mut cluster.servers), &cluster);
        let editor = scope.spawn(|| works_on(edge, &figures, &ready, &stop));
        wait_for("the editor's first note", CATCH_UP, || ready.load(Ordering::Relaxed).then_some(()));
        servers[0].kill();
        servers[0].wipe();
        a_day(&mut cms, "site", 2);
        servers[0].restart();
        let back = Instant::now();
        wait_for("the loss noticed", CATCH_UP, || edge.edge.log().contains("lacks collections").then_some(()));
        figures.tell("time to notice, from its return on", shown(back.elapsed()));
        a_day(&mut cms, "site", 3);
        wait_for("every collection whole again", HEALED, || is_whole(edge).then_some(()));
        let (took, records) = (back.elapsed(), copied_records(edge));
        figures.tell("time until it is whole, load included", shown(took));
        figures.tell("records copied, a second", format!("{:.0}", records / took.as_secs_f64()));
        stop.store(true, Ordering::Relaxed);
        let edited = editor.join().expect("the editor");
        (servers, edited.catalog_fixture, edited.writes)
    });
    let (servers, catalog_fixture, writes) = edited;
    cluster.servers = servers;
    cluster.edge.wait_until_in_sync(HEALED);
    assert_accounted(&cms);
    cms.catalog_fixture.extend(catalog_fixture);
    assert_stored(&cluster, &cms, &figures);
    // The server that was never lost may now fail.
    cluster.servers[1].kill();
    cms.show("archive", "volume-7");
    a_day(&mut cms, "site", 4);
    cluster.servers[1].restart();
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
    figures.tell("acknowledged writes", cms.writes + writes);
    figures
        .print("Use case 6: the primary is lost with its disk while editors work, and an empty server takes its place");
    assert_eq!(figures.errors(), Vec::<String>::new());
    assert!(figures.longest_wait() < LONGEST_WAIT, "{:?}", figures.longest_wait());
}
