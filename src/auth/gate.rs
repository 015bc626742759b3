//! Who a request is from: the holder of a token, or, where none is asked for, anybody.

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

/// Whether it was said in so many words that nobody is asked for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// `none`.
    Declared,
    /// Nothing was said.
    Unsaid,
}

/// Whether a client's own credentials go on to the instances, with its reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCredentials {
    #[default]
    Kept,
    PassedOn,
}

/// Who is let in as whom.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Nobody is asked: others may write, those on this machine may do everything.
    Open(Openness),
    /// Holders of one of these tokens, and those for whom the issuer speaks.
    Asks { tokens: Arc<[Token]>, issuer: Option<Arc<Issuer>> },
}

/// Why a request is not let in. What is shown names no token.
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
    /// It is known whose request it is, and this role is needed.
    #[error("The token may not do this: it needs the role {0}")]
    NeedsRole(Role),
    /// Nobody is asked for a token, and this may be done on the edge's own machine alone.
    #[error(
        "Without tokens this is allowed on the machine of the edge alone; configure edge.auth.tokens to allow it elsewhere"
    )]
    OnlyHere,
    /// It shows, or changes, more than the token knows of.
    #[error("This is beyond the scope of the token")]
    BeyondScope,
}

impl Denied {
    /// 401 where it is not known whose request it is, else 403.
    pub const fn status(self) -> u16 {
        match self {
            Denied::NoCredential | Denied::Unclear | Denied::UnknownToken | Denied::ExpiredToken | Denied::Jwt(_) => {
                401
            }
            Denied::NeedsRole(_) | Denied::OnlyHere | Denied::BeyondScope => 403,
        }
    }

    /// The `reason` of the answer, and the metric's label.
    pub const fn reason(self) -> &'static str {
        if self.status() == 401 { "unauthenticated" } else { "forbidden" }
    }
}

impl fmt::Display for Gate {
    /// Names and roles, never a token.
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
    /// The tokens that are asked for, if any.
    pub fn tokens(&self) -> &[Token] {
        match self {
            Gate::Open(_) => &[],
            Gate::Asks { tokens, .. } => tokens,
        }
    }

    /// Who speaks for clients by JWTs, if anybody.
    pub fn issuer(&self) -> Option<&Issuer> {
        match self {
            Gate::Open(_) => None,
            Gate::Asks { issuer, .. } => issuer.as_deref(),
        }
    }

    /// What is open to whom, in one line.
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

    /// Who the request is from.
    ///
    /// # Errors
    /// A token is asked for, and the request brings none that is valid.
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

    /// Who may do what needs this; `None`: anybody, whoever it is.
    ///
    /// # Errors
    /// It may not.
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

    /// Whether clients are asked for tokens.
    pub fn asks(&self) -> bool {
        matches!(self, Gate::Asks { .. })
    }
}

/// Who a token is from that is none of the configured ones.
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
