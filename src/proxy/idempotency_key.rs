//! The id that a client brought for its write, or was given for it by an earlier answer: how it is read and compared.
//!
//! Where an id is looked for, and what its finding means, is decided by `single_flight` and `replay`.

use http::HeaderMap;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::failure::Failure;
use crate::ids::TransactionId;
use crate::journal::ClientKey;

/// In this order: the first one that is there is the id.
const NAMES: [&str; 3] = ["transaction-id", "x-transaction-id", "idempotency-key"];
/// The longest id, in bytes.
const LONGEST: usize = 255;

/// The id in a request's headers, as the client spelled it.
pub fn brought(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(name) = NAMES.into_iter().find(|name| headers.contains_key(*name)) else { return Ok(None) };
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    let text = first.filter(|_| second.is_none()).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_valid(text) { Ok(Some(text.to_owned())) } else { Err(Failure::BadTransactionId) }
}

/// Whether it is 1 to 255 visible ASCII characters.
pub fn is_valid(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The session that a client says its write belongs to: its first 255 bytes, which is all that a store can look for.
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

/// The transaction that the edge may have given this id to: its own ids are of version 7. Those that the clients make up
/// are mostly of version 4, and cost no look.
pub fn given(key: &str) -> Option<TransactionId> {
    let uuid = Uuid::try_parse(key).ok().filter(|_| key.len() == uuid::fmt::Hyphenated::LENGTH)?;
    (uuid.get_version_num() == 7).then(|| TransactionId::new(uuid))
}

/// The key of a write. One without an id of its own goes by the id that the edge gives it: a client that was told that
/// one, and sends it with the same request, means the same write.
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

    fn read(headers: &[(&'static str, &[u8])]) -> Result<Option<String>, &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        brought(&map).map_err(|failure| failure.reason())
    }

    #[test]
    fn the_first_header_counts_and_must_be_right() {
        let bad = Err("bad_transaction_id");
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("idempotency-key", b"b"), ("transaction-id", b"a")]), Ok(Some("a".to_owned())));
        assert_eq!(read(&[("idempotency-key", b"b"), ("transaction-id", b"")]), bad);
        assert_eq!(read(&[("idempotency-key", b"b"), ("x-transaction-id", b"\xff")]), bad);
        assert_eq!(read(&[("transaction-id", b"a"), ("transaction-id", b"b")]), bad);
        assert_eq!(read(&[("transaction-id", &[b'k'; 255])]), Ok(Some("k".repeat(255))));
        assert_eq!(read(&[("transaction-id", &[b'k'; 256])]), bad);
        assert_eq!(read(&[("transaction-id", b"two words")]), bad);
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
