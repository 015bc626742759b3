//! What this run may write to: collections under its own prefix and run id, and no others.
//!
//! A name can only be made here, always with the prefix; a collection only by creating one under such a name
//! ([`super::Deployment::create`]). A collection of somebody else's has no value of these types.

use std::fmt;

use uuid::Uuid;

/// How every collection of every run begins.
pub const PREFIX: &str = "AUTOTEST_";

/// What tells this run's collections from another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(String);

impl RunId {
    /// A new one.
    pub fn fresh() -> RunId {
        let text = Uuid::new_v4().simple().to_string();
        RunId(text[..10].to_owned())
    }

    /// The session that this run's writes belong to, in `X-Client-Session`.
    pub fn session(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a collection of this run's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnName {
    text: String,
    /// Who made it, and answers for it.
    check: &'static str,
}

impl OwnName {
    /// A name for a check's collection; `part` tells it from the check's others.
    pub fn new(run: &RunId, check: &'static str, part: &str) -> OwnName {
        let part: String = part.chars().filter(|one| one.is_ascii_alphanumeric()).collect();
        OwnName { text: format!("{PREFIX}{run}_{check}_{part}"), check }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The check that answers for it.
    pub fn check(&self) -> &'static str {
        self.check
    }
}

impl fmt::Display for OwnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A collection that this run has created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCollection {
    pub(super) name: OwnName,
    pub(super) id: Uuid,
}

impl OwnCollection {
    pub fn name(&self) -> &OwnName {
        &self.name
    }

    /// The id that the deployment gave it.
    pub fn id(&self) -> Uuid {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_for_the_name_is_this_runs_own() {
        let run = RunId::fresh();
        for part in ["a", "", "../customers", "x?limit=1", "é"] {
            let name = OwnName::new(&run, "documents", part);
            assert!(name.as_str().starts_with(&format!("{PREFIX}{run}_documents_")), "{name}");
            assert!(name.as_str().chars().all(|one| one.is_ascii_alphanumeric() || one == '_'), "{name}");
        }
        assert_ne!(RunId::fresh(), RunId::fresh());
    }
}
