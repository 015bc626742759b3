//! The pages of an edge that stands by. No load balancer sends clients to it: its health is 503.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use super::{Page, StoreKind};
use crate::clock;
use crate::metrics::{self, Gauges, Number};
use crate::proxy::{StandbyReason, StandbyState};
use crate::web::{OwnPages, PageAnswer, PageRequest, Reply};

/// Health, status and metrics of an edge that is not active.
pub struct StandbyPages {
    standby: Arc<StandbyState>,
    store: StoreKind,
    started: Instant,
}

impl StandbyPages {
    /// The pages of an edge that waits for what `standby` says.
    pub fn new(standby: Arc<StandbyState>, store: StoreKind) -> StandbyPages {
        StandbyPages { standby, store, started: clock::now() }
    }

    fn health(&self) -> Page {
        let (holder, journal) = self.waiting();
        let body = json!({
            "status": "standby",
            "journal_held_by": holder,
            "journal": journal,
            "uptime_seconds": self.started.elapsed().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        Page::Json { status: 503, body }
    }

    fn status(&self) -> Page {
        let (holder, journal) = self.waiting();
        let body = json!({
            "role": "standby",
            "journal": { "store": self.store.as_str(), "held_by": holder, "state": journal },
            "uptime_seconds": self.started.elapsed().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        Page::Json { status: 200, body }
    }

    fn waiting(&self) -> (Value, &'static str) {
        match self.standby.get() {
            StandbyReason::Starting => (Value::Null, "starting"),
            StandbyReason::Held { by } => (by.into(), "held"),
            StandbyReason::Unreachable { .. } => (Value::Null, "unreachable"),
        }
    }
}

#[async_trait]
impl OwnPages for StandbyPages {
    fn takes(&self, _method: &Method, path: &str) -> Option<usize> {
        matches!(path, "/health" | "/status" | "/metrics").then_some(0)
    }

    async fn respond(&self, request: PageRequest) -> PageAnswer {
        let page = match request.path.as_str() {
            _ if request.method != Method::GET && request.method != Method::HEAD => Page::MethodNotAllowed,
            "/health" => self.health(),
            "/status" => self.status(),
            _ => {
                let numbers = vec![(Number::Active, 0), (Number::LeaseHeld, 0)];
                let body = metrics::page(&Gauges { numbers, ..Gauges::default() });
                Page::Text { content_type: metrics::CONTENT_TYPE, body }
            }
        };
        Reply::from(page).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn page(standby: StandbyReason, path: &str) -> Option<(u16, String)> {
        let shared = Arc::new(StandbyState::default());
        shared.set(standby);
        let pages = StandbyPages::new(shared, StoreKind::Postgres);
        pages.takes(&Method::GET, path)?;
        let request = PageRequest {
            method: Method::GET,
            path: path.to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            client_ip: None,
        };
        let PageAnswer::Whole(reply) = pages.respond(request).await else { panic!("a page has an end") };
        Some((reply.status, String::from_utf8(reply.body.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn health_keeps_load_balancers_away_and_names_the_holder() {
        let (status, body) = page(StandbyReason::Held { by: "edge-2".to_owned() }, "/health").await.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["status"], &body["journal_held_by"]), (503, &json!("standby"), &json!("edge-2")));
        let (_, body) = page(StandbyReason::Unreachable { why: "refused".to_owned() }, "/status").await.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["role"], &body["journal"]["state"]), (&json!("standby"), &json!("unreachable")));
    }

    #[tokio::test]
    async fn the_metrics_say_that_it_is_not_active_and_other_pages_are_none() {
        let (status, body) = page(StandbyReason::Starting, "/metrics").await.unwrap();
        assert!(status == 200 && body.contains("chroma_edge_active 0\n"), "{body}");
        assert_eq!(page(StandbyReason::Starting, "/collection/mappings").await, None);
    }
}
