//! Cross-origin requests: which pages of other origins may read the edge's answers in a browser.
//!
//! Closed unless origins are configured. If they are, the edge alone decides, and an instance's own headers about
//! origins are removed. No browser credentials (cookies) are involved: tokens are ordinary request headers.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use super::reply::Reply;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// The headers that the clients of this repository and Chroma's own clients send.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, X-Chroma-Token, Transaction-ID, X-Transaction-ID, Idempotency-Key, X-Client-Session, \
     X-Session-ID, X-User-ID, X-Transaction-Priority, Last-Event-ID, Chroma-Edge-Consistency, Chroma-Edge-Instance",
);
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("Transaction-ID, Idempotent-Replayed, Retry-After, Chroma-Edge-Instance, Chroma-Trace-ID");
/// How long a browser may cache the answer to a preflight request, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Every response header about origins.
static CORS_HEADERS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// Which origins may read answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    #[default]
    None,
    Any,
    /// As browsers send them: `https://app.example`, without a path, in lower case.
    These(Vec<String>),
}

impl Origins {
    /// Returns the headers to add to the answer to a request with these headers, after removing [`Origins::replaced`].
    pub fn answer(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Origins::These(_) = self else {
            if *self == Origins::Any && request.contains_key(ORIGIN) {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
            }
            return headers;
        };
        // Set even if the origin is not allowed: a cache must not give one origin's answer to another.
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = request.get(ORIGIN).filter(|origin| self.allows(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
        headers
    }

    /// Returns the headers of an instance's answer that the edge replaces.
    pub fn replaced(&self) -> &'static [HeaderName] {
        if *self == Origins::None { &[] } else { &CORS_HEADERS }
    }

    /// Returns the answer to a preflight request, or `None` for any other request and for an origin that is not
    /// allowed.
    pub fn preflight(&self, method: &Method, request: &HeaderMap) -> Option<Reply> {
        let asks = method == Method::OPTIONS && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let origin = request.get(ORIGIN).filter(|origin| asks && self.allows(origin));
        origin?;
        let mut reply = Reply::json(204, "");
        reply.headers = self.answer(request);
        reply.headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        reply.headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        reply.headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(reply)
    }

    pub(super) fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            Origins::None => false,
            Origins::Any => true,
            Origins::These(origins) => origins.iter().any(|one| one.as_bytes() == origin.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "https://app.example";

    fn from(origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, origin.parse().unwrap());
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        headers
    }

    fn these() -> Origins {
        Origins::These(vec![APP.to_owned()])
    }

    #[test]
    fn only_listed_origins_are_allowed_and_by_name() {
        let allowed = these().answer(&from(APP));
        assert_eq!(
            (&allowed[ACCESS_CONTROL_ALLOW_ORIGIN], &allowed[VARY]),
            (&APP.parse().unwrap(), &"Origin".parse().unwrap())
        );
        for other in ["https://app.example.evil", "http://app.example", "https://app.example:8443", "null"] {
            let refused = these().answer(&from(other));
            assert!(!refused.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{other}");
            assert!(refused.contains_key(VARY), "{other}");
            assert!(these().preflight(&Method::OPTIONS, &from(other)).is_none(), "{other}");
        }
        assert_eq!(Origins::Any.answer(&from("https://x"))[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(Origins::None.answer(&from(APP)).is_empty());
        assert!(Origins::None.preflight(&Method::OPTIONS, &from(APP)).is_none());
        assert!(Origins::Any.answer(&HeaderMap::new()).is_empty(), "no browser asks");
    }

    #[test]
    fn a_preflight_is_an_options_request_that_names_a_method() {
        assert_eq!(these().preflight(&Method::OPTIONS, &from(APP)).unwrap().status, 204);
        assert!(these().preflight(&Method::POST, &from(APP)).is_none());
        let mut plain = from(APP);
        plain.remove(ACCESS_CONTROL_REQUEST_METHOD);
        assert!(these().preflight(&Method::OPTIONS, &plain).is_none());
    }
}
