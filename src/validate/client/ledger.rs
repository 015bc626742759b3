//! What this run has made and not yet removed, and the command that removes each.
//!
//! A collection is noted before its creation is asked for: a run that is interrupted while it waits for the answer
//! still names it. Whether something is removed is decided by how its check went.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::database_path::DatabasePath;
use super::own::OwnName;
use super::url::BaseUrl;

/// The variable that holds the token, in printed commands and for the command itself.
pub const TOKEN_VARIABLE: &str = "CHROMA_EDGE_TOKEN";

/// Whether the deployment asks for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    ByToken,
    Open,
}

/// The collections of this run that are there, or may be.
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

    /// What is left, in the order of names.
    pub fn left(&self) -> Vec<OwnName> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What this check has left.
    pub fn left_by(&self, check: &str) -> Vec<OwnName> {
        self.left().into_iter().filter(|name| name.check() == check).collect()
    }

    /// What the removals need of the operator.
    pub fn needs(&self) -> Option<String> {
        match self.guarded {
            Guarded::ByToken => Some(format!("{TOKEN_VARIABLE} must be set to the token")),
            Guarded::Open => None,
        }
    }

    /// A command for a shell that removes it. The token is not in it: it takes it from the environment, and fails where
    /// it is not there.
    pub fn removal(&self, name: &OwnName) -> String {
        self.removal_of(name.as_str())
    }

    /// As [`Ledger::removal`], for a collection that another run has left.
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
