//! Where a write came from, as the journal records it: from the connection, or from a trusted proxy's header.

use rusqlite::{Connection, OpenFlags};

use testkit::Cluster;
use testkit::cluster::add;

fn addresses(cluster: &Cluster) -> Vec<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let journal = Connection::open_with_flags(cluster.edge.journal_path(), flags).expect("the journal, read only");
    let sql = "SELECT client_ip FROM transactions WHERE kind = 'add' ORDER BY seq";
    let mut statement = journal.prepare(sql).expect("the journal's table");
    let rows = statement.query_map([], |row| row.get(0)).expect("the journal's rows");
    rows.collect::<Result<_, _>>().expect("an address")
}

#[test]
fn a_trusted_proxy_tells_where_a_write_came_from() {
    let cluster = Cluster::with(2, |edge| edge.config("  trusted_proxies: [127.0.0.1, \"10.0.0.0/8\"]"));
    let collection = cluster.create("things");
    let headers =
        ["203.0.113.7", "6.6.6.6, [2001:db8::7]:443, 10.1.2.3", "unknown", "203.0.113.8, 203.0.113.9 , 10.0.0.1:80"];
    for (number, header) in headers.iter().enumerate() {
        let client = cluster.client().with_header("x-forwarded-for", header);
        add(&client, &collection, &number.to_string()).expect(201);
    }
    assert_eq!(addresses(&cluster), ["203.0.113.7", "2001:db8::7", "127.0.0.1", "203.0.113.9"]);
}

#[test]
fn nobody_else_is_believed() {
    let cluster = Cluster::with(2, |edge| edge.config("  trusted_proxies: [10.0.0.0/8]"));
    let collection = cluster.create("things");
    add(&cluster.client().with_header("x-forwarded-for", "203.0.113.7"), &collection, "a").expect(201);
    assert_eq!(addresses(&cluster), ["127.0.0.1"]);
}
