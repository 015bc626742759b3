//! When collections and transactions were created and last changed.

use super::read::failed;
use crate::clock::Timestamp;
use crate::ids::Seq;
use crate::journal::names::collection_named;
use crate::journal::postgres::codec::row;
use crate::journal::postgres::connection::connect::Exclusive;
use crate::journal::{CollectionTimes, ReadError};

pub(in crate::journal::postgres) async fn of_collections(
    session: &Exclusive,
) -> Result<Vec<CollectionTimes>, ReadError> {
    let sql = "SELECT collection, created_at, updated_at FROM chroma_edge.collections WHERE deleted IS NULL
        ORDER BY collection";
    let statement = session.prepare_cached(sql).await.map_err(failed)?;
    let rows = session.query(&statement, &[]).await.map_err(failed)?;
    let times = |found: &tokio_postgres::Row| {
        Ok(CollectionTimes {
            collection: row::parsed(found, "collection", collection_named)?,
            created_at: row::moment_if_any(found, "created_at")?,
            updated_at: row::moment_if_any(found, "updated_at")?,
        })
    };
    rows.iter().map(times).collect()
}

pub(in crate::journal::postgres) async fn of_transactions(
    session: &Exclusive,
    seqs: &[Seq],
) -> Result<Vec<(Seq, Timestamp)>, ReadError> {
    let sql = "SELECT seq, created_at FROM chroma_edge.transactions WHERE seq = ANY ($1::bigint[]) ORDER BY seq";
    let statement = session.prepare_cached(sql).await.map_err(failed)?;
    let seqs: Vec<i64> = seqs.iter().map(|seq| row::number(*seq)).collect();
    let rows = session.query(&statement, &[&seqs]).await.map_err(failed)?;
    rows.iter().map(|found| Ok((row::seq(found, "seq")?, row::moment(found, "created_at")?))).collect()
}
