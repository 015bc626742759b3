//! A read's request before its instance is chosen.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};

use crate::auth::{CREDENTIAL_HEADERS, ClientCredentials};
use crate::instance::{Outgoing, end_to_end};
use crate::traces::TRACEPARENT;
use crate::web::{RequestName, TRACE_ID};

/// A read request as it is sent to an instance, except for the path.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    pub(super) outgoing: Outgoing,
    pub(super) name: RequestName,
    /// For a collection object: how much of the room for objects the answer takes.
    pub(super) weight: Option<u32>,
}

impl ReadRequest {
    /// The client's own request with its whole body. Credentials are left out with [`ClientCredentials::Kept`].
    pub fn of(
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
        name: RequestName,
        credentials: ClientCredentials,
    ) -> Self {
        let mut passed = Vec::with_capacity(headers.len() + 1);
        let stays = |header: &HeaderName| {
            (credentials == ClientCredentials::Kept && CREDENTIAL_HEADERS.contains(header)) || is_name(header, name)
        };
        let from_client = end_to_end(headers).filter(|(header, _)| !stays(header));
        passed.extend(from_client.map(|(header, value)| (header.clone(), value.clone())));
        passed.extend(name.headers());
        let outgoing = Outgoing { method, path: String::new(), headers: passed, body };
        ReadRequest { outgoing, name, weight: None }
    }

    /// A GET of the edge's own.
    pub fn get(name: RequestName) -> Self {
        let outgoing = Outgoing { headers: name.headers().collect(), ..Outgoing::get(String::new()) };
        ReadRequest { outgoing, name, weight: None }
    }

    /// Returns the same request under another name.
    pub(super) fn named(&self, name: RequestName) -> Self {
        let mut request = ReadRequest { name, ..self.clone() };
        request.outgoing.headers.retain(|(header, _)| !is_name(header, name));
        request.outgoing.headers.extend(name.headers());
        request
    }

    /// A GET of a collection object that is assumed to be this large.
    pub fn object(name: RequestName, weight: u32) -> Self {
        ReadRequest { weight: Some(weight), ..ReadRequest::get(name) }
    }
}

/// Returns whether the name sets this header. While nothing is traced, a client's own `traceparent` is passed on like
/// any other header.
fn is_name(header: &HeaderName, name: RequestName) -> bool {
    *header == TRACE_ID || (*header == TRACEPARENT && name.context.is_some())
}
