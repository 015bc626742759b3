//! The edge's own pages: health, status, the journal, mappings, metrics.
//!
//! Every number is read from the board, the registry or the journal when it is asked for (G10); nothing here is
//! counted on the side.

mod pages;
mod standby;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::Method;
use serde_json::Value;

use crate::clock;
use crate::proxy::{Gate, OwnPages, Reply};
use crate::replication::Core;

pub use self::standby::StandbyPages;

/// What the pages are made from.
pub struct Admin {
    core: Arc<Core>,
    gate: Arc<Gate>,
    /// The configured limit of entries in memory.
    backlog_limit: usize,
    store: StoreKind,
    started: Instant,
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

impl Admin {
    /// The pages over these rooms.
    pub fn new(core: Arc<Core>, gate: Arc<Gate>, backlog_limit: usize, store: StoreKind) -> Admin {
        Admin { core, gate, backlog_limit, store, started: clock::now() }
    }
}

#[async_trait]
impl OwnPages for Admin {
    async fn respond(&self, method: &Method, path: &str) -> Option<Reply> {
        let (path, _query) = path.split_once('?').unwrap_or((path, ""));
        let page = match path {
            "/health" | "/status" | "/wal/status" | "/collection/mappings" | "/metrics"
                if method != Method::GET && method != Method::HEAD =>
            {
                Page::MethodNotAllowed
            }
            "/health" => self.health(),
            "/status" => self.status().await,
            "/wal/status" => self.wal_status().await,
            "/collection/mappings" => self.mappings(),
            "/metrics" => self.metrics().await,
            _ => return None,
        };
        Some(page.into())
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
