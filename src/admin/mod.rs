//! The edge's own pages: health, status, the journal, mappings, metrics, and transactions (`safety`).
//!
//! Every number is read from the board, the registry or the journal when it is asked for (G10); nothing here is
//! counted on the side.

mod adopt;
mod audit;
mod client;
mod faults;
mod foreign;
mod heal;
mod instances;
mod pages;
mod quarantine;
mod refused;
mod safety;
mod standby;

pub use self::safety::shown_in_event;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use self::safety::{Safety, SafetyPage};
use crate::audit::AuditReport;
use crate::chroma::EdgeAnswer;
use crate::clock;
use crate::coordinator::Core;
use crate::events::{Hub, WebhookGauges};
use crate::heal::HealProgress;
use crate::ids::LaneId;
use crate::instance::Health;
use crate::proxy::{Admission, Objects, Vouch};
use crate::web::{KeyHeaders, OwnPages, PageAnswer, PageRequest, Reply};

pub use self::standby::StandbyPages;

/// The edge's own pages, and the rooms that they read.
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
}

/// Where the journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Sqlite,
    Postgres,
}

impl StoreKind {
    /// As shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            StoreKind::Sqlite => "sqlite",
            StoreKind::Postgres => "postgres",
        }
    }
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
    /// The path is a page's, the method is not.
    MethodNotAllowed,
}

/// What the pages need of the configuration.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// Between two runs of recovery when nothing has changed.
    pub recovery_interval: Duration,
    pub store: StoreKind,
    /// Which request headers bring the client's own id of an operation.
    pub key_headers: KeyHeaders,
}

/// The consumers of events.
#[derive(Clone)]
pub struct Listeners {
    pub hub: Arc<Hub>,
    /// The webhook's numbers, if there is one.
    pub webhook: Option<Arc<WebhookGauges>>,
}

impl Admin {
    /// The pages over these rooms.
    pub fn new(
        core: Arc<Core>,
        admission: Arc<Admission>,
        health: Arc<Health>,
        listeners: Listeners,
        (vouch, objects): (Arc<Vouch>, Arc<Objects>),
        (healing, audits): (Arc<HealProgress>, Arc<AuditReport>),
        options: &AdminOptions,
    ) -> Admin {
        let hub = Arc::clone(&listeners.hub);
        let (interval, key_headers) = (options.recovery_interval, options.key_headers.clone());
        let safety = Safety::new(Arc::clone(&core), Arc::clone(&admission), health, hub, interval, key_headers);
        let store = options.store;
        Admin { core, admission, store, started: clock::now(), listeners, healing, audits, safety, vouch, objects }
    }

    async fn page(&self, path: &str) -> Option<Page> {
        Some(match path {
            "/health" => self.health(),
            "/status" => self.status().await,
            "/wal/status" => self.wal_status().await,
            "/collection/mappings" => self.mappings(),
            "/admin/quarantine" => self.quarantine().await,
            "/metrics" => self.metrics().await,
            FAULTS => self.faults().await,
            _ => return None,
        })
    }
}

/// The paths of [`Admin::page`].
const PAGES: [&str; 7] =
    ["/health", "/status", "/wal/status", "/collection/mappings", "/admin/quarantine", "/metrics", "/admin/faults"];

/// Where another primary is asked for.
const SWITCHOVER: &str = "/admin/switchover";
/// Where a drain is asked for.
const DRAIN: &str = "/admin/drain";
/// Where its end is asked for.
const UNDRAIN: &str = "/admin/undrain";
/// The largest body of a request for one of them.
const INSTANCE_BODY_BYTES: usize = 4096;
/// The paths of [`Admin::on_instances`].
const INSTANCE_PAGES: [&str; 3] = [SWITCHOVER, DRAIN, UNDRAIN];

/// The largest body of a request about something that is quarantined.
const QUARANTINE_BODY_BYTES: usize = 4096;

/// The id of something that is quarantined, if this is the path of one.
fn quarantined_at(path: &str) -> Option<String> {
    let segment = path.strip_prefix("/admin/quarantine/").filter(|segment| !segment.contains('/'))?;
    Some(percent_decode_str(segment).decode_utf8_lossy().into_owned())
}

/// Where operators give their words.
const ADOPT: &str = "/admin/adopt";
const FOREIGN: &str = "/admin/foreign";
const HEAL: &str = "/admin/heal";
const AUDIT: &str = "/admin/audit";
const WORDS: [&str; 4] = [ADOPT, FOREIGN, HEAL, AUDIT];

/// The largest body with one.
const WORD_BYTES: usize = 16 * 1024;

/// Where faults are listed.
const FAULTS: &str = "/admin/faults";

/// The lane whose faults this path names, if it names faults: `Some(None)` if no lane is called so.
fn lane_of_faults(path: &str) -> Option<Option<LaneId>> {
    let lane = path.strip_prefix(FAULTS)?.strip_prefix('/')?;
    Some(lane.parse().ok())
}

#[async_trait]
impl OwnPages for Admin {
    fn takes(&self, method: &Method, path: &str) -> Option<usize> {
        if INSTANCE_PAGES.contains(&path) {
            return Some(if *method == Method::POST { INSTANCE_BODY_BYTES } else { 0 });
        }
        if PAGES.contains(&path) {
            return Some(0);
        }
        if path == client::PATH || lane_of_faults(path).is_some() {
            return Some(0);
        }
        if WORDS.contains(&path) {
            return Some(if *method == Method::POST { WORD_BYTES } else { 0 });
        }
        if quarantined_at(path).is_some() {
            return Some(if *method == Method::POST { QUARANTINE_BODY_BYTES } else { 0 });
        }
        SafetyPage::at(path).map(|page| page.body_bytes(method))
    }

    async fn respond(&self, request: PageRequest) -> PageAnswer {
        if let Some(page) = SafetyPage::at(&request.path) {
            return self.safety.respond(page, &request).await;
        }
        if let Some(id) = quarantined_at(&request.path) {
            return self.on_quarantined(&id, &request).await.into();
        }
        match request.path.as_str() {
            ADOPT => return self.on_adopt(&request).await.into(),
            FOREIGN => return self.on_foreign(&request).into(),
            HEAL => return self.on_heal(&request).into(),
            AUDIT => return self.on_audit(&request).into(),
            _ => {}
        }
        if INSTANCE_PAGES.contains(&request.path.as_str()) {
            return self.on_instances(&request).into();
        }
        if request.path == client::PATH {
            return client::respond(&request).into();
        }
        if let Some(lane) = lane_of_faults(&request.path) {
            return self.forget_faults(&request.method, lane).await.into();
        }
        let reads = request.method == Method::GET || request.method == Method::HEAD;
        match reads {
            true => self.page(&request.path).await.map_or_else(|| EdgeAnswer::empty(404).into(), Reply::from),
            false => Reply::from(Page::MethodNotAllowed),
        }
        .into()
    }
}

impl From<Page> for Reply {
    fn from(page: Page) -> Self {
        match page {
            Page::Json { status, body } => Reply::json(status, body.to_string()),
            Page::Text { content_type, body } => Reply::json(200, body).with(http::header::CONTENT_TYPE, content_type),
            Page::MethodNotAllowed => crate::chroma::EdgeAnswer::method_not_allowed("GET,HEAD").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quarantined_has_a_path() {
        assert_eq!(quarantined_at("/admin/quarantine/read-1").as_deref(), Some("read-1"));
        assert_eq!(quarantined_at("/admin/quarantine/a%2Fb").as_deref(), Some("a/b"));
        assert_eq!((quarantined_at("/admin/quarantine"), quarantined_at("/admin/quarantine/a/b")), (None, None));
    }

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
