//! What a request is, from its method and path alone.
//!
//! It decides which operation a request asks for, and which requests the edge answers itself because forwarding them
//! could write unlogged or hurt an instance. It does not read bodies, resolve names, or choose an instance. Matching is
//! Chroma's own (axum): literal segments byte for byte, and percent-decoding only inside parameters; a parameter may be
//! empty unless it is last, and a trailing slash makes a different path. It is stricter than Chroma only if a proxy in
//! front of Chroma could mistake a path for another: such a path does not exist here.

mod collection_ref;
mod method;
mod operation;
pub(super) mod page;
mod table;
mod unroutable;

pub use collection_ref::CollectionRef;
pub use operation::{CatalogRead, CatalogWrite, Operation, RecordReadKind};
pub use page::{Page, Window};
pub use unroutable::{UnknownWrite, Unsupported};

use self::method::Method;

/// Returns the operation of a request. Total: every method and path has one.
pub fn route(method: &str, path_and_query: &str) -> Operation {
    let (path, query) = split_target(path_and_query);
    let method = Method::of(method);
    if has_dots(path) {
        return Operation::UnknownWrite(UnknownWrite::Path);
    }
    let mut decoder = table::Decoder::default();
    let operation = match table::endpoint(path, &mut decoder) {
        Some(endpoint) => table::operation(endpoint, method, query),
        None => Operation::UnknownWrite(UnknownWrite::Path),
    };
    match (operation, decoder.not_utf8) {
        (Operation::UnknownWrite(_) | Operation::System, _) if method.is_safe() => passed_on(path),
        (Operation::UnknownWrite(unknown), _) => Operation::UnknownWrite(unknown),
        (_, Some(parameter)) => Operation::UnknownWrite(UnknownWrite::NotUtf8 { parameter }),
        (operation, None) => operation,
    }
}

/// Passes a read on that the edge does not know, if everything on the way to a server reads its path the same way.
/// Paths with `*`, an authority, an empty segment, a backslash or an escape are not passed on: no client of Chroma
/// sends them.
fn passed_on(path: &str) -> Operation {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b';');
    if path.starts_with('/') && !path.contains("//") && path.bytes().all(is_plain) {
        return Operation::System;
    }
    Operation::UnknownWrite(UnknownWrite::Path)
}

/// Returns whether a segment means "here" or "above" to some readers, which would take the path for another.
fn has_dots(path: &str) -> bool {
    let is_dots = |segment: &str| {
        let mut rest = segment;
        let mut dots = 0;
        while let Some(behind) =
            rest.strip_prefix('.').or_else(|| rest.strip_prefix("%2e")).or_else(|| rest.strip_prefix("%2E"))
        {
            (rest, dots) = (behind, dots + 1);
        }
        rest.is_empty() && (dots == 1 || dots == 2)
    };
    path.split('/').any(is_dots)
}

/// Splits a target into path and query (without `?`). A fragment is not part of a request's target.
pub(super) fn split_target(target: &str) -> (&str, Option<&str>) {
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

#[cfg(test)]
mod tests;
