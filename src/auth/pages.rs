//! The table of the edge's own pages: who may request which.
//!
//! A page that is not in this table does not exist: the proxy answers 404, whatever the pages' own room would say.
//! `HEAD` needs what `GET` needs. docs/security.md shows the same table, and a test compares them.

use super::role::Role;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: load balancers and browsers ask without a token.
    Nothing,
    /// The role. Only what is in the token's scope is shown or changed.
    Role(Role),
    /// The role, and a token without a scope, because the page is about everything.
    Whole(Role),
    /// Like `Whole`, but open to everyone where no token is required, because it changes nothing.
    Shown(Role),
}

/// A page, or several that are alike.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub method: &'static str,
    /// A segment in braces stands for any one segment.
    pub path: &'static str,
    pub need: Need,
}

const fn page(method: &'static str, path: &'static str, need: Need) -> Page {
    Page { method, path, need }
}

const ANYBODY: Need = Need::Nothing;
const READER: Need = Need::Whole(Role::Reader);
const ADMIN: Need = Need::Whole(Role::Admin);
/// For pages that show single transactions of every principal.
const ADMIN_SEES: Need = Need::Shown(Role::Admin);

/// Every page.
pub const PAGES: &[Page] = &[
    page("GET", "/health", ANYBODY),
    page("GET", "/health/live", ANYBODY),
    page("GET", "/health/ready", ANYBODY),
    page("GET", "/openapi.json", ANYBODY),
    page("GET", "/transaction/safety/client.js", ANYBODY),
    // The page itself contains no data, and asks for a token.
    page("GET", "/dashboard", ANYBODY),
    page("GET", "/dashboard/live", READER),
    page("GET", "/status", READER),
    page("GET", "/metrics", READER),
    page("GET", "/metrics.json", READER),
    page("GET", "/wal/status", READER),
    page("POST", "/wal/cleanup", ADMIN),
    page("GET", "/collection/mappings", READER),
    page("DELETE", "/collection/mappings/{name}", ADMIN),
    page("GET", "/transaction/safety/status", READER),
    page("GET", "/transaction/safety/transaction/{id}", Need::Role(Role::Reader)),
    page("GET", "/transaction/safety/transactions", Need::Role(Role::Reader)),
    page("GET", "/transaction/safety/events", Need::Role(Role::Reader)),
    page("POST", "/transaction/safety/transactions", Need::Role(Role::Writer)),
    page("POST", "/transaction/safety/transactions/{id}/complete", Need::Role(Role::Writer)),
    page("POST", "/transaction/safety/transactions/{id}/fail", Need::Role(Role::Writer)),
    page("POST", "/transaction/safety/recovery/trigger", Need::Whole(Role::Writer)),
    page("POST", "/transaction/safety/cleanup", ADMIN),
    page("GET", "/admin/transaction_safety_status", READER),
    page("GET", "/admin/quarantine", ADMIN_SEES),
    page("POST", "/admin/quarantine/{id}", ADMIN),
    page("GET", "/admin/faults", ADMIN_SEES),
    page("DELETE", "/admin/faults/{lane}", ADMIN),
    page("GET", "/admin/switchover", READER),
    page("POST", "/admin/switchover", ADMIN),
    page("GET", "/admin/drain", READER),
    page("POST", "/admin/drain", ADMIN),
    page("POST", "/admin/undrain", ADMIN),
    page("POST", "/admin/adopt", ADMIN),
    page("POST", "/admin/foreign", ADMIN),
    page("GET", "/admin/heal", READER),
    page("POST", "/admin/heal", ADMIN),
    page("GET", "/admin/audit", READER),
    page("POST", "/admin/audit", ADMIN),
    page("GET", "/admin/collection_mappings", READER),
    page("POST", "/admin/create_mapping", ADMIN),
    page("POST", "/admin/complete_mappings", ADMIN),
    page("GET", "/admin/instances", READER),
    page("POST", "/admin/instances/{name}/health", ADMIN),
    page("GET", "/admin/wal_count", READER),
    page("GET", "/admin/wal_errors", ADMIN_SEES),
    page("GET", "/admin/wal_debug", ADMIN_SEES),
    page("GET", "/admin/scalability_status", READER),
    page("POST", "/admin/sync_collections", ADMIN),
    page("POST", "/admin/force_recovery_restart", ADMIN),
    page("POST", "/admin/force_transaction_reset", ADMIN),
    page("POST", "/admin/clear_wal_errors", ADMIN),
    page("POST", "/admin/reset_stuck_transactions", ADMIN),
    page("POST", "/admin/force_delete_sync", ADMIN),
    page("POST", "/admin/optimize_connection_pool", ADMIN),
    page("POST", "/admin/reset_stats", ADMIN),
    page("POST", "/admin/reload", ADMIN),
    page("POST", "/admin/upgrade", ADMIN),
];

/// Returns what a request for the page at this path needs, or `None` if there is no such page. A method that the table
/// lacks needs an admin.
pub fn page_need(method: &str, path: &str) -> Option<Need> {
    let method = if method == "HEAD" { "GET" } else { method };
    let at = || PAGES.iter().filter(|page| is_at(page.path, path));
    let listed = at().find(|page| page.method == method);
    let other = || at().next().map(|_| Need::Whole(Role::Admin));
    listed.map(|page| page.need).or_else(other)
}

/// Returns whether the path begins like those of pages. No Chroma server has anything there.
pub fn is_among_pages(path: &str) -> bool {
    let segment = path.split('/').nth(1);
    PAGES.iter().any(|page| page.path.split('/').nth(1) == segment)
}

fn is_at(template: &str, path: &str) -> bool {
    let (mut parts, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), segments.next()) {
            (None, None) => return true,
            (Some(part), Some(segment)) if part == segment || part.starts_with('{') => {}
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_needs_what_its_row_says() {
        let admin = Some(Need::Whole(Role::Admin));
        for (method, path, need) in [
            ("GET", "/health", Some(Need::Nothing)),
            ("HEAD", "/status", Some(Need::Whole(Role::Reader))),
            ("GET", "/transaction/safety/transaction/a%2Fb", Some(Need::Role(Role::Reader))),
            ("POST", "/transaction/safety/transactions", Some(Need::Role(Role::Writer))),
            ("POST", "/transaction/safety/transactions/x/fail", Some(Need::Role(Role::Writer))),
            ("POST", "/transaction/safety/cleanup", admin),
            ("DELETE", "/admin/quarantine/x", admin),
            ("GET", "/admin/quarantine", Some(Need::Shown(Role::Admin))),
            ("DELETE", "/health", admin),
            ("PUT", "/transaction/safety/transactions", admin),
            ("GET", "/admin", None),
            ("GET", "/admin/quarantine/x/y", None),
            ("GET", "/status/", None),
            ("GET", "/STATUS", None),
            ("GET", "/transaction/safety/transaction", None),
        ] {
            assert_eq!(page_need(method, path), need, "{method} {path}");
        }
    }

    #[test]
    fn a_path_is_among_the_pages_by_its_first_segment() {
        for (path, expected) in [
            ("/admin", true),
            ("/admin/nothing", true),
            ("/status/", true),
            ("/transaction/safety/nothing", true),
            ("/statusx", false),
            ("/api/v2/admin", false),
            ("/", false),
            ("/docs", false),
        ] {
            assert_eq!(is_among_pages(path), expected, "{path}");
        }
    }

    #[test]
    fn what_changes_something_needs_more_than_a_reader() {
        for page in PAGES.iter().filter(|page| page.method != "GET") {
            let role = match page.need {
                Need::Role(role) | Need::Whole(role) => role,
                Need::Nothing | Need::Shown(_) => panic!("{page:?}"),
            };
            assert!(role > Role::Reader, "{page:?}");
            assert!(!page.path.starts_with("/admin/") || page.need == Need::Whole(Role::Admin), "{page:?}");
        }
    }
}
