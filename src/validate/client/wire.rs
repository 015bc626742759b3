//! One request and its answer, over HTTP or TLS.
//!
//! Decides how long a call may take: up to its own limit, and never past the end of the run. Redirects are not
//! followed, and nothing is sent twice. The holders of a wire decide what may be sent.

use std::io::Read;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use ureq::{Agent, Timeout};

use super::error::CallError;
use super::tls::tls;
use super::url::BaseUrl;
use crate::clock;

/// The time limit for connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection idle for longer may be about to be closed by the other side, so a new one is opened.
const IDLE: Duration = Duration::from_secs(3);
/// The largest answer to read.
const ANSWER_BYTES: u64 = 256 * 1024 * 1024;

/// The time limits.
#[derive(Clone, Copy, Debug)]
pub struct WireOptions {
    /// Of one call.
    pub call: Duration,
    /// Of the whole run.
    pub run: Duration,
}

/// A server, and the settings to reach it.
#[derive(Clone, Debug)]
pub struct Wire {
    agent: Agent,
    base: BaseUrl,
    headers: HeaderMap,
    limits: WireOptions,
    end: Instant,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Method and path, for messages.
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub took: Duration,
}

impl Answer {
    /// Returns a header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the answer if it has this status.
    pub fn expect(self, status: u16) -> Result<Answer, CallError> {
        if self.status == status { Ok(self) } else { Err(CallError::refused(&self)) }
    }

    /// Parses the body as JSON.
    pub fn json(&self) -> Result<Value, CallError> {
        serde_json::from_slice(&self.body).map_err(|_| CallError::nonsense(self, "what is not JSON"))
    }
}

/// A request to send.
pub(super) struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    pub body: Option<&'a Value>,
}

impl Wire {
    /// Creates a wire to this server; the run's time begins now.
    pub fn new(base: BaseUrl, limits: WireOptions) -> Result<Wire, String> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_age(IDLE)
            .user_agent(concat!("chroma-edge-validate/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT));
        if base.is_tls() {
            config = config.tls_config(tls()?);
        }
        let end = clock::now() + limits.run;
        Ok(Wire { agent: config.build().new_agent(), base, headers: HeaderMap::new(), limits, end })
    }

    /// Returns a wire to the same server with one more header on every request.
    pub fn with(&self, name: &'static str, value: &str) -> Result<Wire, String> {
        let mut wire = self.clone();
        let mut value =
            HeaderValue::from_str(value).map_err(|_| format!("no header can hold this value for {name}"))?;
        value.set_sensitive(true);
        wire.headers.insert(HeaderName::from_static(name), value);
        Ok(wire)
    }

    /// Returns a wire to the same server with this limit per call, if it is shorter.
    pub fn hurried(&self, call: Duration) -> Wire {
        let limits = WireOptions { call: call.min(self.limits.call), ..self.limits };
        Wire { limits, ..self.clone() }
    }

    /// Returns a wire to the same server that can be used for at least this long from now, even if the run is over.
    pub fn overtime(&self, span: Duration) -> Wire {
        Wire { end: self.end.max(clock::now() + span), ..self.clone() }
    }

    /// Returns the remaining time of the run.
    pub fn remaining(&self) -> Duration {
        self.end.saturating_duration_since(clock::now())
    }

    pub(super) fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// Reads this path.
    pub fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.send(&Call { method: Method::GET, path, body: None })
    }

    pub(super) fn send(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let request = format!("{} {}", call.method, call.path);
        let limit = self.limits.call.min(self.remaining());
        if limit.is_zero() {
            return Err(CallError::RunOver { request, limit: self.limits.run });
        }
        let begun = clock::now();
        let answer = self.exchange(call, limit).map_err(|error| self.failure(&request, limit, error))?;
        let (parts, body) = answer;
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Ok(Answer { request, status, headers, body, took: begun.elapsed() })
    }

    /// Opens an endless answer at this path. Returns the request, for messages, and the body. Reading the body fails
    /// after `silence` without data.
    pub(super) fn stream(
        &self,
        path: &str,
        silence: Duration,
    ) -> Result<(String, impl Read + Send + use<>), CallError> {
        let request = format!("GET {path}");
        let answer = self.opened(path, silence).map_err(|error| self.failure(&request, silence, error))?;
        let (parts, mut body) = answer.into_parts();
        if parts.status == StatusCode::OK {
            return Ok((request, body.into_reader()));
        }
        let read = body.with_config().limit(ANSWER_BYTES).read_to_vec();
        let body = read.map_err(|error| self.failure(&request, silence, error))?;
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Err(CallError::refused(&Answer { request, status, headers, body, took: Duration::ZERO }))
    }

    fn opened(&self, path: &str, silence: Duration) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let mut request = http::Request::builder().uri(self.base.at(path));
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        let request = self.agent.configure_request(request.body(())?);
        self.agent.run(request.timeout_per_read(Some(silence)).build())
    }

    fn exchange(&self, call: &Call<'_>, limit: Duration) -> Result<(http::response::Parts, Vec<u8>), ureq::Error> {
        let mut request = http::Request::builder().method(call.method.clone()).uri(self.base.at(call.path));
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
            if call.body.is_some() {
                headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }
        let answer = match call.body {
            Some(body) => {
                let request = self.agent.configure_request(request.body(body.to_string().into_bytes())?);
                self.agent.run(request.timeout_global(Some(limit)).build())?
            }
            None => {
                let request = self.agent.configure_request(request.body(())?);
                self.agent.run(request.timeout_global(Some(limit)).build())?
            }
        };
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES).read_to_vec()?;
        Ok((parts, body))
    }

    fn failure(&self, request: &str, limit: Duration, error: ureq::Error) -> CallError {
        let (request, server) = (request.to_owned(), self.base.to_string());
        match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                CallError::Unreachable { server, why: format!("no connection within {} s", CONNECT.as_secs()) }
            }
            ureq::Error::Timeout(_) => CallError::TooLate { request, limit },
            ureq::Error::HostNotFound => CallError::Unreachable { server, why: "no such host".to_owned() },
            ureq::Error::ConnectionFailed => CallError::Unreachable { server, why: "no connection".to_owned() },
            ureq::Error::Io(error) => match unconnected(&error) {
                Some(why) => CallError::Unreachable { server, why },
                None => CallError::NoAnswer { request, why: error.to_string() },
            },
            ureq::Error::Rustls(error) => CallError::Unreachable { server, why: format!("TLS: {error}") },
            other => CallError::NoAnswer { request, why: other.to_string() },
        }
    }
}

/// Returns why there was no connection, if the error means that; in that case nothing was sent.
fn unconnected(error: &std::io::Error) -> Option<String> {
    use std::io::ErrorKind;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(why)) = inner {
        return Some(format!("TLS: its certificate is not good: {why:?}"));
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Some("the connection was refused".to_owned()),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Some(error.to_string()),
        // The standard library has no error kind for this, only the message.
        _ if error.to_string().starts_with("failed to lookup address") => Some("no such host".to_owned()),
        _ => None,
    }
}
