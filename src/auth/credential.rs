//! The credential in a request's headers.
//!
//! Stock clients send `X-Chroma-Token` or `Authorization: Bearer`. Proxies and browsers send `Authorization: Basic`,
//! whose password is the token. A request with several that differ is refused: the edge must not guess which of them
//! counts.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::token::Digest;

const CHROMA_TOKEN: HeaderName = HeaderName::from_static("x-chroma-token");

/// The headers in which clients send credentials that are for the edge alone.
pub const CREDENTIAL_HEADERS: [HeaderName; 4] = [AUTHORIZATION, CHROMA_TOKEN, PROXY_AUTHORIZATION, COOKIE];

/// The credential that a request presents.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    None,
    Token(Presented),
    /// A header without a token, or several different tokens.
    Unclear,
}

/// A token as a client presents it, kept only until it has been checked.
#[derive(Clone)]
pub struct Presented {
    digest: Digest,
    text: Zeroizing<Vec<u8>>,
}

impl Presented {
    fn new(token: &[u8]) -> Option<Presented> {
        (!token.is_empty()).then(|| Presented { digest: Digest::of(token), text: Zeroizing::new(token.to_vec()) })
    }

    /// Returns the digest by which a configured token is found.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the token itself, which is needed to verify one from an external issuer.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl PartialEq for Presented {
    fn eq(&self, other: &Presented) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Presented {}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::None => "None",
            Credential::Token(_) => "Token(…)",
            Credential::Unclear => "Unclear",
        })
    }
}

impl Credential {
    /// Returns the credential in these headers.
    pub fn of(headers: &HeaderMap) -> Credential {
        let bearer = headers.get_all(AUTHORIZATION).iter().map(in_authorization);
        let token = headers.get_all(CHROMA_TOKEN).iter().map(in_chroma_token);
        let mut found = Credential::None;
        for one in bearer.chain(token) {
            let Some(token) = one else { return Credential::Unclear };
            match &found {
                Credential::None => found = Credential::Token(token),
                Credential::Token(first) if *first == token => {}
                Credential::Token(_) | Credential::Unclear => return Credential::Unclear,
            }
        }
        found
    }
}

fn in_chroma_token(value: &HeaderValue) -> Option<Presented> {
    // Older Chroma clients put the scheme here as well.
    let bytes = value.as_bytes().trim_ascii();
    Presented::new(after_scheme(bytes, b"bearer").unwrap_or(bytes))
}

fn in_authorization(value: &HeaderValue) -> Option<Presented> {
    let bytes = value.as_bytes().trim_ascii();
    if let Some(token) = after_scheme(bytes, b"bearer") {
        return Presented::new(token);
    }
    let decoded = Zeroizing::new(STANDARD.decode(after_scheme(bytes, b"basic")?).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Presented::new(decoded.get(colon + 1..)?)
}

/// Returns the part after a scheme, whose letters may be of either case.
fn after_scheme<'a>(bytes: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = bytes.split_at_checked(scheme.len())?;
    let separated = rest.first().is_some_and(|byte| *byte == b' ');
    (separated && name.eq_ignore_ascii_case(scheme)).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(headers: &[(&'static str, &str)]) -> Credential {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Credential::of(&map)
    }

    fn token(text: &[u8]) -> Credential {
        Credential::Token(Presented::new(text).unwrap())
    }

    #[test]
    fn a_token_comes_in_three_ways() {
        let s3cret = token(b"s3cret");
        let basic = format!("Basic {}", STANDARD.encode("anybody:s3cret"));
        for header in [
            ("authorization", "Bearer s3cret"),
            ("authorization", "bearer   s3cret "),
            ("authorization", basic.as_str()),
            ("x-chroma-token", "s3cret"),
            ("x-chroma-token", "Bearer s3cret"),
        ] {
            assert_eq!(credential(&[header]), s3cret, "{header:?}");
        }
        let with_colon = format!("basic {}", STANDARD.encode(":a:b"));
        assert_eq!(credential(&[("authorization", &with_colon)]), token(b"a:b"));
        assert_eq!(credential(&[("x-api-key", "s3cret")]), Credential::None);
        assert_eq!(credential(&[("authorization", "Bearer s3cret"), ("x-chroma-token", "s3cret")]), s3cret);
    }

    #[test]
    fn what_brings_no_token_or_two_is_unclear() {
        let no_colon = format!("Basic {}", STANDARD.encode("s3cret"));
        for headers in [
            &[("authorization", "Bearer a"), ("x-chroma-token", "b")][..],
            &[("x-chroma-token", "a"), ("x-chroma-token", "b")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearers3cret")],
            &[("authorization", "Digest s3cret")],
            &[("authorization", "Basic !!!")],
            &[("authorization", &no_colon)],
            &[("authorization", "")],
            &[("x-chroma-token", "")],
        ] {
            assert_eq!(credential(headers), Credential::Unclear, "{headers:?}");
        }
    }

    #[test]
    fn a_credential_is_not_shown() {
        let shown = format!("{:?}", credential(&[("x-chroma-token", "s3cret")]));
        assert_eq!(shown, "Token(…)");
    }
}
