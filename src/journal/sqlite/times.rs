//! When collections and transactions were created, and collections last changed.

use rusqlite::{Connection, OptionalExtension};

use super::row::{self, number};
use crate::clock::Timestamp;
use crate::ids::Seq;
use crate::journal::CollectionTimes;
use crate::journal::names::collection_named;

pub(super) fn of_collections(connection: &Connection) -> rusqlite::Result<Vec<CollectionTimes>> {
    let sql = "SELECT collection, created_at, updated_at FROM collections WHERE deleted IS NULL ORDER BY collection";
    let mut statement = connection.prepare_cached(sql)?;
    let times = |found: &rusqlite::Row<'_>| {
        let moment = |column: &str| -> rusqlite::Result<Option<Timestamp>> {
            Ok(found.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
        };
        Ok(CollectionTimes {
            collection: row::parsed(found, "collection", collection_named)?,
            created_at: moment("created_at")?,
            updated_at: moment("updated_at")?,
        })
    };
    statement.query_map([], times)?.collect()
}

pub(super) fn of_transactions(connection: &Connection, seqs: &[Seq]) -> rusqlite::Result<Vec<(Seq, Timestamp)>> {
    let mut statement = connection.prepare_cached("SELECT created_at FROM transactions WHERE seq = ?1")?;
    let moment = |seq: &Seq| {
        let millis = statement.query_row([number(*seq)], |found| found.get::<_, i64>("created_at")).optional()?;
        Ok(millis.map(|millis| (*seq, Timestamp::from_millis(millis))))
    };
    seqs.iter().map(moment).filter_map(Result::transpose).collect()
}
