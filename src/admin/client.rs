//! The JavaScript client, for pages that load it from the edge that they use, so that its version always matches.

use std::fmt::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use sha2::{Digest, Sha256};

use crate::chroma::EdgeAnswer;
use crate::web::{PageRequest, Reply};

const CLIENT: &str = include_str!("../../clients/js/chroma-edge-client.js");
/// Pages of any origin may load it as a script.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// Browsers revalidate it each time, because it changes with the edge.
const FRESHNESS: &str = "no-cache";

static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut tag = String::from("\"");
    for byte in &Sha256::digest(CLIENT)[..12] {
        // Writing to a String cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
});

/// Answers with the file, or with 304 if it has not changed.
pub(super) fn respond(request: &PageRequest) -> Reply {
    if request.method != Method::GET && request.method != Method::HEAD {
        return Reply::wrong_method("GET,HEAD");
    }
    let known = request.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let reply = if known.any(|tag| tag == "*" || tag == TAG.as_str()) {
        Reply::from(EdgeAnswer::empty(304))
    } else {
        Reply::json(200, Bytes::from_static(CLIENT.as_bytes())).with(CONTENT_TYPE, "text/javascript; charset=utf-8")
    };
    reply.with(ETAG, &TAG).with(CACHE_CONTROL, FRESHNESS).with(RESOURCE_POLICY, "cross-origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(if_none_match: &str) -> Reply {
        let mut headers = http::HeaderMap::new();
        headers.insert(IF_NONE_MATCH, if_none_match.parse().unwrap());
        respond(&PageRequest {
            method: Method::GET,
            path: crate::web::CLIENT_SCRIPT.to_owned(),
            query: String::new(),
            headers,
            body: Bytes::new(),
            client_ip: None,
            principal: crate::auth::Principal::anonymous(crate::auth::Role::Admin),
        })
    }

    #[test]
    fn the_file_is_sent_once() {
        let first = ask("");
        assert_eq!((first.status, &first.body[..]), (200, CLIENT.as_bytes()));
        let tag = first.headers[ETAG].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("\"old\", W/{tag}"), "*".to_owned()] {
            let again = ask(&known);
            assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
            assert_eq!(again.headers[ETAG], tag.as_str());
        }
        assert_eq!(ask("\"old\"").status, 200);
    }
}
