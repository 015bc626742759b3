//! Who a request is from.

use std::sync::Arc;

use super::names::Grants;
use super::role::Role;

/// Who a request is from, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The token's name; `None` if no token is required.
    name: Option<Arc<str>>,
    role: Role,
    grants: Arc<Grants>,
}

impl Principal {
    /// Returns the holder of a token.
    pub fn of_token(name: Arc<str>, role: Role, grants: Arc<Grants>) -> Principal {
        Principal { name: Some(name), role, grants }
    }

    /// Returns the principal of every request where no token is required.
    pub fn anonymous(role: Role) -> Principal {
        Principal { name: None, role, grants: Arc::new(Grants::ALL) }
    }

    /// Returns the token's name, which the journal, the access log and the audit log contain.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the role.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns the grants.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Returns a shared handle to the grants.
    pub fn shared_grants(&self) -> Arc<Grants> {
        Arc::clone(&self.grants)
    }

    /// Returns whether the principal may do what this role may.
    pub fn has(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Returns whose transactions the principal may see: `None` for all, or else those of the principal of this name.
    pub fn sees_only(&self) -> Option<&str> {
        match &self.name {
            Some(name) if self.role < Role::Admin || !self.grants.are_unlimited() => Some(name),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Names;

    #[test]
    fn only_an_unlimited_admin_sees_the_transactions_of_others() {
        let limited = Grants { tenants: Names::only(["t"]), ..Grants::ALL };
        let token = |role, grants: &Grants| Principal::of_token("cms".into(), role, Arc::new(grants.clone()));
        for role in [Role::Reader, Role::Writer] {
            assert_eq!(token(role, &Grants::ALL).sees_only(), Some("cms"));
        }
        assert_eq!(token(Role::Admin, &Grants::ALL).sees_only(), None);
        assert_eq!(token(Role::Admin, &limited).sees_only(), Some("cms"));
        assert_eq!(Principal::anonymous(Role::Writer).sees_only(), None, "nothing is anybody's own");
    }
}
