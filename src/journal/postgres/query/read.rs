//! Reads: on connections of their own, so that no read waits for a commit or holds one up.

use std::time::Duration;

use tokio_postgres::Row;

use crate::ids::{LaneId, Seq};
use crate::journal::names::lane_name;
use crate::journal::postgres::codec::row;
use crate::journal::postgres::codec::text::stored;
use crate::journal::postgres::commit::append::digest_of;
use crate::journal::postgres::connection::connect::{Exclusive, Sessions, explain, lend};
use crate::journal::{ClientKey, History, LateWrite, LateWriteId, Lookup, ReadError, Request, TransactionRow};

/// Connections that only read.
pub(in crate::journal::postgres) struct Reader {
    sessions: Sessions,
}

impl Reader {
    pub(in crate::journal::postgres) fn new(sessions: Sessions) -> Reader {
        Reader { sessions }
    }

    /// Runs `read` on a connection, for at most `patience`. If the connection turns out to be closed, tries a new one.
    pub(in crate::journal::postgres) async fn read<T, F>(
        &self,
        patience: Duration,
        read: impl Fn(Exclusive) -> F,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = (Exclusive, Result<T, ReadError>)>,
    {
        let reading = async {
            loop {
                let loan = lend(&self.sessions).await.map_err(ReadError::from_source)?;
                let used = deadpool::managed::Object::metrics(&loan).recycle_count > 0;
                let (session, result) = read(Exclusive::new(loan)).await;
                match result {
                    Ok(value) => {
                        session.give_back();
                        return Ok(value);
                    }
                    // The server may have been restarted since the connection was last used.
                    Err(_) if used && session.is_closed() => {}
                    Err(error) => return Err(error),
                }
            }
        };
        let late = || Err(ReadError::new("the database did not answer in time"));
        tokio::time::timeout(patience, reading).await.unwrap_or_else(|_| late())
    }
}

pub(in crate::journal::postgres) async fn requests(
    session: &Exclusive,
    seqs: &[Seq],
) -> Result<Vec<Request>, ReadError> {
    let sql = format!(
        "SELECT {} FROM unnest($1::bigint[]) WITH ORDINALITY AS w (seq, place)
        JOIN chroma_edge.transactions AS t ON t.seq = w.seq JOIN chroma_edge.bodies AS b ON b.seq = w.seq
        ORDER BY w.place",
        row::REQUEST
    );
    let seqs: Vec<i64> = seqs.iter().map(|seq| row::number(*seq)).collect();
    let statement = session.prepare_cached(&sql).await.map_err(failed)?;
    let rows = session.query(&statement, &[&seqs]).await.map_err(failed)?;
    rows.iter().map(row::request).collect()
}

/// Reads the floor last, so that anything retention removes meanwhile is not above it.
pub(in crate::journal::postgres) async fn history(
    session: &Exclusive,
    lane: LaneId,
    after: Seq,
    most: u32,
) -> Result<History, ReadError> {
    let lane = lane_name(lane);
    let sql = format!(
        "SELECT {}, t.verdict FROM chroma_edge.transactions AS t JOIN chroma_edge.bodies AS b ON b.seq = t.seq
        WHERE t.lane = $1 AND t.seq > $2 ORDER BY t.seq LIMIT $3",
        row::REQUEST
    );
    let statement = session.prepare_cached(&sql).await.map_err(failed)?;
    let found = session.query(&statement, &[&lane, &row::number(after), &i64::from(most)]).await.map_err(failed)?;
    let entries = found.iter().map(|found| Ok((row::request(found)?, row::verdict(found)?)));
    let entries = entries.collect::<Result<_, ReadError>>()?;
    let statement = session.prepare_cached("SELECT floor FROM chroma_edge.floors WHERE lane = $1").await;
    let floor = session.query_opt(&statement.map_err(failed)?, &[&lane]).await.map_err(failed)?;
    let floor = floor.map(|found| row::seq(&found, "floor")).transpose()?.unwrap_or(Seq::ZERO);
    Ok(History { floor, entries })
}

pub(in crate::journal::postgres) async fn transaction(
    session: &Exclusive,
    lookup: &Lookup,
) -> Result<Option<TransactionRow>, ReadError> {
    let select = |condition| format!("SELECT {} FROM chroma_edge.transactions WHERE {condition}", row::TRANSACTION);
    let rows = match lookup {
        Lookup::Id(id) => {
            let statement = session.prepare_cached(&select("transaction_id = $1")).await.map_err(failed)?;
            session.query(&statement, &[&id.uuid()]).await
        }
        Lookup::Position(seq) => {
            let statement = session.prepare_cached(&select("seq = $1")).await.map_err(failed)?;
            session.query(&statement, &[&row::number(*seq)]).await
        }
        Lookup::ClientKey { tenant, key } => {
            let statement = session.prepare_cached(&select("client_digest = $1")).await.map_err(failed)?;
            session.query(&statement, &[&digest_of(tenant, key)]).await
        }
        Lookup::Key { key, of, outside } => {
            let condition = "left(client_key, 255) = left($1::text, 255) AND client_key = $1 \
                AND starts_with(client_tenant, $2::text) AND client_tenant IS DISTINCT FROM $3::text ORDER BY seq DESC LIMIT 1";
            let statement = session.prepare_cached(&select(condition)).await.map_err(failed)?;
            let scopes = of.as_deref().map(ClientKey::scopes_of).unwrap_or_default();
            let (key, outside) = (stored(key), outside.as_deref().map(stored));
            session.query(&statement, &[&key, &scopes, &outside]).await
        }
    };
    rows.map_err(failed)?.first().map(row::transaction).transpose()
}

/// Returns every late write that no edge has handled.
pub(in crate::journal::postgres) async fn late_writes(
    session: &Exclusive,
) -> Result<Vec<(LateWriteId, LateWrite)>, ReadError> {
    let sql = "SELECT id, lane, instance FROM chroma_edge.suspects ORDER BY id";
    let rows = session.query(sql, &[]).await.map_err(failed)?;
    let late_write = |found: &Row| {
        let late_write = LateWrite { lane: row::lane(found)?, instance: row::instance(found, "instance")? };
        Ok((LateWriteId(row::get(found, "id")?), late_write))
    };
    rows.iter().map(late_write).collect()
}

pub(in crate::journal::postgres) fn failed(error: tokio_postgres::Error) -> ReadError {
    ReadError::caused_by(explain(&error), error)
}
