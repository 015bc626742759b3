//! The edge's own pages: health, status, the journal, mappings, metrics, and transactions (`safety`).
//!
//! Every number is read from the board, the registry or the journal at the time of the request (G10). These pages keep
//! no counts of their own.

mod adopt;
mod audit;
mod client;
mod collections;
mod dashboard;
mod earlier;
mod faults;
mod following;
mod foreign;
mod heal;
mod instances;
mod journal;
mod lag;
mod openapi;
mod options;
mod pages;
mod quarantine;
mod ready;
mod refused;
mod reload;
mod safety;
mod standby;
mod state;
mod table;

pub use self::earlier::Earlier;
pub use self::options::{AdminOptions, EarlierOptions, Lanes, StoreKind};
pub use self::reload::{Ask, Change as ReloadChange, Process, Reload, ReloadRefusal, Reloaded, Restart};
pub use self::safety::shown_in_event;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::Method;
use serde_json::Value;

use self::dashboard::Dashboard;
use self::following::Ends;
use self::safety::{Query, Refusal, Safety, SafetyPage};
use self::table::{PageId, Route};
use crate::audit::AuditReport;
use crate::clock;
use crate::coordinator::Core;
use crate::current::Current;
use crate::events::{Hub, WebhookGauges};
use crate::heal::HealProgress;
use crate::ids::LaneId;
use crate::instance::Health;
use crate::proxy::{Admission, Objects, Vouch};
use crate::web::{OwnPages, PageAnswer, PageRequest, Reply, no_such_page};

pub use self::standby::StandbyPages;

/// The edge's own pages, and the rooms that they read from.
pub struct Admin {
    core: Arc<Core>,
    admission: Arc<Admission>,
    store: StoreKind,
    started: Instant,
    listeners: Listeners,
    healing: Arc<HealProgress>,
    audits: Arc<AuditReport>,
    safety: Safety,
    vouch: Arc<Vouch>,
    objects: Arc<Objects>,
    dashboard: Dashboard,
    ends: Ends,
    reload: Arc<dyn Reload>,
    earlier: Earlier,
    options: Current<AdminOptions>,
}

/// A page.
enum Page {
    Json {
        status: u16,
        body: Value,
    },
    Text {
        content_type: &'static str,
        body: Vec<u8>,
    },
    /// The page exists, but does not support the method.
    MethodNotAllowed,
}

/// The consumers of events.
#[derive(Clone)]
pub struct Listeners {
    pub hub: Arc<Hub>,
    /// The webhook's gauges, if one is configured.
    pub webhook: Option<Arc<WebhookGauges>>,
}

impl Admin {
    /// Builds the pages over these rooms.
    pub fn new(
        (core, admission, health): (Arc<Core>, Arc<Admission>, Arc<Health>),
        listeners: Listeners,
        (vouch, objects): (Arc<Vouch>, Arc<Objects>),
        ((healing, audits), earlier): ((Arc<HealProgress>, Arc<AuditReport>), Earlier),
        (options, reload): (Current<AdminOptions>, Arc<dyn Reload>),
    ) -> Admin {
        let hub = Arc::clone(&listeners.hub);
        let (store, dashboard) = (options.get().store, Dashboard::new(options.get().dashboards));
        let safety = Safety::new(Arc::clone(&core), Arc::clone(&admission), health, hub, options.clone());
        let started = clock::now();
        Admin {
            core,
            admission,
            store,
            started,
            listeners,
            healing,
            audits,
            safety,
            vouch,
            objects,
            dashboard,
            ends: Ends::default(),
            reload,
            earlier,
            options,
        }
    }
}

/// The page that changes the primary.
const SWITCHOVER: &str = "/admin/switchover";
/// The page that drains an instance.
const DRAIN: &str = "/admin/drain";
/// The page that ends a drain.
const UNDRAIN: &str = "/admin/undrain";
/// The page that lists faults.
const FAULTS: &str = "/admin/faults";

/// Parses the lane from a path below `FAULTS`: `Some(None)` if the name is not a lane's, `None` for any other path.
fn lane_of_faults(path: &str) -> Option<Option<LaneId>> {
    let lane = path.strip_prefix(FAULTS)?.strip_prefix('/')?;
    Some(lane.parse().ok())
}

#[async_trait]
impl OwnPages for Admin {
    fn takes(&self, method: &Method, path: &str) -> Option<usize> {
        table::at(path).map(|route| route.body_bytes(method))
    }

    async fn respond(&self, request: PageRequest) -> PageAnswer {
        let Some(route) = table::at(&request.path) else { return Reply::from(no_such_page()).into() };
        if !route.allows(&request.method) {
            return Reply::wrong_method(route.methods).into();
        }
        if let (PageId::Safety, Some(page)) = (route.page, SafetyPage::at(&request.path)) {
            return self.safety.respond(page, &request).await;
        }
        if route.page == PageId::Dashboard {
            return self.on_dashboard(&request).await;
        }
        self.reply(route, &request).await.unwrap_or_else(|refusal| Reply::from(&refusal)).into()
    }
}

impl Admin {
    /// Answers with the page; the method is one that the page supports.
    async fn reply(&self, route: &Route, request: &PageRequest) -> Result<Reply, Refusal> {
        let (earlier, path) = (&self.earlier, &request.path);
        let page = |body: Value| Reply::json(200, body.to_string());
        Ok(match route.page {
            PageId::Health => self.health().await.into(),
            PageId::Live => self.alive().into(),
            PageId::Ready => self.ready().await.into(),
            PageId::Status => {
                if Query::of(&request.query).get("realtime") == Some("true") {
                    earlier.probe().await;
                }
                self.status().await.into()
            }
            PageId::WalStatus => self.wal_status().await.into(),
            PageId::WalCleanup => earlier.wal_cleanup(&self.safety, request).await?,
            PageId::Mappings => self.mappings().await.into(),
            PageId::Mapping => earlier.delete_mapping(&route.parameter(path)),
            PageId::Metrics if earlier::wants_json(&request.headers) => page(earlier.machine()),
            PageId::Metrics => self.metrics().await.into(),
            PageId::MetricsJson => page(earlier.machine()),
            PageId::OpenApi => openapi::page(),
            PageId::ClientScript => client::respond(request),
            PageId::Quarantine => self.quarantine().await.into(),
            PageId::Quarantined => self.on_quarantined(&route.parameter(path), request).await,
            PageId::Faults => self.faults().await.into(),
            PageId::LaneFaults => self.forget_faults(&request.method, lane_of_faults(path).flatten()).await,
            PageId::Instances => self.on_instances(request),
            PageId::Adopt => self.on_adopt(request).await,
            PageId::Foreign => self.on_foreign(request),
            PageId::Heal => self.on_heal(request),
            PageId::Audit => self.on_audit(request),
            PageId::CollectionMappings => earlier.collection_mappings(request).await?,
            PageId::CreateMapping => earlier.create_mapping(request).await,
            PageId::CompleteMappings => earlier.complete_mappings(request).await,
            PageId::InstanceList => page(earlier.instances()),
            PageId::InstanceHealth => self.on_instance_health(&route.parameter(path), request),
            PageId::WalCount => page(Earlier::wal_count(self.pending_now(), self.journal_refusal().await.is_none())),
            PageId::WalErrors => page(earlier.wal_errors().await?),
            PageId::WalDebug => page(earlier.wal_debug(self.pending_now()).await?),
            PageId::Scalability => page(earlier.scalability()),
            PageId::Button => earlier.press(path, self.pending_now()).await?,
            PageId::Reload => reload::respond(self.reload.as_ref(), request).await,
            // Handled in `respond`.
            PageId::Safety | PageId::Dashboard => no_such_page().into(),
        })
    }
}

impl From<Page> for Reply {
    fn from(page: Page) -> Self {
        match page {
            Page::Json { status, body } => Reply::json(status, body.to_string()),
            Page::Text { content_type, body } => Reply::json(200, body).with(http::header::CONTENT_TYPE, content_type),
            Page::MethodNotAllowed => Reply::wrong_method("GET,HEAD"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_lane_of_its_faults() {
        let collection = "0190a5d8-0000-7000-8000-000000000001";
        assert_eq!(lane_of_faults("/admin/faults/catalog"), Some(Some(LaneId::Catalog)));
        let lane = lane_of_faults(&format!("/admin/faults/{collection}")).flatten().unwrap();
        assert_eq!(lane.to_string(), collection);
        assert_eq!(lane_of_faults("/admin/faults/things"), Some(None));
        assert_eq!(
            [lane_of_faults("/admin/faults"), lane_of_faults("/admin/faultsx"), lane_of_faults("/health")],
            [None; 3]
        );
    }
}
