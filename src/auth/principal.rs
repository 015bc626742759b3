//! Who a request is from.

use std::sync::Arc;

use super::names::Grants;
use super::role::Role;

/// Who a request is from, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The token's name; `None` where nobody is asked for one.
    name: Option<Arc<str>>,
    role: Role,
    grants: Arc<Grants>,
}

impl Principal {
    /// The holder of a token.
    pub fn of_token(name: Arc<str>, role: Role, grants: Arc<Grants>) -> Principal {
        Principal { name: Some(name), role, grants }
    }

    /// Anybody, where no token is asked for.
    pub fn anonymous(role: Role) -> Principal {
        Principal { name: None, role, grants: Arc::new(Grants::ALL) }
    }

    /// The token's name: what the journal, the access log and the audit log say.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What it may do.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// What it knows of.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The same, to be kept.
    pub fn shared_grants(&self) -> Arc<Grants> {
        Arc::clone(&self.grants)
    }

    /// Whether it may do what this role may.
    pub fn has(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Whose transactions it may see: `None` for everybody's, else those of the principal of this name.
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
