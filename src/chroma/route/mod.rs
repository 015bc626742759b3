//! What a request is, by its method and path alone.
//!
//! It decides which operation a request asks for, and which the edge answers itself because forwarding it
//! could write unlogged or hurt an instance. It does not read bodies, resolve names, or choose an instance.
//! Matching is Chroma's own (axum): literal segments byte for byte, percent-decoding only inside parameters,
//! a parameter may be empty unless it is last, a trailing slash is another path.

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

/// The operation of a request. Total: every method and path has one.
pub fn route(method: &str, path_and_query: &str) -> Operation {
    let (path, query) = split_target(path_and_query);
    let method = Method::of(method);
    let mut decoder = table::Decoder::default();
    let operation = match table::endpoint(path, &mut decoder) {
        Some(endpoint) => table::operation(endpoint, method, query),
        None => Operation::UnknownWrite(UnknownWrite::Path),
    };
    match (operation, decoder.not_utf8) {
        (Operation::UnknownWrite(_) | Operation::System, _) if method.is_safe() => Operation::System,
        (Operation::UnknownWrite(unknown), _) => Operation::UnknownWrite(unknown),
        (_, Some(_)) if method.is_safe() => Operation::System,
        (_, Some(parameter)) => Operation::UnknownWrite(UnknownWrite::NotUtf8 { parameter }),
        (operation, None) => operation,
    }
}

/// Path and query (without `?`). A fragment is no part of a request's target.
pub(super) fn split_target(target: &str) -> (&str, Option<&str>) {
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

#[cfg(test)]
mod tests;
