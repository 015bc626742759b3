//! The reasons, in words, why a cleanup leaves transactions behind.

use crate::clock::Timestamp;
use crate::journal::{AuditQuery, Filter, ReadError, Status, Store};
use crate::web::rfc3339;

/// Where the age limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// The request for the cleanup.
    Asked,
    /// `idempotency.keep`, which is longer than the requested age.
    KeepIds,
}

/// The transactions left when no more may be removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Not ended.
    open: u64,
    /// Journaled after the bound, and ended.
    newer: u64,
    /// Journaled before the bound, and ended.
    older: u64,
}

impl Left {
    /// Counts them. Transactions that arrive meanwhile may or may not be counted.
    pub async fn count(store: &dyn Store, before: Timestamp) -> Result<Left, ReadError> {
        let statuses = Status::ALL.into_iter().filter(|status| status.is_final()).collect();
        let filter = Filter { statuses, since: Some(before), ..Filter::default() };
        let page = store.audit(&AuditQuery { filter, after: None, limit: 1 }).await?;
        let newer: u64 = page.counts.iter().map(|(_, count)| *count).sum();
        let totals = store.totals().await?.by_status;
        let sum = |is_final: bool| -> u64 {
            totals.iter().filter(|(status, _)| status.is_final() == is_final).map(|(_, count)| *count).sum()
        };
        Ok(Left { open: sum(false), newer, older: sum(true).saturating_sub(newer) })
    }

    /// Explains why they stay.
    pub fn text(&self, before: Timestamp, bound: Bound) -> String {
        let total = self.open.saturating_add(self.newer).saturating_add(self.older);
        if total == 0 {
            return "Nothing is left".to_owned();
        }
        let moment = rfc3339::text(before);
        let newer = match bound {
            Bound::Asked => format!("newer than {moment}"),
            Bound::KeepIds => format!("newer than {moment}: their clients may repeat their ids (idempotency.keep)"),
        };
        let parts = [
            (self.open, "not ended".to_owned()),
            (self.newer, newer),
            (self.older, "needed by an instance, quarantined, or ended late".to_owned()),
        ];
        let parts: Vec<String> =
            parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
        format!("{total} left: {}", parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reasons_that_apply_are_given() {
        let before = Timestamp::from_millis(0);
        let said = |left: Left, bound| left.text(before, bound);
        assert_eq!(said(Left::default(), Bound::KeepIds), "Nothing is left");
        let newer = Left { newer: 2, ..Left::default() };
        assert_eq!(said(newer, Bound::Asked), "2 left: 2 newer than 1970-01-01T00:00:00.000Z");
        assert!(said(newer, Bound::KeepIds).ends_with("may repeat their ids (idempotency.keep)"));
        let said = said(Left { open: 1, newer: 0, older: 3 }, Bound::KeepIds);
        assert_eq!(said, "4 left: 1 not ended; 3 needed by an instance, quarantined, or ended late");
    }
}
