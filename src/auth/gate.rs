//! Who a request is from: the holder of a token or, where no token is required, anyone.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use super::credential::{Credential, Presented};
use super::jwt::{Issuer, Rejected};
use super::locality::Locality;
use super::pages::Need;
use super::principal::Principal;
use super::role::Role;
use super::token::{Found, Token, find};
use crate::clock::Timestamp;

/// Whether the configuration explicitly says that no token is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// Set to `none`.
    Declared,
    /// Not set.
    Unsaid,
}

/// Whether a client's own credentials are passed on to the instances with its reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCredentials {
    #[default]
    Kept,
    PassedOn,
}

/// Who is admitted, and as whom.
#[derive(Clone, Debug)]
pub enum Gate {
    /// No token is required: clients elsewhere may write, and those on this machine may do everything.
    Open(Openness),
    /// Holders of one of these tokens, and of JWTs from the issuer.
    Asks { tokens: Arc<[Token]>, issuer: Option<Arc<Issuer>> },
}

/// Why a request is not admitted. The message contains no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error(
        "A token is needed: Authorization: Bearer, X-Chroma-Token, or Authorization: Basic with the token as password"
    )]
    NoCredential,
    /// Several credentials, or one that cannot be read.
    #[error("The request brings no token that can be read, or several that differ")]
    Unclear,
    #[error("The token is not valid")]
    UnknownToken,
    #[error("The token has expired")]
    ExpiredToken,
    #[error("The JWT is not accepted: {0}")]
    Jwt(Rejected),
    /// The principal is known, and needs this role.
    #[error("The token may not do this: it needs the role {0}")]
    NeedsRole(Role),
    /// No token is required, and only requests from the edge's own machine may do this.
    #[error(
        "Without tokens this is allowed on the machine of the edge alone; configure edge.auth.tokens to allow it elsewhere"
    )]
    OnlyHere,
    /// It shows or changes something outside the token's scope.
    #[error("This is beyond the scope of the token")]
    BeyondScope,
}

impl Denied {
    /// Returns 401 if the principal is unknown, or else 403.
    pub const fn status(self) -> u16 {
        match self {
            Denied::NoCredential | Denied::Unclear | Denied::UnknownToken | Denied::ExpiredToken | Denied::Jwt(_) => {
                401
            }
            Denied::NeedsRole(_) | Denied::OnlyHere | Denied::BeyondScope => 403,
        }
    }

    /// Returns the `reason` of the answer, which is also the metric's label.
    pub const fn reason(self) -> &'static str {
        if self.status() == 401 { "unauthenticated" } else { "forbidden" }
    }
}

impl fmt::Display for Gate {
    /// Writes names and roles, never a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gate::Open(Openness::Declared) => f.write_str("none"),
            Gate::Open(Openness::Unsaid) => f.write_str("not set"),
            Gate::Asks { tokens, issuer } => {
                let named: Vec<String> =
                    tokens.iter().map(|token| format!("{} ({})", token.name, token.role)).collect();
                write!(f, "tokens: [{}]", named.join(", "))?;
                issuer.as_ref().map_or(Ok(()), |issuer| write!(f, ", JWTs: [{issuer}]"))
            }
        }
    }
}

impl Gate {
    /// Returns the configured tokens, if any.
    pub fn tokens(&self) -> &[Token] {
        match self {
            Gate::Open(_) => &[],
            Gate::Asks { tokens, .. } => tokens,
        }
    }

    /// Returns the issuer of accepted JWTs, if any.
    pub fn issuer(&self) -> Option<&Issuer> {
        match self {
            Gate::Open(_) => None,
            Gate::Asks { issuer, .. } => issuer.as_deref(),
        }
    }

    /// Describes in one line what is open to whom.
    pub fn summary(&self) -> String {
        match self {
            Gate::Open(_) => {
                "data is open to whoever reaches the listener; what can discard or reconfigure is open to \
                this machine alone, and to nothing that a proxy forwards"
                    .to_owned()
            }
            Gate::Asks { tokens, issuer } => {
                let or_jwt = issuer.as_ref().map_or(String::new(), |issuer| format!(" or a JWT ({issuer})"));
                format!(
                    "every request needs one of {} tokens{or_jwt}; heartbeat, version and /health need none",
                    tokens.len()
                )
            }
        }
    }

    /// Returns who the request is from.
    ///
    /// # Errors
    /// A token is required, and the request has no valid one.
    pub fn identify(&self, headers: &HeaderMap, from: Locality, now: Timestamp) -> Result<Principal, Denied> {
        let (tokens, issuer) = match self {
            Gate::Open(_) if from == Locality::Loopback => return Ok(Principal::anonymous(Role::Admin)),
            Gate::Open(_) => return Ok(Principal::anonymous(Role::Writer)),
            Gate::Asks { tokens, issuer } => (tokens, issuer),
        };
        match Credential::of(headers) {
            Credential::None => Err(Denied::NoCredential),
            Credential::Unclear => Err(Denied::Unclear),
            Credential::Token(presented) => match find(tokens, presented.digest(), now) {
                Found::Valid(principal) => Ok(principal),
                Found::Expired => Err(Denied::ExpiredToken),
                Found::Unknown => spoken_for(issuer.as_deref(), &presented, now),
            },
        }
    }

    /// Admits a request that needs this. Returns its principal, or `None` if anyone may make it.
    ///
    /// # Errors
    /// The principal may not do this.
    pub fn admit(
        &self,
        need: Need,
        headers: &HeaderMap,
        from: Locality,
        now: Timestamp,
    ) -> Result<Option<Principal>, Denied> {
        let (role, whole) = match need {
            Need::Nothing => return Ok(None),
            Need::Role(role) => (role, false),
            Need::Shown(_) if !self.asks() => (Role::Reader, false),
            Need::Whole(role) | Need::Shown(role) => (role, true),
        };
        let principal = self.identify(headers, from, now)?;
        if !principal.has(role) {
            return Err(if principal.name().is_some() { Denied::NeedsRole(role) } else { Denied::OnlyHere });
        }
        if whole && !principal.grants().are_unlimited() {
            return Err(Denied::BeyondScope);
        }
        Ok(Some(principal))
    }

    /// Returns whether clients need tokens.
    pub fn asks(&self) -> bool {
        matches!(self, Gate::Asks { .. })
    }
}

/// Returns who a token is from that is not one of the configured ones.
fn spoken_for(issuer: Option<&Issuer>, presented: &Presented, now: Timestamp) -> Result<Principal, Denied> {
    let issuer = issuer.filter(|_| Issuer::resembles(presented.text())).ok_or(Denied::UnknownToken)?;
    issuer.principal(presented.text(), now).map_err(Denied::Jwt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Digest, Grants, Names};

    fn gate() -> Gate {
        let token = |name: &str, role, grants| Token {
            name: name.into(),
            digest: Digest::of(name.as_bytes()),
            role,
            grants: Arc::new(grants),
            expires: None,
        };
        let limited = Grants { tenants: Names::only(["t"]), ..Grants::ALL };
        let tokens = [
            token("reader", Role::Reader, Grants::ALL),
            token("writer", Role::Writer, Grants::ALL),
            token("admin", Role::Admin, Grants::ALL),
            token("limited", Role::Admin, limited),
        ];
        Gate::Asks { tokens: Arc::from(tokens), issuer: None }
    }

    fn admitted(gate: &Gate, need: Need, token: Option<&str>, from: Locality) -> Result<Option<String>, Denied> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert("x-chroma-token", token.parse().unwrap());
        }
        let admitted = gate.admit(need, &headers, from, Timestamp::from_millis(0));
        admitted.map(|who| who.map(|who| who.name().unwrap_or("anybody").to_owned()))
    }

    #[test]
    fn with_tokens_everyone_is_asked_wherever_they_are() {
        let gate = gate();
        for from in [Locality::Loopback, Locality::Elsewhere] {
            let ask = |need, token| admitted(&gate, need, token, from);
            assert_eq!(ask(Need::Nothing, None), Ok(None));
            assert_eq!(ask(Need::Role(Role::Reader), None), Err(Denied::NoCredential));
            assert_eq!(ask(Need::Role(Role::Reader), Some("nobody")), Err(Denied::UnknownToken));
            let tokens = ["reader", "writer", "admin"];
            for (rank, token) in tokens.into_iter().enumerate() {
                for (needed, role) in Role::ALL.into_iter().enumerate() {
                    let expected =
                        if rank >= needed { Ok(Some(token.to_owned())) } else { Err(Denied::NeedsRole(role)) };
                    assert_eq!(ask(Need::Role(role), Some(token)), expected, "{token} {role}");
                    assert_eq!(ask(Need::Whole(role), Some(token)), expected, "{token} {role}");
                    assert_eq!(ask(Need::Shown(role), Some(token)), expected, "{token} {role}");
                }
            }
            assert_eq!(ask(Need::Role(Role::Admin), Some("limited")), Ok(Some("limited".to_owned())));
            assert_eq!(ask(Need::Whole(Role::Reader), Some("limited")), Err(Denied::BeyondScope));
        }
    }

    #[test]
    fn an_open_edge_gives_the_world_data_and_this_machine_everything() {
        for openness in [Openness::Declared, Openness::Unsaid] {
            let gate = Gate::Open(openness);
            for role in Role::ALL {
                let expected = if role == Role::Admin { Err(Denied::OnlyHere) } else { Ok(Some("anybody".to_owned())) };
                assert_eq!(admitted(&gate, Need::Whole(role), Some("ignored"), Locality::Elsewhere), expected);
                assert!(admitted(&gate, Need::Whole(role), None, Locality::Loopback).is_ok());
                assert!(admitted(&gate, Need::Shown(role), None, Locality::Elsewhere).is_ok());
            }
        }
    }
}
