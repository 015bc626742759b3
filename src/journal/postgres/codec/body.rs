//! How a body is stored. Only this file of the store packs and unpacks bodies.

use std::borrow::Cow;

use bytes::Bytes;

use crate::journal::bodies::{self, Stored};
use crate::journal::names::Named;
use crate::journal::{Compression, ReadError};

/// Returns the stored form of a body, and the name of its encoding.
pub(in crate::journal::postgres) fn packed(body: &Bytes, compression: Compression) -> (Bytes, &'static str) {
    let packed = bodies::pack(body, compression);
    let bytes = match packed.bytes {
        Cow::Borrowed(_) => body.clone(),
        Cow::Owned(bytes) => bytes.into(),
    };
    (bytes, packed.encoding.name())
}

/// Returns the body that was stored in this form.
pub(super) fn unpacked(encoding: &str, stored: &[u8]) -> Result<Bytes, ReadError> {
    let encoding = Stored::named(encoding).map_err(ReadError::from_source)?;
    bodies::unpack(stored.to_vec(), encoding).map_err(ReadError::from_source)
}
