//! A whole request to an instance, and its whole answer.
//!
//! This room sets framing and connection headers and replaces any that a caller sets. So an instance never sees chunked
//! bodies, `Expect`, or another host's name, and a client never sees the instance's own framing.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use pingora::ErrorType;
use pingora::http::RequestHeader;

/// A whole request, which can be sent again as it is.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Without framing and connection headers, which are set here.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// An instance's whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Without hop-by-hop headers, those named by `Connection`, and Content-Length: the length of `body` counts.
    pub headers: HeaderMap,
    pub body: Bytes,
}

static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

/// The longest path and query, in bytes, that any server or library here takes.
pub const LONGEST_PATH: usize = 65_534;

impl Outgoing {
    /// A GET request without a body.
    pub fn get(path: String) -> Outgoing {
        Outgoing { method: Method::GET, path, headers: Vec::new(), body: Bytes::new() }
    }

    /// A request with a JSON body.
    pub fn json(method: Method, path: String, body: impl Into<Bytes>) -> Outgoing {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Outgoing { method, path, headers, body: body.into() }
    }

    /// Returns the header as it is sent to the instance with this `Host`.
    pub(super) fn header(&self, host: &str) -> pingora::Result<RequestHeader> {
        self.header_at(&self.path, host)
    }

    /// Returns the header as it is sent to the instance with this `Host`, for this path and query.
    pub(super) fn header_at(&self, path: &str, host: &str) -> pingora::Result<RequestHeader> {
        if path.len() > LONGEST_PATH {
            // The error does not contain the path: it comes from a client, and the error is logged.
            return pingora::Error::e_explain(ErrorType::InvalidHTTPHeader, "the path is too long");
        }
        let size = Some(self.headers.len() + 4);
        let mut header = RequestHeader::build_no_case(self.method.clone(), path.as_bytes(), size)?;
        header.insert_header(header::HOST, host)?;
        for (name, value) in &self.headers {
            if *name != header::HOST && *name != header::EXPECT && !HOP_BY_HOP.contains(name) {
                header.append_header(name.clone(), value.clone())?;
            }
        }
        // A method that may carry a body is given its length even if it is 0 (RFC 9110, section 8.6).
        let announced = !self.body.is_empty() || matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if announced {
            header.insert_header(header::CONTENT_LENGTH, self.body.len())?;
        }
        Ok(header)
    }
}

impl Answer {
    pub(super) fn new(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Self {
        for name in named_by_connection(&headers).iter().chain(&HOP_BY_HOP) {
            headers.remove(name);
        }
        Answer { status: status.as_u16(), headers, body }
    }
}

/// Returns the end-to-end header fields: without hop-by-hop fields and without Content-Length.
pub fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let named = named_by_connection(headers);
    headers.iter().filter(move |(name, _)| !HOP_BY_HOP.contains(name) && !named.contains(name))
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(method: Method, headers: &[(&'static str, &'static str)], body: &'static str) -> Outgoing {
        let headers = headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        Outgoing { method, path: "/api/v2/x?y=1".to_owned(), headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn framing_and_connection_headers_are_ours() {
        let request = outgoing(
            Method::POST,
            &[
                ("host", "edge:8000"),
                ("content-length", "7"),
                ("transfer-encoding", "chunked"),
                ("expect", "100-continue"),
                ("connection", "close"),
                ("content-type", "application/json"),
            ],
            "{}",
        );
        let header = request.header("chroma:8101").unwrap();
        let mut seen: Vec<_> = header.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        seen.sort_unstable();
        assert_eq!(seen, [("content-length", "2"), ("content-type", "application/json"), ("host", "chroma:8101")]);
        assert_eq!(header.uri.to_string(), "/api/v2/x?y=1");
    }

    #[test]
    fn a_path_that_would_break_the_request_line_is_refused() {
        for path in ["/a b", "/a\r\nX: y", "/a\n"] {
            let request = Outgoing { path: path.to_owned(), ..outgoing(Method::GET, &[], "") };
            assert!(request.header("h").is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_refused_without_being_told() {
        let long = format!("/{}", "a".repeat(LONGEST_PATH));
        let refused = Outgoing { path: long, ..outgoing(Method::GET, &[], "") }.header("h").unwrap_err();
        assert!(refused.to_string().len() < 200, "{refused}");
    }

    #[test]
    fn an_empty_body_is_announced_only_where_one_is_expected() {
        let length = |method| outgoing(method, &[], "").header("h").unwrap().headers.contains_key("content-length");
        assert!(length(Method::POST));
        assert!(!length(Method::GET) && !length(Method::DELETE));
    }

    #[test]
    fn an_answer_keeps_only_end_to_end_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "2"),
            ("chroma-trace-id", "7"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let answer = Answer::new(StatusCode::OK, headers, Bytes::new());
        assert_eq!(answer.headers.len(), 1);
        assert_eq!(answer.headers["chroma-trace-id"], "7");
    }
}
