//! The buttons of the earlier system. Some of them discarded writes in that system; here none does. The answer reports
//! the actual state, and what was not done.

use serde_json::{Value, json};

use super::Earlier;
use crate::admin::safety::Refusal;
use crate::journal::Status;
use crate::web::Reply;

impl Earlier {
    /// Handles the button at this path.
    pub(in crate::admin) async fn press(&self, path: &str, pending: u64) -> Result<Reply, Refusal> {
        let body = match path {
            "/admin/sync_collections" => self.sync_collections(pending),
            "/admin/force_recovery_restart" => {
                self.look_again("Recovery looks at every lane now; it was not restarted")
            }
            "/admin/force_transaction_reset" => Self::with(
                self.look_again(
                    "No transaction was reset: open ones are finished by recovery, which looks at all of them now",
                ),
                json!({ "reset_count": 0 }),
            ),
            "/admin/reset_stuck_transactions" => Self::with(
                self.look_again("No transaction was reset: what waits for a repetition is repeated now"),
                json!({ "reset_count": 0 }),
            ),
            "/admin/force_delete_sync" => Self::with(
                self.look_again(
                    "Deletes are replicated in the order of all writes: none was sent out of turn, and no wait is left",
                ),
                json!({ "pending_writes": pending }),
            ),
            "/admin/clear_wal_errors" => self.keep_errors().await?,
            "/admin/optimize_connection_pool" => self.pool(),
            _ => self.reset_stats(),
        };
        Ok(Reply::json(200, body.to_string()))
    }

    fn with(mut body: Value, more: Value) -> Value {
        super::performance::extend(&mut body, more);
        body
    }

    /// Triggers recovery of every lane, and ends every pause before a retry.
    fn look_again(&self, message: &str) -> Value {
        json!({ "success": true, "message": message, "pending_recovery": self.core.hurry() })
    }

    fn sync_collections(&self, pending: u64) -> Value {
        let registry = self.core.registry();
        let inspected: Vec<&str> = registry
            .ids()
            .filter(|id| self.core.is_in_use(*id))
            .map(|id| {
                self.core.doubt_contents(id);
                registry.name(id).as_str()
            })
            .collect();
        let body = self.look_again("The instances that are in use are inspected, and every lane is looked at now");
        Self::with(body, json!({ "inspected_instances": inspected, "pending_writes": pending }))
    }

    async fn keep_errors(&self) -> Result<Value, Refusal> {
        let summary = self.core.store().summary().await?;
        let of = |status: Status| summary.iter().find(|one| one.status == status).map_or(0, |one| one.count);
        Ok(json!({
            "success": true,
            "message": "Nothing was cleared: failed writes are executed by recovery, and what was given up stays in the \
                audit log until retention removes it",
            "cleared": 0,
            "waiting_for_recovery": of(Status::Failed),
            "given_up": of(Status::Abandoned),
        }))
    }

    fn pool(&self) -> Value {
        let traffic = self.counts().0.traffic;
        let message = match self.options.get().earlier.kept_connections {
            Some(_) => {
                "Nothing was changed: connections are opened when they are needed, and closed when they are idle"
            }
            None => "Nothing was changed: by configuration each request has a connection of its own",
        };
        json!({ "success": true, "message": message, "hits": traffic.hits, "misses": traffic.misses })
    }

    fn reset_stats(&self) -> Value {
        self.begin_anew();
        tracing::info!("an operator reset the numbers of these pages");
        json!({
            "success": true,
            "message": "performance_stats and stats begin anew; /metrics, the journal and what is counted of each instance go on",
        })
    }
}
