//! This process's identity in the journal, and the journal state that it has seen and that must not be lost.
//!
//! The epoch in the journal's row is the fence: every commit names the epoch it was made under, and the server refuses
//! all others. This process raises the epoch when it takes the journal over, and again whenever something it sent may
//! still arrive. A journal that counts fewer commits than were acknowledged has come back behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Row;
use uuid::Uuid;

use crate::journal::ReadError;
use crate::journal::postgres::codec::row::get;
use crate::journal::postgres::connection::connect::Session;
use crate::journal::postgres::connection::pipeline::{Outcome, query, transact};

/// Why nothing is committed while the database is set to read-only.
pub(in crate::journal::postgres) const READ_ONLY: &str = "the database is set to read-only";

/// How far a journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::journal::postgres) struct Known {
    /// `None` if nothing is known yet.
    pub(in crate::journal::postgres) journal_id: Option<Uuid>,
    pub(in crate::journal::postgres) commits: i64,
    pub(in crate::journal::postgres) last_seq: i64,
}

impl Known {
    /// Reads the columns `journal_id`, `commits` and `last_seq`.
    pub(in crate::journal::postgres) fn read(row: &Row) -> Result<Known, ReadError> {
        Ok(Known {
            journal_id: get(row, "journal_id")?,
            commits: get(row, "commits")?,
            last_seq: get(row, "last_seq")?,
        })
    }
}

/// The journal's row, with its lease.
#[derive(Clone, Debug)]
pub(in crate::journal::postgres) struct Found {
    pub(in crate::journal::postgres) known: Known,
    pub(in crate::journal::postgres) epoch_holder: Option<Uuid>,
    pub(in crate::journal::postgres) halted: Option<String>,
    pub(in crate::journal::postgres) holder: Option<Uuid>,
    pub(in crate::journal::postgres) holder_name: Option<String>,
    /// Whether the holder's lease still runs, by the database's clock.
    pub(in crate::journal::postgres) runs: bool,
    /// Whether this connection's transactions are read-only by default.
    pub(in crate::journal::postgres) reads_only: bool,
    /// Whether commits wait for a replica. If so, a read may return a commit that no replica has and that was never
    /// acknowledged.
    pub(in crate::journal::postgres) waits_for_replicas: bool,
}

/// The columns that [`Found::read`] reads.
pub(in crate::journal::postgres) const FOUND: &str = "
    SELECT j.journal_id, j.last_seq, j.commits, j.epoch_holder, j.halted, l.holder, l.holder_name,
        coalesce(l.expires_at > clock_timestamp(), false) AS runs,
        current_setting('transaction_read_only') = 'on' AS reads_only,
        current_setting('synchronous_standby_names') <> '' AS waits_for_replicas
    FROM chroma_edge.journal AS j, chroma_edge.lease AS l";

impl Found {
    pub(in crate::journal::postgres) fn read(row: &Row) -> Result<Found, ReadError> {
        Ok(Found {
            known: Known::read(row)?,
            epoch_holder: get(row, "epoch_holder")?,
            halted: get(row, "halted")?,
            holder: get(row, "holder")?,
            holder_name: get(row, "holder_name")?,
            runs: get(row, "runs")?,
            reads_only: get(row, "reads_only")?,
            waits_for_replicas: get(row, "waits_for_replicas")?,
        })
    }

    /// Returns the holder's name, for messages.
    pub(in crate::journal::postgres) fn by(&self) -> String {
        self.holder_name.clone().unwrap_or_else(|| "an edge without a name".to_owned())
    }
}

/// This process as the journal sees it.
pub(in crate::journal::postgres) struct Fence {
    me: Uuid,
    name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The epoch of this process's commits, while it holds the journal.
    epoch: Option<i64>,
    /// The last epoch that this process's commits were made under.
    last_epoch: Option<i64>,
    /// The furthest state that was seen acknowledged.
    known: Known,
    access: Access,
}

/// Whether the database's operator lets its clients write, as seen on the lease's connection. (Commits explicitly ask
/// for write access, so they would not notice.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::journal::postgres) enum Access {
    #[default]
    Writes,
    ReadsOnly,
}

impl Fence {
    pub(in crate::journal::postgres) fn new(name: String) -> Fence {
        Fence { me: Uuid::new_v4(), name, state: Mutex::default() }
    }

    /// Returns the id of this process.
    pub(in crate::journal::postgres) fn me(&self) -> Uuid {
        self.me
    }

    /// Returns the name of this process, for operators.
    pub(in crate::journal::postgres) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::journal::postgres) fn epoch(&self) -> Option<i64> {
        self.state().epoch
    }

    /// Returns the last epoch that this process had, which it may have lost.
    pub(in crate::journal::postgres) fn last_epoch(&self) -> Option<i64> {
        self.state().last_epoch
    }

    pub(in crate::journal::postgres) fn hold(&self, epoch: Option<i64>) {
        let mut state = self.state();
        state.epoch = epoch;
        state.last_epoch = epoch.or(state.last_epoch);
    }

    /// Returns the furthest state seen acknowledged so far. Call it before reading the journal.
    pub(in crate::journal::postgres) fn known(&self) -> Known {
        self.state().known
    }

    pub(in crate::journal::postgres) fn access(&self) -> Access {
        self.state().access
    }

    pub(in crate::journal::postgres) fn set_access(&self, access: Access) {
        self.state().access = access;
    }

    /// Records that the journal acknowledged this state.
    pub(in crate::journal::postgres) fn learn(&self, seen: Known) {
        let known = &mut self.state().known;
        known.journal_id = known.journal_id.or(seen.journal_id);
        known.commits = known.commits.max(seen.commits);
        known.last_seq = known.last_seq.max(seen.last_seq);
    }

    /// Records the state that was read from the journal. While commits wait for a replica, a read acknowledges nothing:
    /// a failover may lose commits for which the server gave up waiting, and that loses nothing acknowledged.
    pub(in crate::journal::postgres) fn learn_by_reading(&self, found: &Found) {
        if !found.waits_for_replicas {
            self.learn(found.known);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what is wrong with a journal in the state `found`, if it is behind `known`.
pub(in crate::journal::postgres) fn behind(known: Known, found: Known) -> Option<String> {
    if known.journal_id.is_some() && known.journal_id != found.journal_id {
        return Some(
            "the database holds another journal than before: bring the one back that this edge worked with, or \
             restart the edge to work with this one"
                .to_owned(),
        );
    }
    if found.commits >= known.commits && found.last_seq >= known.last_seq {
        return None;
    }
    Some(format!(
        "the journal came back behind what it had acknowledged: it had {} commits up to position {}, and now has {} up to \
         position {}. Its database lost its tail (a failover to a server that was behind, or an older copy), and with it \
         acknowledged writes, or the progress of what was sent. Bring the lost part back if there is a copy of it; \
         to go on without it, compare the instances, and then: UPDATE chroma_edge.journal SET halted = NULL",
        known.commits, known.last_seq, found.commits, found.last_seq
    ))
}

/// Halts a journal that came back behind, so that a restart does not hide it: no edge may commit to it or take it over
/// until an operator has dealt with it. Positions that were given out once are not given out again.
const HALT: &str = "
    UPDATE chroma_edge.journal SET halted = coalesce(halted, $1), commits = greatest(commits, $2),
        last_seq = greatest(last_seq, $3), epoch = epoch + 1, epoch_holder = NULL";

/// Halts a journal that came back behind. If this fails, the next connection detects it again.
pub(in crate::journal::postgres) async fn halt(session: &Session, known: Known, text: &str) {
    tracing::error!(reason = text, "the journal is halted");
    let queries = [query!(HALT, text, known.commits, known.last_seq)];
    if let Outcome::Failed(said, _) = transact(session, &queries).await {
        tracing::error!(reason = %said, "cannot halt the journal");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_commits_or_positions_are_behind() {
        let at = |commits, last_seq| Known { journal_id: Some(Uuid::nil()), commits, last_seq };
        assert_eq!(behind(at(5, 9), at(5, 9)), None);
        assert_eq!(behind(at(5, 9), at(6, 9)), None);
        for found in [at(4, 9), at(5, 8), at(7, 8)] {
            let text = behind(at(5, 9), found).unwrap();
            assert!(text.contains("5 commits up to position 9"), "{text}");
        }
    }
}
