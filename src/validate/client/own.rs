//! What this run may write to: only collections with its own prefix and run id.
//!
//! A name can only be created here, always with the prefix, and a collection only by creating one under such a name
//! ([`super::Deployment::create`]). Other clients' collections cannot be represented by these types.

use std::fmt;

use uuid::Uuid;

/// The prefix of every collection of every run.
const PREFIX: &str = "AUTOTEST_";
/// Hexadecimal digits of a run's id.
const RUN_DIGITS: usize = 10;

/// Distinguishes this run's collections from those of other runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(String);

impl RunId {
    /// Generates a new id.
    pub fn fresh() -> RunId {
        let text = Uuid::new_v4().simple().to_string();
        RunId(text[..RUN_DIGITS].to_owned())
    }

    /// Returns the session of this run's writes, for `X-Client-Session`.
    pub fn session(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one of this run's collections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnName {
    text: String,
    /// The check that created it and is responsible for it.
    check: &'static str,
}

impl OwnName {
    /// Names a check's collection; `part` distinguishes it from the check's others.
    pub fn new(run: &RunId, check: &'static str, part: &str) -> OwnName {
        let part: String = part.chars().filter(|one| one.is_ascii_alphanumeric()).collect();
        OwnName { text: format!("{PREFIX}{run}_{check}_{part}"), check }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the check that is responsible for it.
    pub fn check(&self) -> &'static str {
        self.check
    }
}

impl fmt::Display for OwnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns the check in a collection's name, if the name has the format of a run. Other names may have the same prefix.
pub fn check_in(name: &str) -> Option<&str> {
    let (run, rest) = name.strip_prefix(PREFIX)?.split_once('_')?;
    let (check, part) = rest.split_once('_')?;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let built =
        run.len() == RUN_DIGITS && run.bytes().all(digit) && part.bytes().all(|one| one.is_ascii_alphanumeric());
    built.then_some(check)
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

    /// Returns the id that the deployment assigned.
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

    #[test]
    fn a_runs_collections_are_known_by_their_names_and_others_are_not() {
        let name = OwnName::new(&RunId::fresh(), "sync", "one");
        assert_eq!(check_in(name.as_str()), Some("sync"));
        let others = [
            "AUTOTEST_customers",
            "AUTOTEST_otherrunxx_sync_one",
            "AUTOTEST_0123456789_sync",
            "AUTOTEST_0123456789_sync_one_more",
            "AUTOTEST_0123456789A_sync_one",
            "0123456789_sync_one",
        ];
        others.iter().for_each(|other| assert_eq!(check_in(other), None, "{other}"));
    }
}
