//! The id that a client brings for its write, or repeats from an earlier answer: how it is read and compared.
//!
//! Which headers may bring one is configured ([`KeyHeaders`]). Where an id is looked up, and what follows when it is
//! found, is decided by `proxy/single_flight.rs` and `proxy/replay.rs`.

use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ids::TransactionId;
use crate::journal::ClientKey;

/// The headers that bring an id unless the configuration names others.
pub const DEFAULT_HEADERS: [&str; 3] = ["Transaction-ID", "X-Transaction-ID", "Idempotency-Key"];
/// The longest id, in bytes.
const LONGEST: usize = 255;

/// The id that a client brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroughtKey {
    /// As the client spelled it.
    pub text: String,
    /// The header that it came in.
    pub header: HeaderName,
}

/// The header's value is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A transaction id is 1 to {LONGEST} visible ASCII characters")]
pub struct BadKey;

/// The headers that may bring an id, the first of them first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHeaders(Vec<HeaderName>);

impl Default for KeyHeaders {
    fn default() -> Self {
        KeyHeaders(DEFAULT_HEADERS.iter().filter_map(|name| HeaderName::try_from(*name).ok()).collect())
    }
}

impl KeyHeaders {
    /// These headers, in this order; none at all means that no write brings an id.
    pub fn new(names: Vec<HeaderName>) -> Self {
        KeyHeaders(names)
    }

    /// The headers, in the order in which they are looked at.
    pub fn names(&self) -> &[HeaderName] {
        &self.0
    }

    /// The id in a request's headers: that of the first header with a value. An empty one counts as none.
    ///
    /// # Errors
    /// When the header is there twice, or its value is no id.
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

/// Whether it is 1 to 255 visible ASCII characters.
pub fn is_valid(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The session that a client names for its write, cut to the first 255 characters: a store can look for no more.
pub fn session(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-client-session").or_else(|| headers.get("x-session-id"))?;
    value.to_str().ok().map(|text| shortened(text).to_owned())
}

/// As much of a session as is stored.
pub fn shortened(session: &str) -> &str {
    session.char_indices().nth(LONGEST).map_or(session, |(end, _)| &session[..end])
}

/// The spelling under which it is stored: two spellings of one UUID are one id.
pub fn canonical(text: &str) -> String {
    match Uuid::try_parse(text) {
        Ok(uuid) if text.len() == uuid::fmt::Hyphenated::LENGTH => uuid.hyphenated().to_string(),
        _ => text.to_owned(),
    }
}

/// The transaction that the edge may have given this id to: the edge's ids are UUIDs of version 7. Clients mostly make
/// ids of version 4, which need no lookup.
pub fn given(key: &str) -> Option<TransactionId> {
    let uuid = Uuid::try_parse(key).ok().filter(|_| key.len() == uuid::fmt::Hyphenated::LENGTH)?;
    (uuid.get_version_num() == 7).then(|| TransactionId::new(uuid))
}

/// The key of a write. One without an id of its own goes by the id that the edge gives it: a client that repeats the
/// request with that id means the same write.
pub fn key(brought: Option<&str>, given: TransactionId, tenant: &str, fingerprint: [u8; 32]) -> ClientKey {
    let key = brought.map_or_else(|| given.to_string(), canonical);
    ClientKey { tenant: tenant.to_owned(), key, fingerprint }
}

/// What a request is compared by.
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
