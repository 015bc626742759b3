//! Pages about transactions: a single transaction, the audit log, numbers, events and actions.
//!
//! Decides the path and the methods of each page; the file named after a page decides its content. Every number is read
//! from the journal at the time of the request. docs/transaction-safety.md describes these pages for clients.

mod actions;
mod application;
mod audit_log;
mod events;
mod left;
mod numbers;
mod query;
mod refusal;
mod transaction;
mod view;

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;

pub(super) use self::query::Query;
pub(super) use self::refusal::Refusal;
pub use self::view::shown_in_event;
use super::options::AdminOptions;
use crate::coordinator::Core;
use crate::current::Current;
use crate::events::Hub;
use crate::instance::Health;
use crate::proxy::Admission;
use crate::web::{PageAnswer, PageRequest, Reply};

/// The most requests that may wait for transactions at once.
const WAITING: usize = 16 * 1024;

/// The rooms that these pages read from.
pub(super) struct Safety {
    core: Arc<Core>,
    admission: Arc<Admission>,
    health: Arc<Health>,
    hub: Arc<Hub>,
    options: Current<AdminOptions>,
    waiting: Semaphore,
}

/// One of these pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SafetyPage {
    Transaction { id: String },
    Transactions,
    Complete { id: String },
    Fail { id: String },
    Status,
    AdminStatus,
    Trigger,
    Cleanup,
    Events,
}

impl SafetyPage {
    /// Returns the page at this path.
    pub(super) fn at(path: &str) -> Option<SafetyPage> {
        if path == "/admin/transaction_safety_status" {
            return Some(SafetyPage::AdminStatus);
        }
        let id = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        let rest = path.strip_prefix("/transaction/safety/")?;
        match rest.split('/').collect::<Vec<_>>()[..] {
            ["status"] => Some(SafetyPage::Status),
            ["transactions"] => Some(SafetyPage::Transactions),
            ["recovery", "trigger"] => Some(SafetyPage::Trigger),
            ["cleanup"] => Some(SafetyPage::Cleanup),
            ["events"] => Some(SafetyPage::Events),
            ["transaction", segment] => Some(SafetyPage::Transaction { id: id(segment) }),
            ["transactions", segment, "complete"] => Some(SafetyPage::Complete { id: id(segment) }),
            ["transactions", segment, "fail"] => Some(SafetyPage::Fail { id: id(segment) }),
            _ => None,
        }
    }

    /// Returns the methods that the page supports.
    pub(super) const fn methods(&self) -> &'static str {
        match self {
            SafetyPage::Transaction { .. } | SafetyPage::Status | SafetyPage::AdminStatus | SafetyPage::Events => {
                "GET,HEAD"
            }
            SafetyPage::Transactions => "GET,HEAD,POST",
            SafetyPage::Complete { .. } | SafetyPage::Fail { .. } | SafetyPage::Trigger | SafetyPage::Cleanup => "POST",
        }
    }
}

impl Safety {
    pub(super) fn new(
        core: Arc<Core>,
        admission: Arc<Admission>,
        health: Arc<Health>,
        hub: Arc<Hub>,
        options: Current<AdminOptions>,
    ) -> Safety {
        Safety { core, admission, health, hub, options, waiting: Semaphore::new(WAITING) }
    }

    pub(super) async fn respond(&self, page: SafetyPage, request: &PageRequest) -> PageAnswer {
        if !page.methods().split(',').any(|method| method == request.method.as_str()) {
            return Reply::wrong_method(page.methods()).into();
        }
        if page == SafetyPage::Events {
            return self.events(request).await.unwrap_or_else(|refusal| Reply::from(&refusal).into());
        }
        let posted = request.method == Method::POST;
        let answer = match page {
            SafetyPage::Transaction { id } => self.transaction(&id, request).await,
            SafetyPage::Transactions if posted => self.begin(request).await,
            SafetyPage::Transactions => self.transactions(request).await,
            SafetyPage::Complete { id } => self.complete(&id, request).await,
            SafetyPage::Fail { id } => self.fail(&id, request).await,
            SafetyPage::Status => Ok(self.status().await),
            SafetyPage::AdminStatus => Ok(self.admin_status().await),
            SafetyPage::Trigger => Ok(self.trigger().await),
            SafetyPage::Cleanup => self.cleanup(request).await,
            SafetyPage::Events => Err(Refusal::UnknownTransaction),
        };
        answer.unwrap_or_else(|refusal| Reply::from(&refusal)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_its_page() {
        let id = || "a/b".to_owned();
        let pages = [
            ("/transaction/safety/transaction/a%2Fb", SafetyPage::Transaction { id: id() }),
            ("/transaction/safety/transactions", SafetyPage::Transactions),
            ("/transaction/safety/transactions/a%2fb/complete", SafetyPage::Complete { id: id() }),
            ("/transaction/safety/transactions/a%2Fb/fail", SafetyPage::Fail { id: id() }),
            ("/transaction/safety/status", SafetyPage::Status),
            ("/transaction/safety/recovery/trigger", SafetyPage::Trigger),
            ("/transaction/safety/cleanup", SafetyPage::Cleanup),
            ("/transaction/safety/events", SafetyPage::Events),
            ("/admin/transaction_safety_status", SafetyPage::AdminStatus),
        ];
        for (path, page) in pages {
            assert_eq!(SafetyPage::at(path), Some(page), "{path}");
        }
        for path in ["/transaction/safety", "/transaction/safety/", "/transaction/safety/transaction/a/b", "/admin"] {
            assert_eq!(SafetyPage::at(path), None, "{path}");
        }
        assert_eq!(SafetyPage::at("/transaction/safety/transaction/"), Some(SafetyPage::Transaction { id: "".into() }));
    }
}
