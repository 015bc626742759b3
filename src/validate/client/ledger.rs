//! What this run has created and not yet removed, with a command to remove each.
//!
//! A collection is recorded before the request to create it, so that a run interrupted during that request still names
//! it. Whether a collection is removed depends on the result of its check.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::database_path::DatabasePath;
use super::own::OwnName;
use super::url::BaseUrl;

/// The variable that holds the token, for the printed commands and for this program.
pub const TOKEN_VARIABLE: &str = "CHROMA_EDGE_TOKEN";

/// Whether the deployment requires a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    ByToken,
    Open,
}

/// The collections of this run that exist, or may exist.
#[derive(Debug)]
pub struct Ledger {
    base: BaseUrl,
    place: DatabasePath,
    guarded: Guarded,
    left: Mutex<BTreeSet<OwnName>>,
}

impl Ledger {
    pub(super) fn new(base: BaseUrl, place: DatabasePath, guarded: Guarded) -> Ledger {
        Ledger { base, place, guarded, left: Mutex::default() }
    }

    pub(super) fn intend(&self, name: &OwnName) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
    }

    pub(super) fn gone(&self, name: &OwnName) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Returns what is left, ordered by name.
    pub fn left(&self) -> Vec<OwnName> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Returns what this check has left.
    pub fn left_by(&self, check: &str) -> Vec<OwnName> {
        self.left().into_iter().filter(|name| name.check() == check).collect()
    }

    /// Returns what the operator must do before the removals work.
    pub fn needs(&self) -> Option<String> {
        match self.guarded {
            Guarded::ByToken => Some(format!("{TOKEN_VARIABLE} must be set to the token")),
            Guarded::Open => None,
        }
    }

    /// Returns a shell command that removes the collection. It reads the token from the environment, and fails if it is
    /// not set.
    pub fn removal(&self, name: &OwnName) -> String {
        self.removal_of(name.as_str())
    }

    /// As [`Ledger::removal`], for a collection of another run.
    pub fn removal_of(&self, name: &str) -> String {
        let token = match self.guarded {
            Guarded::ByToken => format!("-H \"Authorization: Bearer ${{{TOKEN_VARIABLE}:?}}\" "),
            Guarded::Open => String::new(),
        };
        let url = self.base.at(&self.place.collection(name)).replace('\'', "%27");
        format!("curl -fsS -X DELETE {token}'{url}'")
    }
}

#[cfg(test)]
mod tests {
    use super::super::own::RunId;
    use super::*;

    fn ledger(guarded: Guarded) -> Ledger {
        Ledger::new(BaseUrl::parse("http://edge:8000").unwrap(), DatabasePath::new("default_tenant", "o'd b"), guarded)
    }

    #[test]
    fn what_is_noted_is_left_until_it_is_gone() {
        let (ledger, run) = (ledger(Guarded::Open), RunId::fresh());
        let (a, b) = (OwnName::new(&run, "reads", "a"), OwnName::new(&run, "sync", "b"));
        ledger.intend(&a);
        ledger.intend(&b);
        assert_eq!(ledger.left_by("sync"), std::slice::from_ref(&b));
        ledger.gone(&b);
        assert_eq!(ledger.left(), [a]);
    }

    #[test]
    fn a_removal_can_be_pasted_and_holds_no_token() {
        let name = OwnName::new(&RunId::fresh(), "reads", "a");
        let path = format!("/api/v2/tenants/default_tenant/databases/o%27d%20b/collections/{name}");
        assert_eq!(ledger(Guarded::Open).removal(&name), format!("curl -fsS -X DELETE 'http://edge:8000{path}'"));
        let by_token = ledger(Guarded::ByToken);
        assert!(by_token.removal(&name).contains("\"Authorization: Bearer ${CHROMA_EDGE_TOKEN:?}\""));
        assert!(by_token.needs().is_some_and(|what| what.contains("CHROMA_EDGE_TOKEN must be set")));
        assert_eq!(ledger(Guarded::Open).needs(), None);
    }
}
