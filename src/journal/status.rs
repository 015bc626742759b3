//! Which status follows which: the only rule about a transaction's status, the same for every store.
//!
//! Reports about one transaction come from its client's side and from recovery, and may arrive late or twice.
//! `status_facts.rs` makes the facts that report a status. The SQL statements of both stores take their lists of
//! statuses from here. The triggers in `migrations/` cannot, so a test compares them with the rule.

/// A transaction's status, as stored and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Attempting,
    /// A definite answer was given, 4xx included.
    Completed,
    /// The client was answered 503, recovery pending. The write will be retried.
    Failed,
    /// Finished after its client had been answered "pending", or after a restart. Also a write that may have been
    /// acknowledged, and whose collection was deleted before that was durable.
    Recovered,
    /// Rejected on recovery, withdrawn, or never acknowledged and either shown to be absent or made void by the
    /// deletion of its collection.
    Abandoned,
}

impl Status {
    /// All statuses, in the order in which they are shown.
    pub const ALL: [Status; 5] =
        [Status::Attempting, Status::Completed, Status::Failed, Status::Recovered, Status::Abandoned];

    /// Returns the name that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Attempting => "ATTEMPTING",
            Status::Completed => "COMPLETED",
            Status::Failed => "FAILED",
            Status::Recovered => "RECOVERED",
            Status::Abandoned => "ABANDONED",
        }
    }

    /// Returns whether no other status can follow: the transaction is finished.
    pub const fn is_final(self) -> bool {
        match self {
            Status::Completed | Status::Recovered | Status::Abandoned => true,
            Status::Attempting | Status::Failed => false,
        }
    }

    /// Returns whether a report can still change a transaction that has this status, or none yet.
    pub(super) const fn is_open_to_reports(status: Option<Status>) -> bool {
        match status {
            Some(status) => !status.is_final(),
            None => true,
        }
    }

    /// Returns the status after a report of `reported`. A final status stays: the first end that was reported is the
    /// true one, and anything after it is a late or repeated report.
    pub const fn after(self, reported: Status) -> Status {
        if self.is_final() { self } else { reported }
    }
}

/// Whether an attempt failed on an instance that was believed healthy at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimingGap {
    Yes,
    No,
}

/// The status of a transaction that has a verdict and was cut off before its client's side was recorded. If its client
/// had been answered "pending", this equals what [`Fact::recovered`](super::Fact::recovered) reports.
const FINISHED: &str = "CASE WHEN status = {attempting} THEN {completed}
    WHEN verdict = 'applied' THEN {recovered} ELSE {abandoned} END";

/// Fills in the statuses of a statement: `{open}` lists those that can still change, `{finished}` is the status of a
/// transaction that was cut off ([`FINISHED`]), and each status has its own name in lower case (`{failed}`).
pub(super) fn with_statuses(sql: &str) -> String {
    let quoted = |status: Status| format!("'{}'", status.as_str());
    let open: Vec<String> = Status::ALL.into_iter().filter(|status| !status.is_final()).map(quoted).collect();
    let sql = sql.replace("{open}", &open.join(", ")).replace("{finished}", FINISHED);
    let named = |sql: String, status: Status| {
        sql.replace(&format!("{{{}}}", status.as_str().to_ascii_lowercase()), &quoted(status))
    };
    Status::ALL.into_iter().fold(sql, named)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_final_status_never_changes() {
        for last in [Status::Completed, Status::Recovered, Status::Abandoned] {
            for reported in Status::ALL {
                assert_eq!(last.after(reported), last);
            }
        }
    }

    #[test]
    fn an_open_status_becomes_what_is_reported() {
        for open in [Status::Attempting, Status::Failed] {
            for reported in Status::ALL {
                assert_eq!(open.after(reported), reported);
            }
        }
    }

    #[test]
    fn statements_list_the_open_statuses() {
        let sql = with_statuses("status IN ({open}) AND status <> {failed}");
        assert_eq!(sql, "status IN ('ATTEMPTING', 'FAILED') AND status <> 'FAILED'");
    }

    #[test]
    fn what_was_cut_off_is_finished_as_its_status_and_its_verdict_say() {
        let sql = with_statuses("SET status = {finished}");
        assert!(sql.contains("'ATTEMPTING' THEN 'COMPLETED'"), "{sql}");
        assert!(sql.contains("'applied' THEN 'RECOVERED' ELSE 'ABANDONED' END") && !sql.contains('{'), "{sql}");
    }

    /// Returns the lists of statuses in a migration, each sorted.
    fn lists(sql: &'static str) -> Vec<Vec<&'static str>> {
        let lists = sql.split(" IN (").skip(1).filter_map(|rest| rest.split(')').next());
        let names = |list: &'static str| -> Vec<&'static str> {
            list.split(',').map(|name| name.trim().trim_matches('\'')).collect()
        };
        lists.map(names).filter(|names| names.iter().any(|name| is_status(name))).collect()
    }

    fn is_status(name: &str) -> bool {
        Status::ALL.iter().any(|status| status.as_str() == name)
    }

    #[test]
    fn the_triggers_and_views_of_both_stores_keep_the_rule() {
        let shown = |finals: bool| -> BTreeSet<&str> {
            Status::ALL.into_iter().filter(|status| status.is_final() == finals).map(Status::as_str).collect()
        };
        // A timing gap is an event with the first status that its client cannot have received as an answer.
        let with_gap: BTreeSet<&str> =
            [Status::Failed, Status::Recovered, Status::Abandoned].into_iter().map(Status::as_str).collect();
        let migrations = [
            include_str!("../../migrations/postgres/V1__journal.sql"),
            include_str!("../../migrations/postgres/V2__views.sql"),
            include_str!("../../migrations/postgres/V5__events.sql"),
            include_str!("../../migrations/sqlite/V3__views.sql"),
            include_str!("../../migrations/sqlite/V6__events.sql"),
        ];
        for sql in migrations {
            let found = lists(sql);
            assert!(!found.is_empty(), "no list of statuses in {sql}");
            for list in found {
                let list: BTreeSet<&str> = list.into_iter().collect();
                assert!(
                    list == shown(false) || list == shown(true) || list == with_gap,
                    "{list:?} is neither what is open, nor what is final, nor what tells of a timing gap"
                );
            }
        }
    }
}
