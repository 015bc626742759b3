//! Tokens: what the edge keeps of one, and how it finds the one that a client presents.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::names::Grants;
use super::principal::Principal;
use super::role::Role;
use crate::clock::Timestamp;

/// The SHA-256 of a token, which is all that the edge keeps of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl Digest {
    /// Computes the digest of this token.
    pub fn of(token: &[u8]) -> Digest {
        Digest(Sha256::digest(token).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(hex: &str) -> Option<Digest> {
        let digits: Vec<u8> =
            hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        (digits.len() == 64).then(|| bytes.try_into().ok()).flatten().map(Digest)
    }

    /// Formats the digest as 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A configured token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Unique. Logs and the journal contain this instead of the token.
    pub name: Arc<str>,
    pub digest: Digest,
    pub role: Role,
    pub grants: Arc<Grants>,
    /// The token is not accepted from this time on.
    pub expires: Option<Timestamp>,
}

/// The result of looking up a presented token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Valid(Principal),
    Expired,
    Unknown,
}

/// Looks up the token with this digest. The time this takes does not depend on which token matches, or on how much of
/// it is right.
pub(super) fn find(tokens: &[Token], presented: &Digest, now: Timestamp) -> Found {
    let mut found = None;
    for token in tokens {
        let same: Choice = token.digest.0.ct_eq(&presented.0);
        if bool::from(same) {
            found = Some(token);
        }
    }
    match found {
        None => Found::Unknown,
        Some(token) if token.expires.is_some_and(|end| end <= now) => Found::Expired,
        Some(token) => {
            Found::Valid(Principal::of_token(Arc::clone(&token.name), token.role, Arc::clone(&token.grants)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, secret: &str, expires: Option<i64>) -> Token {
        Token {
            name: name.into(),
            digest: Digest::of(secret.as_bytes()),
            role: Role::Writer,
            grants: Arc::default(),
            expires: expires.map(Timestamp::from_millis),
        }
    }

    #[test]
    fn a_token_is_found_by_its_whole_secret_until_it_expires() {
        let tokens = [token("a", "secret-a", None), token("b", "secret-b", Some(1_000))];
        let at = |secret: &str, now| find(&tokens, &Digest::of(secret.as_bytes()), Timestamp::from_millis(now));
        let Found::Valid(principal) = at("secret-b", 999) else { panic!("valid") };
        assert_eq!((principal.name(), principal.role()), (Some("b"), Role::Writer));
        assert_eq!(at("secret-b", 1_000), Found::Expired);
        assert!(matches!(at("secret-a", i64::MAX), Found::Valid(_)));
        for wrong in ["", "secret-", "secret-c", "SECRET-A", "secret-a "] {
            assert_eq!(at(wrong, 0), Found::Unknown, "{wrong:?}");
        }
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits_and_is_not_shown() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::parse(&digest.hex()), Some(digest));
        assert_eq!(Digest::parse(&digest.hex().to_uppercase()), Some(digest));
        for wrong in ["", "ab", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{digest:?}"), "Digest(…)");
    }
}
