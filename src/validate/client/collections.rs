//! Lists the collections of one database, and removes those left behind by tests.
//!
//! Decides which names may be removed at all: those with one of the prefixes, and no prefix may match a protected name
//! ([`Prefixes`]). There is no other way to create a [`TestName`].

use http::Method;

use super::database_path::DatabasePath;
use super::error::CallError;
use super::wire::{Call, Wire};

/// Collections per page of a list.
const PAGE: usize = 500;

/// Prefixes of the names of tests' collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes(Vec<String>);

/// The name of a collection that may be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestName(String);

impl TestName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Prefixes {
    /// Creates the prefixes, none of which may match a protected name.
    ///
    /// # Errors
    /// A message for the operator: the prefix, and the name that it would match.
    pub fn new(prefixes: &[String], protected: &[String]) -> Result<Prefixes, String> {
        for prefix in prefixes {
            if prefix.trim().is_empty() {
                return Err("an empty prefix matches every collection".to_owned());
            }
            if let Some(name) = protected.iter().find(|name| name.starts_with(prefix.as_str())) {
                return Err(format!("the prefix {prefix:?} matches {name:?}, which is protected"));
            }
        }
        Ok(Prefixes(prefixes.to_vec()))
    }

    /// Returns the name if it may be removed.
    fn test_name(&self, name: &str) -> Option<TestName> {
        self.0.iter().any(|prefix| name.starts_with(prefix.as_str())).then(|| TestName(name.to_owned()))
    }
}

/// The collections of one database.
#[derive(Clone, Debug)]
pub struct Collections {
    pub(super) wire: Wire,
    pub(super) place: DatabasePath,
}

impl Collections {
    /// Returns the sorted names of those that may be removed, and the total number of collections.
    ///
    /// # Errors
    /// If the list cannot be read completely.
    pub fn left_by_tests(&self, prefixes: &Prefixes) -> Result<(Vec<TestName>, usize), CallError> {
        let (mut found, mut seen) = (Vec::new(), 0);
        loop {
            let path = format!("{}?limit={PAGE}&offset={seen}", self.place.collections());
            let answer = self.wire.get(&path)?.expect(200)?;
            let page = answer.json()?;
            let Some(page) = page.as_array() else {
                return Err(CallError::nonsense(&answer, "something else than a list of collections"));
            };
            found.extend(page.iter().filter_map(|one| prefixes.test_name(one["name"].as_str()?)));
            seen += page.len();
            if page.len() < PAGE {
                found.sort();
                return Ok((found, seen));
            }
        }
    }

    /// Removes the collection; one that is already gone counts as removed.
    ///
    /// # Errors
    /// If the edge refuses, or does not answer.
    pub fn remove(&self, name: &TestName) -> Result<(), CallError> {
        let path = self.place.collection(name.as_str());
        let answer = self.wire.send(&Call { method: Method::DELETE, path: &path, body: None })?;
        match answer.status {
            200..=299 | 404 => Ok(()),
            _ => Err(CallError::refused(&answer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(prefixes: &[&str]) -> Result<Prefixes, String> {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        Prefixes::new(&owned(prefixes), &owned(&["global", "precious_test"]))
    }

    #[test]
    fn a_prefix_of_a_protected_name_is_refused_and_so_is_one_of_everything() {
        for wrong in ["", " ", "g", "global", "precious", "precious_test"] {
            assert!(prefixes(&["test_", wrong]).is_err(), "{wrong:?}");
        }
        assert!(prefixes(&["test_", "global_", "Global", "precious_test_"]).is_ok());
    }

    #[test]
    fn only_what_begins_with_a_prefix_may_be_removed() {
        let prefixes = prefixes(&["test_", "DEBUG_"]).unwrap();
        let name = |name: &str| prefixes.test_name(name).map(|name| name.0);
        assert_eq!([name("test_1").as_deref(), name("DEBUG_").as_deref()], [Some("test_1"), Some("DEBUG_")]);
        assert_eq!([name("Test_1"), name("my_test_1"), name("global"), name("debug_x")], [const { None }; 4]);
    }
}
