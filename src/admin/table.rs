//! The table of the edge's own pages: path, methods, and the largest request body.
//!
//! This table alone decides which requests are answered by a page. A page that is missing here does not exist, and
//! every page here is described in `openapi/pages.json` (a test compares the two). What a page contains is decided
//! elsewhere.

use http::Method;
use percent_encoding::percent_decode_str;

/// A page. `safety/` distinguishes the pages about transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageId {
    Health,
    Live,
    Ready,
    Status,
    WalStatus,
    WalCleanup,
    Mappings,
    Mapping,
    Metrics,
    MetricsJson,
    OpenApi,
    ClientScript,
    Safety,
    Quarantine,
    Quarantined,
    Faults,
    LaneFaults,
    Instances,
    Adopt,
    Foreign,
    Heal,
    Audit,
    CollectionMappings,
    CreateMapping,
    CompleteMappings,
    InstanceList,
    InstanceHealth,
    WalCount,
    WalErrors,
    WalDebug,
    Scalability,
    Button,
    Reload,
    Dashboard,
}

/// A page's row in the table.
#[derive(Debug)]
pub(super) struct Route {
    /// A segment in braces matches any one segment.
    pub template: &'static str,
    pub page: PageId,
    /// In the format of the header `Allow`.
    pub methods: &'static str,
    /// The largest request body of a POST.
    body: usize,
}

const READ: &str = "GET,HEAD";
const ACT: &str = "POST";
const BOTH: &str = "GET,HEAD,POST";
const DELETE: &str = "DELETE";

const NONE: usize = 0;
const SMALL: usize = 4 * 1024;
const MEDIUM: usize = 16 * 1024;
const LARGE: usize = 1024 * 1024;

const fn page(template: &'static str, page: PageId, methods: &'static str, body: usize) -> Route {
    Route { template, page, methods, body }
}

/// The table.
pub(super) const ROUTES: &[Route] = &[
    page("/health", PageId::Health, READ, NONE),
    page("/health/live", PageId::Live, READ, NONE),
    page("/health/ready", PageId::Ready, READ, NONE),
    page("/status", PageId::Status, READ, NONE),
    page("/wal/status", PageId::WalStatus, READ, NONE),
    page("/wal/cleanup", PageId::WalCleanup, ACT, SMALL),
    page("/collection/mappings", PageId::Mappings, READ, NONE),
    page("/collection/mappings/{name}", PageId::Mapping, DELETE, NONE),
    page("/metrics", PageId::Metrics, READ, NONE),
    page("/metrics.json", PageId::MetricsJson, READ, NONE),
    page("/openapi.json", PageId::OpenApi, READ, NONE),
    page("/transaction/safety/client.js", PageId::ClientScript, READ, NONE),
    page("/transaction/safety/status", PageId::Safety, READ, NONE),
    page("/transaction/safety/events", PageId::Safety, READ, NONE),
    page("/transaction/safety/cleanup", PageId::Safety, ACT, LARGE),
    page("/transaction/safety/recovery/trigger", PageId::Safety, ACT, LARGE),
    page("/transaction/safety/transaction/{id}", PageId::Safety, READ, NONE),
    page("/transaction/safety/transactions", PageId::Safety, BOTH, LARGE),
    page("/transaction/safety/transactions/{id}/complete", PageId::Safety, ACT, LARGE),
    page("/transaction/safety/transactions/{id}/fail", PageId::Safety, ACT, LARGE),
    page("/admin/transaction_safety_status", PageId::Safety, READ, NONE),
    page("/admin/quarantine", PageId::Quarantine, READ, NONE),
    page("/admin/quarantine/{id}", PageId::Quarantined, ACT, SMALL),
    page("/admin/faults", PageId::Faults, READ, NONE),
    page("/admin/faults/{lane}", PageId::LaneFaults, DELETE, NONE),
    page("/admin/switchover", PageId::Instances, BOTH, SMALL),
    page("/admin/drain", PageId::Instances, BOTH, SMALL),
    page("/admin/undrain", PageId::Instances, ACT, SMALL),
    page("/admin/adopt", PageId::Adopt, ACT, MEDIUM),
    page("/admin/foreign", PageId::Foreign, ACT, MEDIUM),
    page("/admin/heal", PageId::Heal, BOTH, MEDIUM),
    page("/admin/audit", PageId::Audit, BOTH, MEDIUM),
    page("/admin/collection_mappings", PageId::CollectionMappings, READ, NONE),
    page("/admin/create_mapping", PageId::CreateMapping, ACT, MEDIUM),
    page("/admin/complete_mappings", PageId::CompleteMappings, ACT, MEDIUM),
    page("/admin/instances", PageId::InstanceList, READ, NONE),
    page("/admin/instances/{name}/health", PageId::InstanceHealth, ACT, SMALL),
    page("/admin/wal_count", PageId::WalCount, READ, NONE),
    page("/admin/wal_errors", PageId::WalErrors, READ, NONE),
    page("/admin/wal_debug", PageId::WalDebug, READ, NONE),
    page("/admin/scalability_status", PageId::Scalability, READ, NONE),
    page("/admin/sync_collections", PageId::Button, ACT, SMALL),
    page("/admin/force_recovery_restart", PageId::Button, ACT, SMALL),
    page("/admin/force_transaction_reset", PageId::Button, ACT, SMALL),
    page("/admin/clear_wal_errors", PageId::Button, ACT, SMALL),
    page("/admin/reset_stuck_transactions", PageId::Button, ACT, SMALL),
    page("/admin/force_delete_sync", PageId::Button, ACT, SMALL),
    page("/admin/optimize_connection_pool", PageId::Button, ACT, SMALL),
    page("/admin/reset_stats", PageId::Button, ACT, SMALL),
    page("/admin/reload", PageId::Reload, ACT, SMALL),
    page("/admin/upgrade", PageId::Reload, ACT, SMALL),
    page("/dashboard", PageId::Dashboard, READ, NONE),
    page("/dashboard/live", PageId::Dashboard, READ, NONE),
];

/// Returns the row for this path.
pub(super) fn at(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.matches(path))
}

impl Route {
    /// Returns whether the page supports this method.
    pub(super) fn allows(&self, method: &Method) -> bool {
        self.methods.split(',').any(|one| one == method.as_str())
    }

    /// Returns the largest body that a request with this method may have.
    pub(super) fn body_bytes(&self, method: &Method) -> usize {
        if *method == Method::POST && self.allows(method) { self.body } else { 0 }
    }

    fn matches(&self, path: &str) -> bool {
        let (mut ours, mut theirs) = (self.template.split('/'), path.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(ours), Some(theirs)) if ours.starts_with('{') || ours == theirs => {}
                _ => return false,
            }
        }
    }

    /// Returns the segment of the path that matches the template's braces, decoded.
    pub(super) fn parameter(&self, path: &str) -> String {
        let segments = self.template.split('/').zip(path.split('/'));
        let found = segments.filter(|(ours, _)| ours.starts_with('{')).map(|(_, theirs)| theirs).next();
        percent_decode_str(found.unwrap_or_default()).decode_utf8_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::safety::SafetyPage;

    #[test]
    fn each_path_is_one_page_and_a_segment_is_one_parameter() {
        for route in ROUTES {
            let path = route.template.replace("{name}", "a%2Fb").replace("{id}", "a%2Fb").replace("{lane}", "a%2Fb");
            let found = at(&path).expect("its own page");
            assert_eq!(found.template, route.template);
            if route.template.contains('{') {
                assert_eq!(found.parameter(&path), "a/b");
            }
        }
        for path in
            ["/healthy", "/health/", "/admin/instances/a/b/health", "/admin", "/", "", "/collection/mappings/a/b"]
        {
            assert!(at(path).is_none(), "{path}");
        }
    }

    /// A page without a role would be answered with 404.
    #[test]
    fn every_method_of_every_page_has_a_role_of_its_own_and_no_other_has() {
        let method = |one: &'static str| Some(one).filter(|one| *one != "HEAD");
        let own = |route: &'static Route| route.methods.split(',').filter_map(method).map(|one| (one, route.template));
        let mut pages: Vec<(&str, &str)> = ROUTES.iter().flat_map(own).collect();
        let mut roles: Vec<(&str, &str)> = crate::auth::PAGES.iter().map(|page| (page.method, page.path)).collect();
        pages.sort_unstable();
        roles.sort_unstable();
        assert_eq!(pages, roles);
    }

    #[test]
    fn a_body_is_read_where_one_is_taken() {
        let bytes = |path: &str, method| at(path).map(|route| route.body_bytes(&method));
        assert_eq!(bytes("/admin/drain", Method::POST), Some(SMALL));
        assert_eq!(bytes("/admin/drain", Method::GET), Some(0));
        assert_eq!(bytes("/health", Method::POST), Some(0), "it has no such method");
    }

    #[test]
    fn the_pages_of_transactions_are_those_of_their_room() {
        for route in ROUTES.iter().filter(|route| route.page == PageId::Safety) {
            let page = SafetyPage::at(route.template).expect(route.template);
            assert_eq!(page.methods(), route.methods, "{}", route.template);
        }
    }
}
