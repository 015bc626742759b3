//! `chroma-edge top` in a terminal of its own: a server is killed, then the edge, while an operator watches.

use testkit::Cluster;
use testkit::scripts::Dialogue;

const PROGRAM: &str = env!("CARGO_BIN_EXE_chroma-edge");

#[test]
fn an_operator_sees_a_killed_replica_and_an_edge_that_goes_and_returns() {
    let mut cluster = Cluster::two();
    cluster.create("things");
    let mut terminal = Dialogue::python("top.py", &cluster.edge.url(), &[PROGRAM]);
    terminal.until("kill");
    cluster.replica().kill();
    terminal.answer();
    terminal.until("stop the edge");
    cluster.edge.kill();
    terminal.answer();
    terminal.until("start the edge");
    cluster.edge.restart();
    terminal.answer();
    terminal.until("seen");
    terminal.end();
}
