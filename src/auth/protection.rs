//! Which collections are protected from deletion, and how a client deletes one on purpose.
//!
//! Judges only names. The proxy finds out from the catalog what a request would delete.

use http::{HeaderMap, HeaderName};

use super::principal::Principal;
use super::role::Role;

/// The request header that names what to delete despite its protection.
pub const CONFIRM: HeaderName = HeaderName::from_static("chroma-edge-confirm");
/// The header's value to reset everything where resets are not allowed.
pub const RESET: &str = "reset";

/// The protected names, which apply to every database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// Names. One that ends in `*` stands for all names with the prefix before it.
    pub collections: Vec<String>,
    /// Prefixes of names that are used for tests, which are never protected.
    pub test_prefixes: Vec<String>,
}

impl Protection {
    /// Returns whether a collection of this name is protected.
    pub fn covers(&self, name: &str) -> bool {
        let is_meant = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        };
        let is_test = self.test_prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
        !is_test && self.collections.iter().any(is_meant)
    }

    /// Returns a protected name or pattern that has no effect because everything it stands for begins with this prefix.
    pub fn contradicts(&self, prefix: &str) -> Option<&str> {
        let beginning = |listed: &str| listed.strip_suffix('*').unwrap_or(listed).starts_with(prefix);
        self.collections.iter().map(String::as_str).find(|listed| beginning(listed))
    }
}

/// The names that a request confirms it deletes on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmed(Vec<String>);

impl Confirmed {
    /// Returns the names that these headers confirm, separated by commas. Only an admin can confirm.
    pub fn of(headers: &HeaderMap, principal: &Principal) -> Confirmed {
        if !principal.has(Role::Admin) {
            return Confirmed::default();
        }
        let values = headers.get_all(&CONFIRM).iter().filter_map(|value| value.to_str().ok());
        let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned());
        Confirmed(names.filter(|name| !name.is_empty()).collect())
    }

    /// Returns those of these names that are not confirmed.
    pub fn missing<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        names.into_iter().filter(|name| !self.0.iter().any(|one| one == name)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_and_beginnings_are_protected_but_for_tests() {
        let all = Protection { collections: names(&["global", "prod_*"]), test_prefixes: names(&["prod_test_"]) };
        let covered = ["global", "prod_", "prod_a", "prod_test"];
        assert!(covered.iter().all(|name| all.covers(name)));
        assert!(!["globa", "global2", "Global", "prod_test_1", "prod", ""].iter().any(|name| all.covers(name)));
        let everything = Protection { collections: names(&["*"]), test_prefixes: names(&["test_"]) };
        assert!(everything.covers("x") && everything.covers("") && !everything.covers("test_x"));
        assert_eq!((all.contradicts("glo"), all.contradicts("prod_test_")), (Some("global"), None));
        assert_eq!(all.contradicts("prod"), Some("prod_*"), "nothing of it would be protected");
    }

    #[test]
    fn only_an_admin_confirms_and_by_name() {
        let mut headers = HeaderMap::new();
        headers.append(CONFIRM, "global, other".parse().unwrap());
        headers.append(CONFIRM, "third".parse().unwrap());
        let admin = Confirmed::of(&headers, &Principal::anonymous(Role::Admin));
        assert!(admin.missing(["global", "other", "third"]).is_empty());
        assert_eq!(admin.missing(["global", "Other"]), ["Other"]);
        assert_eq!(admin.missing(["global, other"]), ["global, other"]);
        let writer = Confirmed::of(&headers, &Principal::anonymous(Role::Writer));
        assert_eq!(writer.missing(["global"]), ["global"]);
    }
}
