//! Proves that a post comes from this edge, and when it was made: HMAC-SHA256 over its time and its body.

use std::fmt;
use std::fmt::Write;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The signing key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A shorter secret could be guessed.
    pub const SHORTEST: usize = 16;

    /// Creates a secret from these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(Zeroizing::new(bytes.into()))
    }

    /// Returns `v1=` and the HMAC-SHA256 of the time, a full stop, and the body, in hexadecimal.
    pub(super) fn sign(&self, seconds: &str, body: &[u8]) -> String {
        // Cannot fail: HMAC accepts a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        for part in [seconds.as_bytes(), b".", body] {
            mac.update(part);
        }
        let mut text = String::from("v1=");
        for byte in mac.finalize().into_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";

    #[test]
    fn the_signature_is_what_a_receiver_computes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let secret = Secret::new("0123456789abcdef");
        assert_eq!(secret.sign("1700000000", b"{\"a\":1}"), EXPECTED);
        assert_ne!(secret.sign("1700000001", b"{\"a\":1}"), EXPECTED, "the time is signed");
        assert_ne!(secret.sign("1700000000", b"{\"a\":2}"), EXPECTED, "the body is signed");
        assert_ne!(Secret::new("0123456789abcdeg").sign("1700000000", b"{\"a\":1}"), EXPECTED);
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert!(!format!("{:?}", Secret::new("hunter2hunter2hunter2")).contains("hunter"));
    }
}
