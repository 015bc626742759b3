//! How a body is stored: the one place that packs and unpacks.

use bytes::Bytes;

use crate::journal::ReadError;

const PLAIN: &str = "plain";

/// The stored form of a body, and its encoding's name.
pub(super) fn packed(body: &Bytes) -> (Bytes, &'static str) {
    (body.clone(), PLAIN)
}

/// The body that was stored in this form.
pub(super) fn unpacked(encoding: &str, stored: &[u8]) -> Result<Bytes, ReadError> {
    match encoding {
        PLAIN => Ok(Bytes::copy_from_slice(stored)),
        other => Err(ReadError(format!("unknown encoding {other:?} of a body in the journal"))),
    }
}
