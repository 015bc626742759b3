//! The id that a client sends with its write, or repeats from an earlier answer: how it is read and compared.
//!
//! Which headers may carry one is configured ([`KeyHeaders`]). `proxy/single_flight.rs` and `proxy/replay.rs` decide
//! where an id is looked up, and what follows if it is found.

use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ids::TransactionId;
use crate::journal::ClientKey;

/// The headers that may carry an id, unless the configuration names others.
pub const DEFAULT_HEADERS: [&str; 3] = ["Transaction-ID", "X-Transaction-ID", "Idempotency-Key"];
/// The longest id, in bytes.
const LONGEST: usize = 255;

/// The id that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroughtKey {
    /// As the client spelled it.
    pub text: String,
    /// The header that it came in.
    pub header: HeaderName,
}

/// The header's value is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A transaction id is 1 to {LONGEST} visible ASCII characters")]
pub struct BadKey;

/// The headers that may carry an id, in order of precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHeaders(Vec<HeaderName>);

impl Default for KeyHeaders {
    fn default() -> Self {
        KeyHeaders(DEFAULT_HEADERS.iter().filter_map(|name| HeaderName::try_from(*name).ok()).collect())
    }
}

impl KeyHeaders {
    /// Creates the list from these headers, in this order. If it is empty, no write carries an id.
    pub fn new(names: Vec<HeaderName>) -> Self {
        KeyHeaders(names)
    }

    /// Returns the headers, in order of precedence.
    pub fn names(&self) -> &[HeaderName] {
        &self.0
    }

    /// Returns the id in a request's headers: that of the first header with a value. An empty value counts as none.
    ///
    /// # Errors
    /// The header occurs twice, or its value is not an id.
    pub fn read(&self, headers: &HeaderMap) -> Result<Option<BroughtKey>, BadKey> {
        for header in &self.0 {
            let mut values = headers.get_all(header).iter().filter(|value| !value.as_bytes().trim_ascii().is_empty());
            let Some(first) = values.next() else { continue };
            let text = first.to_str().ok().filter(|text| values.next().is_none() && is_valid(text));
            return text.map(|text| Some(BroughtKey { text: text.to_owned(), header: header.clone() })).ok_or(BadKey);
        }
        Ok(None)
    }
}

/// Returns whether the text is 1 to 255 visible ASCII characters.
pub fn is_valid(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the session that a client names for its write, cut to 255 characters, the most that a store can search for.
pub fn session(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-client-session").or_else(|| headers.get("x-session-id"))?;
    value.to_str().ok().map(|text| shortened(text).to_owned())
}

/// Returns the part of a session that is stored.
pub fn shortened(session: &str) -> &str {
    session.char_indices().nth(LONGEST).map_or(session, |(end, _)| &session[..end])
}

/// Returns the spelling under which an id is stored: two spellings of one UUID are one id.
pub fn canonical(text: &str) -> String {
    match Uuid::try_parse(text) {
        Ok(uuid) if text.len() == uuid::fmt::Hyphenated::LENGTH => uuid.hyphenated().to_string(),
        _ => text.to_owned(),
    }
}

/// Returns the transaction to which the edge may have assigned this id: the edge's ids are UUIDs of version 7. Clients
/// mostly make ids of version 4, which need no lookup.
pub fn given(key: &str) -> Option<TransactionId> {
    let uuid = Uuid::try_parse(key).ok().filter(|_| key.len() == uuid::fmt::Hyphenated::LENGTH)?;
    (uuid.get_version_num() == 7).then(|| TransactionId::new(uuid))
}

/// Returns the key of a write. A write without an id of its own uses the id that the edge assigns: a client that
/// repeats the request with that id means the same write.
pub fn key(brought: Option<&str>, given: TransactionId, tenant: &str, fingerprint: [u8; 32]) -> ClientKey {
    let key = brought.map_or_else(|| given.to_string(), canonical);
    ClientKey { tenant: tenant.to_owned(), key, fingerprint }
}

/// Returns the digest by which requests are compared.
pub fn fingerprint(method: &str, path: &str, body: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [method.as_bytes(), path.as_bytes(), body] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read_with(names: &KeyHeaders, headers: &[(&'static str, &[u8])]) -> Result<Option<String>, BadKey> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        names.read(&map).map(|key| key.map(|key| key.text))
    }

    fn read(headers: &[(&'static str, &[u8])]) -> Result<Option<String>, BadKey> {
        read_with(&KeyHeaders::default(), headers)
    }

    #[test]
    fn the_first_header_counts_and_must_be_right() {
        let bad = Err(BadKey);
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("idempotency-key", b"b"), ("transaction-id", b"a")]), Ok(Some("a".to_owned())));
        assert_eq!(read(&[("transaction-id", b"")]), Ok(None), "empty counts as none");
        assert_eq!(read(&[("idempotency-key", b"b"), ("transaction-id", b" ")]), Ok(Some("b".to_owned())));
        assert_eq!(read(&[("transaction-id", b""), ("transaction-id", b"a")]), Ok(Some("a".to_owned())));
        assert_eq!(read(&[("idempotency-key", b"b"), ("x-transaction-id", b"\xff")]), bad);
        assert_eq!(read(&[("transaction-id", b"a"), ("transaction-id", b"b")]), bad);
        assert_eq!(read(&[("transaction-id", &[b'k'; 255])]), Ok(Some("k".repeat(255))));
        assert_eq!(read(&[("transaction-id", &[b'k'; 256])]), bad);
        assert_eq!(read(&[("transaction-id", b"two words")]), bad);
    }

    #[test]
    fn only_configured_headers_count() {
        let only = KeyHeaders::new(vec![HeaderName::from_static("x-write-id")]);
        let headers: [(&str, &[u8]); 2] = [("transaction-id", b"a"), ("x-write-id", b"b")];
        assert_eq!(read_with(&only, &headers), Ok(Some("b".to_owned())));
        assert_eq!(read_with(&only, &headers[..1]), Ok(None));
        assert_eq!(read_with(&KeyHeaders::new(Vec::new()), &headers), Ok(None));
    }

    #[test]
    fn spellings_of_one_uuid_are_one_id_and_other_texts_are_themselves() {
        let uuid = "01890A5D-AC96-774B-BCCE-B302099A8057";
        assert_eq!(canonical(uuid), uuid.to_lowercase());
        for text in ["Order-1", "01890A5DAC96774BBCCEB302099A8057"] {
            assert_eq!(canonical(text), text);
        }
    }

    #[test]
    fn what_the_edge_gives_may_be_its_own() {
        let id = TransactionId::random();
        assert_eq!(given(&id.to_string()), Some(id));
        for text in ["order-1", "9b2f6f0e-4a52-4c0a-8d0e-1f1d0a1b2c3d", &id.uuid().simple().to_string()] {
            assert_eq!(given(text), None, "{text}");
        }
    }

    #[test]
    fn each_part_of_a_request_counts() {
        let one = fingerprint("POST", "/a", b"b");
        assert_eq!(one, fingerprint("POST", "/a", b"b"));
        let others = [("PUT", "/a", "b"), ("POST", "/ab", ""), ("POST", "/", "ab"), ("POST", "/a", "c")];
        assert!(others.iter().all(|(method, path, body)| fingerprint(method, path, body.as_bytes()) != one));
    }
}
