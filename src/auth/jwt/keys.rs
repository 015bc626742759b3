//! Which key and which algorithm verify a JWT: one shared secret, or the public keys of a JWKS.
//!
//! Both are fixed by the configuration. A token can at most name a key; it never chooses the algorithm.

use std::collections::BTreeMap;
use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use serde_json::Value;

use crate::auth::token::Digest;

/// A shared secret that is shorter than its digest is the weakest part.
const SHORTEST_SECRET: usize = 32;
/// In bytes: 2048 bits.
const SHORTEST_MODULUS: usize = 256;
/// An uncompressed point of P-256: a tag byte and two coordinates.
const POINT: usize = 65;

/// Why keys cannot be used. No message repeats a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyMistake {
    #[error("a secret has at least {SHORTEST_SECRET} bytes")]
    ShortSecret,
    #[error("it is not a JWKS, {{\"keys\": [...]}}")]
    NotASet,
    #[error("it holds a private key, or a shared secret: only public keys belong there")]
    Private,
    #[error("a key for signatures has no kid")]
    NoName,
    #[error("two keys have the kid {0:?}")]
    SameName(String),
    #[error("the key {0:?} is malformed, or shorter than 2048 bits")]
    Weak(String),
    #[error("it holds no key for RS256 or ES256")]
    Empty,
}

/// A key, and the only algorithm that it may be used with.
#[derive(Clone)]
pub(super) struct Key {
    decoding: DecodingKey,
    validation: Validation,
    algorithm: Algorithm,
    /// Identifies the key: a digest of what was configured.
    mark: Digest,
}

/// All keys. Only their names are ever shown.
#[derive(Clone)]
pub struct Keys(Kept);

#[derive(Clone)]
enum Kept {
    Secret(Box<Key>),
    /// By their `kid`.
    Set(BTreeMap<String, Key>),
}

impl Keys {
    /// Creates an HS256 key from this secret.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn secret(secret: &[u8]) -> Result<Keys, KeyMistake> {
        if secret.len() < SHORTEST_SECRET {
            return Err(KeyMistake::ShortSecret);
        }
        let key = DecodingKey::from_secret(secret).map_err(|_| KeyMistake::ShortSecret)?;
        Ok(Keys(Kept::Secret(Box::new(Key::new(key, Algorithm::HS256, Digest::of(secret))))))
    }

    /// Creates RS256 and ES256 keys from the text of a JWKS. Keys for other purposes are skipped.
    ///
    /// # Errors
    /// What is wrong with the JWKS.
    pub fn set(text: &str) -> Result<Keys, KeyMistake> {
        let value: Value = serde_json::from_str(text).map_err(|_| KeyMistake::NotASet)?;
        let listed = value.get("keys").and_then(Value::as_array).ok_or(KeyMistake::NotASet)?;
        if listed.iter().any(|key| key.get("d").is_some() || key.get("k").is_some()) {
            return Err(KeyMistake::Private);
        }
        let set: JwkSet = serde_json::from_value(value).map_err(|_| KeyMistake::NotASet)?;
        let mut keys = BTreeMap::new();
        for key in &set.keys {
            let Some(algorithm) = algorithm(key) else { continue };
            let name = key.common.key_id.clone().ok_or(KeyMistake::NoName)?;
            let decoding = decoding(key).ok_or_else(|| KeyMistake::Weak(name.clone()))?;
            let mark = Digest::of(&serde_json::to_vec(&key.algorithm).map_err(|_| KeyMistake::NotASet)?);
            if keys.insert(name.clone(), Key::new(decoding, algorithm, mark)).is_some() {
                return Err(KeyMistake::SameName(name));
            }
        }
        if keys.is_empty() { Err(KeyMistake::Empty) } else { Ok(Keys(Kept::Set(keys))) }
    }

    /// Returns the key that verifies a token with this `kid`. A shared secret is the only key, whatever the token
    /// names.
    pub(super) fn named(&self, kid: Option<&str>) -> Option<&Key> {
        match &self.0 {
            Kept::Secret(key) => Some(key),
            Kept::Set(keys) => keys.get(kid?),
        }
    }

    /// Returns the name and the mark of each key.
    pub(super) fn marks(&self) -> Vec<(String, Digest)> {
        match &self.0 {
            Kept::Secret(key) => vec![("secret".to_owned(), key.mark)],
            Kept::Set(keys) => keys.iter().map(|(kid, key)| (kid.clone(), key.mark)).collect(),
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kept::Secret(_) => f.write_str("HS256"),
            Kept::Set(keys) => {
                let shown: Vec<String> = keys.iter().map(|(kid, key)| format!("{:?} {kid}", key.algorithm)).collect();
                f.write_str(&shown.join(", "))
            }
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({self})")
    }
}

impl Key {
    fn new(decoding: DecodingKey, algorithm: Algorithm, mark: Digest) -> Key {
        let mut validation = Validation::new(algorithm);
        // Claims are checked by this room's own rules, at the time that is passed in.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Key { decoding, validation, algorithm, mark }
    }

    pub const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    pub const fn validation(&self) -> &Validation {
        &self.validation
    }
}

/// Returns the key's algorithm, or `None` if the key is not for verifying signatures that are supported here.
fn algorithm(key: &Jwk) -> Option<Algorithm> {
    let common = &key.common;
    let signs = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let (algorithm, name) = match &key.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let named = common.key_algorithm.is_none_or(|given| given == name);
    (signs && verifies && named).then_some(algorithm)
}

fn decoding(key: &Jwk) -> Option<DecodingKey> {
    let decoded = DecodingKey::from_jwk(key).ok()?;
    match decoded.kind() {
        DecodingKeyKind::SecretOrDer(point) => (point.len() == POINT).then_some(decoded),
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            // Some issuers add a leading sign byte, which the verification rejects.
            let modulus: Vec<u8> = n.iter().copied().skip_while(|byte| *byte == 0).collect();
            let exponent: Vec<u8> = e.iter().copied().skip_while(|byte| *byte == 0).collect();
            let usable = modulus.len() >= SHORTEST_MODULUS && !exponent.is_empty();
            usable.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
        }
    }
}
