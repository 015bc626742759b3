//! Other versions of Chroma, alone and mixed: what works, what each server supports, and what happens to a server with
//! which nothing can be done exactly. `make compatibility` uses this to make the table in `docs/compatibility.md`.

mod checks;
mod servers;
mod table;

use testkit::ChromaServer;
use testkit::chroma::Version;
use testkit::cluster::Cluster;

use self::checks::CHECKS;

/// Starts a primary and a replica of these versions, and an edge.
fn pair(versions: [Version; 2]) -> Cluster {
    Cluster::of(versions.map(ChromaServer::of_version).into(), |edge| edge)
}

fn all_checks_hold(versions: [Version; 2]) {
    let mut cluster = pair(versions);
    for (name, check) in CHECKS {
        println!("{name}");
        check(&mut cluster);
    }
}

#[test]
fn an_old_pair() {
    all_checks_hold([Version::Older("1.0.20"); 2]);
}

#[test]
fn a_mixed_pair() {
    all_checks_hold([Version::Older("1.3.7"), Version::Current]);
}
