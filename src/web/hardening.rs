//! Headers that keep browsers from running, framing, sniffing or caching an answer. Headers that a page sets itself
//! stay.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// By default a page may load nothing and may not be framed, and only pages of the edge may load it.
static PAGE_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Adds each header that the page does not set itself.
pub fn harden(headers: &mut HeaderMap) {
    for (name, value) in &PAGE_HEADERS {
        if !headers.contains_key(name) {
            headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_it_says_itself() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        harden(&mut headers);
        assert_eq!(
            (&headers[CACHE_CONTROL], &headers[X_FRAME_OPTIONS]),
            (&"no-cache".parse().unwrap(), &"DENY".parse().unwrap())
        );
        assert_eq!(headers.len(), PAGE_HEADERS.len());
    }
}
