//! What counts towards the journal's byte limit, and for which instances it is kept.

use super::lanes;
use super::read::failed;
use crate::ids::InstanceName;
use crate::journal::names::lane_named;
use crate::journal::postgres::codec::row::{count, get, number, text, unsigned};
use crate::journal::postgres::codec::text::stored;
use crate::journal::postgres::connection::connect::Exclusive;
use crate::journal::postgres::trim::{WITH_TRANSACTIONS, rows};
use crate::journal::{ApplicationUse, ClientUse, HeldLane, ROW_BYTES, ReadError};

/// The size of the tables, including free space.
const OCCUPIED: &str = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint AS bytes FROM pg_class
    WHERE relkind = 'r' AND relnamespace = to_regnamespace('chroma_edge')";

/// The size of the rows as stored.
const TAKEN: &str = "SELECT
    (SELECT coalesce(sum(coalesce(pg_column_size(answer_body), 0) + $1::bigint), 0) FROM chroma_edge.transactions)::bigint
    + (SELECT coalesce(sum(pg_column_size(body) + coalesce(pg_column_size(resolved), 0)), 0)
        FROM chroma_edge.bodies)::bigint AS bytes";

/// The size of each lane's transactions up to a position.
const THROUGH: &str = "
    SELECT (SELECT coalesce(sum(t.bytes + coalesce(pg_column_size(t.answer_body), 0) + $3::bigint), 0)::bigint
        FROM chroma_edge.transactions AS t WHERE t.lane = l.lane AND t.seq <= l.through) AS bytes
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS l (lane, through, place) ORDER BY l.place";

/// See [`crate::journal::Store::used_bytes`].
pub(in crate::journal::postgres) async fn used_bytes(session: &Exclusive, limit: u64) -> Result<u64, ReadError> {
    let occupied = session.query_one(OCCUPIED, &[]).await.map_err(failed)?;
    let occupied = unsigned(&occupied, "bytes")?;
    if occupied <= limit {
        return Ok(occupied);
    }
    let taken = session.query_one(TAKEN, &[&count(ROW_BYTES)]).await.map_err(failed)?;
    unsigned(&taken, "bytes")
}

/// See [`crate::journal::Store::application_use`].
pub(in crate::journal::postgres) async fn application_use(session: &Exclusive) -> Result<ApplicationUse, ReadError> {
    let sql = "SELECT client, bytes, (SELECT sum(bytes) FROM chroma_edge.application_use)::bigint AS sum
        FROM chroma_edge.application_use ORDER BY bytes DESC LIMIT 1";
    let Some(row) = session.query_opt(sql, &[]).await.map_err(failed)? else { return Ok(ApplicationUse::default()) };
    let largest = ClientUse { client: text(&row, "client")?, bytes: unsigned(&row, "bytes")? };
    Ok(ApplicationUse { bytes: unsigned(&row, "sum")?, largest: Some(largest) })
}

/// See [`crate::journal::Store::application_bytes_of`].
pub(in crate::journal::postgres) async fn application_bytes_of(
    session: &Exclusive,
    client: &str,
) -> Result<u64, ReadError> {
    let sql = "SELECT bytes FROM chroma_edge.application_use WHERE client = $1";
    let found = session.query_opt(sql, &[&stored(client)]).await.map_err(failed)?;
    found.map_or(Ok(0), |row| unsigned(&row, "bytes"))
}

/// See [`crate::journal::Store::held`].
pub(in crate::journal::postgres) async fn held(
    session: &Exclusive,
    configured: &[InstanceName],
) -> Result<Vec<HeldLane>, ReadError> {
    let known = lanes::places(&rows(session, lanes::PROGRESS).await?)?;
    let (mut held, mut names, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for found in rows(session, WITH_TRANSACTIONS).await? {
        let (name, open): (String, bool) = (get(&found, "lane")?, get(&found, "open")?);
        let (Ok(lane), true) = (lane_named(&name), open) else { continue };
        let held_here = known.held(lane, configured);
        names.extend(held_here.iter().map(|_| name.clone()));
        places.extend(held_here.iter().map(|place| number(place.through)));
        held.push(HeldLane { lane, places: held_here });
    }
    let bytes = session.query(THROUGH, &[&names, &places, &count(ROW_BYTES)]).await.map_err(failed)?;
    for (place, found) in held.iter_mut().flat_map(|lane| &mut lane.places).zip(&bytes) {
        place.bytes_through = unsigned(found, "bytes")?;
    }
    Ok(held)
}
