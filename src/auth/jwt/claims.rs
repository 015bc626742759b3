//! The claims of a JWT: how long it is valid, for whom, whose it is, and what it may do.
//!
//! The signature has already been verified.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Rejected;
use crate::auth::names::{Grants, Names};
use crate::auth::principal::Principal;
use crate::auth::role::Role;
use crate::clock::Timestamp;

/// The prefix of `sub` in a principal's name. The name of a configured token never contains a colon.
const PREFIX: &str = "jwt:";
/// Limited because the name is stored with every write.
const LONGEST_SUBJECT: usize = 128;

/// The names of the claims that the edge reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    pub role: String,
    pub tenants: String,
    pub databases: String,
    pub collections: String,
}

/// The requirements for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `iss` must be this.
    pub issuer: Option<String>,
    /// `aud` must name this. If `None`, a token with an audience is meant for someone else.
    pub audience: Option<String>,
    /// How far the issuer's clock may differ.
    pub leeway: Duration,
    pub claims: ClaimNames,
}

type Claims = Map<String, Value>;

impl Rules {
    pub(super) fn principal(&self, claims: &Claims, now: Timestamp) -> Result<Principal, Rejected> {
        self.in_time(claims, now)?;
        self.for_us(claims)?;
        let subject = claims.get("sub").and_then(Value::as_str).filter(|text| is_name(text));
        let subject = subject.ok_or(Rejected::Subject)?;
        let role = claims.get(&self.claims.role).and_then(Value::as_str).and_then(Role::named);
        let grants = Grants {
            tenants: names(claims, &self.claims.tenants)?,
            databases: names(claims, &self.claims.databases)?,
            collections: names(claims, &self.claims.collections)?,
        };
        let name = format!("{PREFIX}{subject}");
        Ok(Principal::of_token(name.into(), role.ok_or(Rejected::Role)?, Arc::new(grants)))
    }

    fn in_time(&self, claims: &Claims, now: Timestamp) -> Result<(), Rejected> {
        let leeway = i64::try_from(self.leeway.as_millis()).unwrap_or(i64::MAX);
        let end = claims.get("exp").and_then(millis).ok_or(Rejected::NoEnd)?;
        if end.saturating_add(leeway) <= now.millis() {
            return Err(Rejected::Expired);
        }
        let Some(beginning) = claims.get("nbf") else { return Ok(()) };
        let beginning = millis(beginning).ok_or(Rejected::NoBeginning)?;
        if beginning.saturating_sub(leeway) > now.millis() { Err(Rejected::TooEarly) } else { Ok(()) }
    }

    fn for_us(&self, claims: &Claims) -> Result<(), Rejected> {
        let issuer = claims.get("iss").and_then(Value::as_str);
        if self.issuer.is_some() && issuer != self.issuer.as_deref() {
            return Err(Rejected::Issuer);
        }
        let named = match (claims.get("aud"), &self.audience) {
            (None, None) => true,
            (Some(Value::String(one)), Some(us)) => one == us,
            (Some(Value::Array(all)), Some(us)) => all.iter().any(|one| one.as_str() == Some(us)),
            (None | Some(_), _) => false,
        };
        if named { Ok(()) } else { Err(Rejected::Audience) }
    }
}

/// Seconds since 1970, possibly with a fraction.
fn millis(value: &Value) -> Option<i64> {
    match value.as_i64() {
        Some(seconds) => Some(seconds.saturating_mul(1000)),
        // Outside the range, the cast saturates.
        None => value.as_f64().filter(|seconds| seconds.is_finite()).map(|seconds| (seconds * 1000.0) as i64),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_SUBJECT && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// If the claim is absent, returns all names.
fn names(claims: &Claims, name: &str) -> Result<Names, Rejected> {
    match claims.get(name) {
        None => Ok(Names::All),
        Some(Value::Array(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.map(Names::Only).ok_or(Rejected::Scope)
        }
        Some(_) => Err(Rejected::Scope),
    }
}
