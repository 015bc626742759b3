//! JWTs: who a token that an external issuer has signed is from, and what it may do.
//!
//! The key determines the algorithm, never the token. A claim that is present but not understood is not ignored: the
//! token is refused. Nothing here opens a file or reads a clock.

mod claims;
mod keys;
mod signatures;
#[cfg(test)]
mod tests;

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{decode, decode_header};
use serde_json::{Map, Value};

pub use self::claims::{ClaimNames, Rules};
pub use self::keys::{KeyMistake, Keys};
use super::principal::Principal;
use super::token::Digest;
use crate::clock::Timestamp;

/// The issuer whose JWTs are accepted, and the rules for them.
#[derive(Clone, Debug)]
pub struct Issuer {
    keys: Keys,
    rules: Rules,
    /// The most bytes a token may have.
    longest: usize,
}

/// Why a JWT is not accepted. The message never contains anything from the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("it is longer than auth.jwt.token_bytes")]
    TooLong,
    #[error("it cannot be read, or its alg is none that signs")]
    Malformed,
    #[error("its alg is not that of the key")]
    Algorithm,
    #[error("its kid names no key that is known here")]
    Key,
    #[error("its signature is wrong")]
    Signature,
    #[error("exp is missing, or is no time")]
    NoEnd,
    #[error("it has expired")]
    Expired,
    #[error("nbf is no time")]
    NoBeginning,
    #[error("it is not valid yet")]
    TooEarly,
    #[error("iss is not the configured issuer")]
    Issuer,
    #[error("aud does not name this edge")]
    Audience,
    #[error("sub is not 1 to 128 visible ASCII characters")]
    Subject,
    #[error("the claim of the role is not reader, writer or admin")]
    Role,
    #[error("a claim of the scope is not a list of names")]
    Scope,
}

impl Issuer {
    /// Accepts tokens of at most `longest` bytes that these keys verify and these rules allow.
    pub fn new(keys: Keys, rules: Rules, longest: usize) -> Issuer {
        signatures::install();
        Issuer { keys, rules, longest }
    }

    /// Returns each key's name, with a mark that differs if the key does.
    pub fn key_marks(&self) -> Vec<(String, Digest)> {
        self.keys.marks()
    }

    /// Returns whether the token could be a JWT: three parts, separated by dots.
    pub(super) fn resembles(token: &[u8]) -> bool {
        token.iter().filter(|byte| **byte == b'.').count() == 2
    }

    /// Returns the principal that the token is from.
    ///
    /// # Errors
    /// The token is not accepted.
    pub(super) fn principal(&self, token: &[u8], now: Timestamp) -> Result<Principal, Rejected> {
        if token.len() > self.longest {
            return Err(Rejected::TooLong);
        }
        let header = decode_header(token).map_err(|_| Rejected::Malformed)?;
        let key = self.keys.named(header.kid.as_deref()).ok_or(Rejected::Key)?;
        let claims = decode::<Map<String, Value>>(token, key.decoding(), key.validation());
        let claims = claims.map_err(|error| match error.kind() {
            ErrorKind::InvalidAlgorithm => Rejected::Algorithm,
            ErrorKind::InvalidSignature => Rejected::Signature,
            _ => Rejected::Malformed,
        })?;
        self.rules.principal(&claims.claims, now)
    }
}

impl fmt::Display for Issuer {
    /// Writes the algorithms and the keys' names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.keys, f)
    }
}
