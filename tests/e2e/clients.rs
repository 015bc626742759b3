//! The client libraries for applications against the real edge: all instances are killed during their writes, the
//! applications see the timing gap and the recovery, and every server ends with exactly one copy.

use testkit::cluster::Cluster;
use testkit::scripts::Dialogue;

const WRITES_IN_THE_GAP: usize = 3;

fn in_a_gap(start: impl FnOnce(&str) -> Dialogue) {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 1s"));
    let mut script = start(&cluster.edge.url());
    script.until("kill");
    for server in &mut cluster.servers {
        server.kill();
    }
    script.answer();
    let gaps = ids(&script.until("restart"), "timing_gap");
    for server in &mut cluster.servers {
        server.restart();
    }
    let recovered = ids(&script.until("exactly one copy"), "recovered");
    script.end();
    assert_eq!((gaps.len(), &gaps), (WRITES_IN_THE_GAP, &recovered), "every write of the gap is reported twice");
    let content = cluster.assert_converged();
    assert_eq!(content.record_count(), WRITES_IN_THE_GAP + 1);
}

/// Returns the ids in the lines `{word} ID`. There are no other lines.
fn ids(lines: &[String], word: &str) -> Vec<String> {
    let id = |line: &String| line.strip_prefix(word).expect(line).trim().to_owned();
    let mut ids: Vec<String> = lines.iter().map(id).collect();
    ids.sort();
    ids
}

#[test]
fn js() {
    in_a_gap(|url| Dialogue::js("safety.mjs", url));
}

#[test]
fn python_sync() {
    in_a_gap(|url| Dialogue::python("safety.py", url, &[]));
}

#[test]
fn python_async() {
    in_a_gap(|url| Dialogue::python("safety.py", url, &["--async"]));
}
