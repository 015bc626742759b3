//! The pages of a standby. Its health is 503, so that no load balancer sends clients to it.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use super::options::StoreKind;
use super::reload::{self, Reload};
use super::{Page, earlier, openapi, ready};
use crate::clock;
use crate::metrics::{self, Gauges, Number};
use crate::process::Observer;
use crate::proxy::{StandbyReason, StandbyState};
use crate::web::{OwnPages, PageAnswer, PageRequest, Reply};

/// The pages that a standby has.
const PAGES: [&str; 7] =
    ["/health", "/health/live", "/health/ready", "/status", "/metrics", "/metrics.json", "/openapi.json"];

/// Health, status and metrics of an edge that is not active.
pub struct StandbyPages {
    standby: Arc<StandbyState>,
    store: StoreKind,
    started: Instant,
    reload: Arc<dyn Reload>,
    observer: Observer,
}

impl StandbyPages {
    /// Builds the pages of an edge that waits for the reason in `standby`.
    pub fn new(standby: Arc<StandbyState>, store: StoreKind, reload: Arc<dyn Reload>) -> StandbyPages {
        StandbyPages { standby, store, started: clock::now(), reload, observer: Observer::default() }
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
    fn takes(&self, method: &Method, path: &str) -> Option<usize> {
        if reload::takes(path) {
            return Some(reload::body_bytes(method));
        }
        PAGES.contains(&path).then_some(0)
    }

    async fn respond(&self, request: PageRequest) -> PageAnswer {
        if reload::takes(&request.path) {
            return reload::respond(self.reload.as_ref(), &request).await.into();
        }
        let page = match request.path.as_str() {
            _ if request.method != Method::GET && request.method != Method::HEAD => Page::MethodNotAllowed,
            "/health" => self.health(),
            "/health/live" => ready::live(self.started),
            "/health/ready" => ready::not_ready("standby", "another edge serves, or the journal is not there yet"),
            "/status" => self.status(),
            "/openapi.json" => return openapi::page().into(),
            "/metrics.json" => Page::Json { status: 200, body: earlier::machine_page(&self.observer) },
            "/metrics" if earlier::wants_json(&request.headers) => {
                Page::Json { status: 200, body: earlier::machine_page(&self.observer) }
            }
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
    use crate::admin::{Ask, ReloadRefusal, Reloaded};

    struct Unchanged;

    #[async_trait]
    impl Reload for Unchanged {
        async fn reload(&self, _ask: Ask) -> Result<Reloaded, ReloadRefusal> {
            Ok(Reloaded::default())
        }
    }

    async fn page(standby: StandbyReason, path: &str) -> Option<(u16, String)> {
        let shared = Arc::new(StandbyState::default());
        shared.set(standby);
        let pages = StandbyPages::new(shared, StoreKind::Postgres, Arc::new(Unchanged));
        pages.takes(&Method::GET, path)?;
        let request = PageRequest {
            method: Method::GET,
            path: path.to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            client_ip: None,
            principal: crate::auth::Principal::anonymous(crate::auth::Role::Admin),
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
        let (live, _) = page(StandbyReason::Starting, "/health/live").await.unwrap();
        let (ready, body) = page(StandbyReason::Starting, "/health/ready").await.unwrap();
        assert!(live == 200 && ready == 503 && body.contains("standby"), "{live} {ready} {body}");
        assert!(
            PAGES.iter().all(|path| crate::admin::table::at(path).is_some()),
            "they are pages of an active edge, too"
        );
    }
}
