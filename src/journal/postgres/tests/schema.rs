//! The schema: which migrations are applied, which schemas are refused, and what is reported as missing.

use super::support::{claimed, holder, options, store};
use crate::ids::{LaneId, Seq};
use crate::journal::contract::{append, draft};
use crate::journal::postgres::schema::EXPECTED;
use crate::journal::postgres::{DatabaseUrl, Difference, bring_up_to_date, validate};
use crate::journal::{Claim, Leadership, LeadershipError};
use testkit::postgres::Postgres;

fn url(server: &Postgres) -> DatabaseUrl {
    DatabaseUrl::parse(&server.url()).unwrap()
}

#[tokio::test]
async fn a_blank_database_is_brought_up_to_date_once() {
    let server = Postgres::fresh();
    assert!(matches!(validate(&url(&server)).await.unwrap()[..], [Difference::Pending { version: 1, .. }, ..]));
    assert_eq!(server.sql("SELECT to_regnamespace('chroma_edge') IS NULL"), "t", "nothing was changed");
    let (url, other) = (url(&server), url(&server));
    let (one, two) = tokio::join!(bring_up_to_date(&url), bring_up_to_date(&other));
    let applied = one.unwrap().len() + two.unwrap().len();
    assert_eq!(server.sql("SELECT count(*) FROM chroma_edge.refinery_schema_history"), applied.to_string());
    assert_eq!(bring_up_to_date(&url).await.unwrap(), []);
    assert_eq!(validate(&url).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_expected_is_what_the_migrations_make() {
    let server = Postgres::fresh();
    bring_up_to_date(&url(&server)).await.unwrap();
    let mut found: Vec<String> =
        server.sql(crate::journal::postgres::schema::LISTING).lines().map(str::to_owned).collect();
    found.sort();
    let expected: Vec<&str> = EXPECTED.lines().collect();
    assert_eq!(found, expected, "src/journal/postgres/expected.txt should be:\n{}", found.join("\n"));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let server = Postgres::fresh();
    bring_up_to_date(&url(&server)).await.unwrap();
    server.sql(
        "DROP INDEX chroma_edge.transactions_by_lane; ALTER TABLE chroma_edge.bodies DROP COLUMN encoding CASCADE",
    );
    let missing = |what: &str| Difference::Missing { what: what.to_owned() };
    let found = validate(&url(&server)).await.unwrap();
    for what in ["index transactions_by_lane", "column bodies.encoding text"] {
        assert!(found.contains(&missing(what)), "{found:?}");
    }
}

#[tokio::test]
async fn another_schema_is_refused() {
    let server = Postgres::fresh();
    bring_up_to_date(&url(&server)).await.unwrap();
    server.sql("UPDATE chroma_edge.refinery_schema_history SET checksum = '1' WHERE version = 1");
    let changed = validate(&url(&server)).await.unwrap();
    assert!(matches!(changed[..], [Difference::Changed { version: 1, .. }]), "{changed:?}");
    let claim = claimed(&store(&server.url(), options("the edge"))).await;
    assert!(matches!(&claim, Err(LeadershipError::Unusable(text)) if text.contains("in another form")), "{claim:?}");
    server.sql("INSERT INTO chroma_edge.refinery_schema_history VALUES (99, 'future', '2030-01-01T00:00:00Z', '1')");
    server.sql("UPDATE chroma_edge.refinery_schema_history SET version = 98 WHERE version = 1");
    let claim = claimed(&store(&server.url(), options("the edge"))).await;
    assert!(matches!(&claim, Err(LeadershipError::Unusable(text)) if text.contains("newer binary")), "{claim:?}");
}

#[tokio::test]
async fn an_edge_with_another_schema_is_not_disturbed() {
    let server = Postgres::fresh();
    let old = holder(&server.url(), "the old one").await;
    // As if this binary had one more migration than the one that runs.
    server.sql(
        "DELETE FROM chroma_edge.refinery_schema_history WHERE version = (
        SELECT max(version) FROM chroma_edge.refinery_schema_history)",
    );
    if server.sql("SELECT count(*) FROM chroma_edge.refinery_schema_history") != "0" {
        let new = store(&server.url(), options("the new one"));
        assert_eq!(claimed(&new).await.unwrap(), Claim::Held { by: "the old one".to_owned() });
    }
    assert_eq!(append(&old, vec![draft(LaneId::Catalog, "x")]).await, [Seq::new(1)]);
}

#[tokio::test]
async fn a_standby_does_not_take_over_from_a_newer_binary() {
    let server = Postgres::fresh();
    let first = holder(&server.url(), "the first").await;
    let standby = store(&server.url(), options("the standby"));
    assert_eq!(claimed(&standby).await.unwrap(), Claim::Held { by: "the first".to_owned() });
    server.sql("INSERT INTO chroma_edge.refinery_schema_history VALUES (99, 'future', '2030-01-01T00:00:00Z', '1')");
    first.release().await;
    let claim = standby.claim().await;
    assert!(matches!(&claim, Err(LeadershipError::Unusable(text)) if text.contains("newer binary")), "{claim:?}");
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let server = Postgres::fresh();
    server.sql("CREATE DATABASE narrow ENCODING 'SQL_ASCII' TEMPLATE template0");
    let claim = claimed(&store(&server.url_of("narrow"), options("the edge"))).await;
    assert!(matches!(&claim, Err(LeadershipError::Unusable(text)) if text.contains("SQL_ASCII")), "{claim:?}");
}
