//! Faults of the edge by lane: what is known of them, which lanes are halted, and how an operator clears them.
//!
//! A halted lane stays halted until the next start: clearing the journal's record does not change the board.

use http::Method;
use serde_json::{Value, json};

use super::{Admin, Page};
use crate::ids::LaneId;
use crate::journal::Fault;
use crate::web::Reply;

impl Admin {
    /// Lists the halted lanes, for `/status`.
    pub(super) fn halted_lanes(&self) -> Vec<Value> {
        self.core.halted().iter().map(|fault| self.shown_fault(fault)).collect()
    }

    fn shown_fault(&self, fault: &Fault) -> Value {
        let Fault { lane, times, at, reason } = fault;
        let board = self.core.board();
        let name = match lane {
            LaneId::Catalog => None,
            LaneId::Records(collection) => board.catalog().get(*collection).map(|known| known.name.clone()),
        };
        json!({
            "lane": lane.to_string(),
            "collection_name": name,
            "halted": self.core.halted().iter().any(|halted| halted.lane == *lane),
            "times": times,
            "at": at.millis(),
            "reason": reason,
            "waiting_writes": board.halted_entries(*lane),
        })
    }

    /// Lists every lane with faults, and the halted lanes that have none in the journal.
    pub(super) async fn faults(&self) -> Page {
        let mut faults = match self.core.store().faults().await {
            Ok(faults) => faults,
            Err(error) => return Page::Json { status: 503, body: json!({ "error": error.to_string() }) },
        };
        let known: Vec<LaneId> = faults.iter().map(|fault| fault.lane).collect();
        faults.extend(self.core.halted().iter().filter(|fault| !known.contains(&fault.lane)).cloned());
        let faults: Vec<Value> = faults.iter().map(|fault| self.shown_fault(fault)).collect();
        Page::Json { status: 200, body: json!({ "faults": faults }) }
    }

    /// Clears a lane's faults, so that the next start does not halt it. `None`: the path names no lane.
    pub(super) async fn forget_faults(&self, method: &Method, lane: Option<LaneId>) -> Reply {
        if method != Method::DELETE {
            return Reply::wrong_method("DELETE");
        }
        let Some(lane) = lane else {
            return Reply::json(404, json!({ "error": "a lane is `catalog` or the id of a collection" }).to_string());
        };
        match self.core.store().forget_faults(lane).await {
            Ok(()) => {
                tracing::info!(%lane, "its faults are forgotten: the next start does not halt the lane");
                let halted = self.core.halted().iter().any(|fault| fault.lane == lane);
                Reply::json(200, json!({ "lane": lane.to_string(), "restart_needed": halted }).to_string())
            }
            Err(error) => Reply::json(503, json!({ "error": error.to_string() }).to_string()),
        }
    }
}
