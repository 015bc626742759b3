//! Quarantined transactions that have not been lifted (rule R13), which retention keeps.

use tokio_postgres::Row;

use super::read::failed;
use crate::ids::{LaneId, Seq};
use crate::journal::postgres::codec::row;
use crate::journal::postgres::connection::connect::Exclusive;
use crate::journal::{QuarantineRow, ReadError};
use crate::order::RequestClass;

/// The rows that [`loaded`] reads.
pub(in crate::journal::postgres) const LOAD: &str = "
    SELECT t.seq, t.lane, t.kind, t.conditions
    FROM chroma_edge.quarantines AS q JOIN chroma_edge.transactions AS t USING (seq) ORDER BY t.seq";

/// Returns every quarantined transaction, by lane.
pub(in crate::journal::postgres) fn loaded(rows: &[Row]) -> Result<Vec<(LaneId, Seq, RequestClass)>, ReadError> {
    rows.iter().map(|found| Ok((row::lane(found)?, row::seq(found, "seq")?, row::class(found)?))).collect()
}

/// Returns every quarantined transaction whose lane still exists, for operators, oldest first.
pub(in crate::journal::postgres) async fn list(session: &Exclusive) -> Result<Vec<QuarantineRow>, ReadError> {
    let sql = format!(
        "SELECT {}, conditions FROM chroma_edge.transactions
        WHERE seq IN (SELECT seq FROM chroma_edge.quarantines) AND (lane = 'catalog' OR EXISTS (
            SELECT FROM chroma_edge.collections AS c WHERE c.collection = lane AND c.deleted IS NULL))
        ORDER BY seq",
        row::LISTED
    );
    let rows = session.query(&sql, &[]).await.map_err(failed)?;
    let read =
        |found: &Row| Ok(QuarantineRow { transaction: row::transaction(found)?, conditions: row::conditions(found)? });
    rows.iter().map(read).collect()
}
