//! Scopes: which tenants, databases and collections a principal knows of.
//!
//! A collection is judged by its place and its name, never by the path of the request: Chroma ignores the tenant and
//! the database in the paths of records.

use crate::ids::Scope;

/// A set of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    #[default]
    All,
    /// Exactly these names.
    Only(Vec<String>),
}

impl Names {
    /// Creates a set of these names.
    pub fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
        Names::Only(names.into_iter().map(str::to_owned).collect())
    }

    /// Returns whether the set contains the name.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Names::All => true,
            Names::Only(names) => names.iter().any(|one| one == name),
        }
    }

    /// Returns the only name, if there is exactly one.
    pub fn single(&self) -> Option<&str> {
        match self {
            Names::Only(names) if names.len() == 1 => names.first().map(String::as_str),
            Names::All | Names::Only(_) => None,
        }
    }
}

/// The names that a principal knows of. All three sets must allow an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    pub tenants: Names,
    pub databases: Names,
    pub collections: Names,
}

impl Grants {
    /// Everything.
    pub const ALL: Grants = Grants { tenants: Names::All, databases: Names::All, collections: Names::All };

    /// Returns whether everything is allowed.
    pub fn are_unlimited(&self) -> bool {
        *self == Grants::ALL
    }

    /// Returns whether all collections of the databases are allowed.
    pub fn has_whole_databases(&self) -> bool {
        self.collections == Names::All
    }

    /// Returns whether the tenant is in scope.
    pub fn tenant(&self, tenant: &str) -> bool {
        self.tenants.has(tenant)
    }

    /// Returns whether the database is in scope.
    pub fn database(&self, scope: &Scope) -> bool {
        self.tenant(&scope.tenant) && self.databases.has(&scope.database)
    }

    /// Returns whether the collection is in scope.
    pub fn collection(&self, scope: &Scope, name: &str) -> bool {
        self.database(scope) && self.collections.has(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_must_allow() {
        let grants =
            Grants { tenants: Names::only(["t"]), databases: Names::only(["d", "e"]), collections: Names::All };
        let scope = Scope::new;
        for (at, expected) in [
            (scope("t", "d"), true),
            (scope("t", "e"), true),
            (scope("T", "d"), false),
            (scope("t", "f"), false),
            (scope("u", "d"), false),
        ] {
            assert_eq!((grants.database(&at), grants.collection(&at, "any")), (expected, expected), "{at}");
        }
        let one = Grants { collections: Names::only(["c"]), ..grants };
        assert!(one.collection(&scope("t", "d"), "c") && !one.collection(&scope("t", "d"), "c2"));
        assert!(!one.collection(&scope("u", "d"), "c"), "the name alone is not enough");
        assert!(!one.has_whole_databases() && !one.are_unlimited() && Grants::ALL.are_unlimited());
        assert!(!Names::Only(Vec::new()).has(""), "an empty list is nothing");
        assert_eq!((Names::only(["x"]).single(), Names::only(["x", "y"]).single()), (Some("x"), None));
    }
}
