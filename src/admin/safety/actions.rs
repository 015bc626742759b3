//! Actions: trigger recovery, and remove old transactions.
//!
//! Neither can do harm: recovery itself decides what it may do, and rule R11 of the store decides what may be removed.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::left::{Bound, Left};
use super::{Refusal, Safety};
use crate::clock::{self, Timestamp};
use crate::journal::Trimming;
use crate::web::{PageRequest, Reply};

/// Transactions removed per commit; small enough that no write waits long.
const BATCH: u32 = 500;
/// How long one request may go on removing transactions.
const LONGEST: Duration = Duration::from_secs(10);
/// How long a triggered recovery waits for the probes.
const PROBES: Duration = Duration::from_secs(5);
/// A hundred years.
const MOST_DAYS: u32 = 36_525;

#[derive(Deserialize)]
struct Cleanup {
    days_old: u32,
}

impl Safety {
    /// Probes every instance now, and ends every wait before a retry.
    pub(super) async fn trigger(&self) -> Reply {
        // A hanging instance is left to the regular probes.
        let _ = tokio::time::timeout(PROBES, self.health.probe()).await;
        let pending = self.core.hurry();
        let message = match pending {
            0 => "Nothing waits for recovery".to_owned(),
            1 => "1 transaction waits for recovery: every instance was looked at".to_owned(),
            some => format!("{some} transactions wait for recovery: every instance was looked at"),
        };
        Reply::json(200, json!({ "success": true, "message": message, "pending": pending }).to_string())
    }

    /// Removes transactions that ended at least this many days ago, as retention does.
    pub(super) async fn cleanup(&self, request: &PageRequest) -> Result<Reply, Refusal> {
        let expected = || Refusal::BadBody(format!("Expected {{\"days_old\": n}}, n from 0 to {MOST_DAYS}"));
        let Cleanup { days_old } = serde_json::from_slice(&request.body).map_err(|_| expected())?;
        if days_old > MOST_DAYS {
            return Err(expected());
        }
        let age = Duration::from_secs(u64::from(days_old) * 24 * 60 * 60);
        let (deleted, message) = self.remove_older(age).await?;
        let body = json!({ "success": true, "deleted_transactions": deleted, "message": message });
        Ok(Reply::json(200, body.to_string()))
    }

    /// Removes transactions that ended at least this long ago, if retention may remove them, and as many as one request
    /// may. Returns how many it removed, and why not more. Keeps those whose id a client may still repeat: without
    /// them, a repeated write would be executed a second time.
    pub(in crate::admin) async fn remove_older(&self, age: Duration) -> Result<(u64, String), Refusal> {
        let keep = self.options.get().keep_ids;
        let before = Timestamp::now().before(age.max(keep));
        let registry = self.core.registry();
        let configured: Vec<_> = registry.ids().map(|id| registry.name(id).clone()).collect();
        let deadline = clock::now() + LONGEST;
        let mut deleted = 0;
        let message = loop {
            match self.core.store().trim(before, &configured, Trimming::Age, BATCH).await {
                Ok(trimmed) if trimmed.transactions == 0 => {
                    let bound = if keep > age { Bound::KeepIds } else { Bound::Asked };
                    break match Left::count(self.core.store().as_ref(), before).await {
                        Ok(left) => left.text(before, bound),
                        Err(error) => format!("What is left could not be counted: {error}"),
                    };
                }
                Ok(trimmed) => deleted += trimmed.transactions,
                Err(error) if deleted == 0 => return Err(Refusal::NotRemoved(error.to_string())),
                Err(error) => break format!("Stopped: {error}"),
            }
            if clock::now() >= deadline {
                break "There may be more: ask again".to_owned();
            }
        };
        Ok((deleted, message))
    }
}
