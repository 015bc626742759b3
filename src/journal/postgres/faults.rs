//! Faults of the board. They are written on the lease's connection: the process is about to end, and the connection
//! that commits may be blocked, or may itself be waiting for the board.

use super::codec::row;
use super::connection::connect::Exclusive;
use super::lease::{self, Lease};
use super::query::read::failed;
use crate::clock::Timestamp;
use crate::ids::LaneId;
use crate::journal::fault::{IN_A_ROW, stored_reason};
use crate::journal::names::lane_name;
use crate::journal::{Fault, ReadError};

const NOTE: &str = "
    INSERT INTO chroma_edge.faults AS f (lane, times, at, reason) VALUES ($1, 1, $2, $3)
    ON CONFLICT (lane) DO UPDATE SET
        times = CASE WHEN excluded.at - f.at > make_interval(secs => $4) THEN 1 ELSE f.times + 1 END,
        at = excluded.at, reason = excluded.reason";

const FORGET: &str = "DELETE FROM chroma_edge.faults WHERE lane = $1";

impl Lease {
    /// Counts one more fault of the lane.
    pub(super) async fn note_fault(&self, lane: LaneId, reason: &str, at: Timestamp) -> Result<(), ReadError> {
        let (lane, at, reason) = (lane_name(lane), row::time(at), stored_reason(reason));
        let in_a_row = IN_A_ROW.as_secs_f64();
        let noted = self.within(|session| async move {
            let noted = session.execute(NOTE, &[&lane, &at, &reason, &in_a_row]).await;
            (session, noted.map(drop).map_err(|error| lease::failed(&error)))
        });
        noted.await.map_err(ReadError::from_source)
    }

    /// Forgets the lane's faults.
    pub(super) async fn forget_faults(&self, lane: LaneId) -> Result<(), ReadError> {
        let lane = lane_name(lane);
        let forgotten = self.within(|session| async move {
            let forgotten = session.execute(FORGET, &[&lane]).await;
            (session, forgotten.map(drop).map_err(|error| lease::failed(&error)))
        });
        forgotten.await.map_err(ReadError::from_source)
    }
}

/// Every lane with faults.
pub(super) async fn all(session: &Exclusive) -> Result<Vec<Fault>, ReadError> {
    let sql = "SELECT lane, times, at, reason FROM chroma_edge.faults ORDER BY lane";
    let rows = session.query(sql, &[]).await.map_err(failed)?;
    let read = |found: &tokio_postgres::Row| {
        Ok(Fault {
            lane: row::lane(found)?,
            times: row::unsigned(found, "times")?,
            at: row::moment(found, "at")?,
            reason: row::text(found, "reason")?,
        })
    };
    rows.iter().map(read).collect()
}
