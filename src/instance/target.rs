//! An outside address that the edge posts to: a webhook, or a trace collector. Uses the same connections, TLS and
//! authorities as for instances.
//!
//! One post at a time, each on its own connection: posts are rare, and the receiver may be slow.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri};
use pingora::BError;
use pingora::connectors::http::v1::Connector;
use pingora::upstreams::peer::HttpPeer;

use super::message::Outgoing;
use super::options::{InstanceOptions, Timeouts, Trust, UpstreamHeaders};
use super::peer::{self, SetupError};
use super::url::{InstanceUrl, Tls, UrlError};
use crate::ids::InstanceName;

/// The most of an answer that is read.
const ANSWER: usize = 64 * 1024;

/// Where a post goes: `http://host[:port]/path` or `https://...`. Displayed without its path and query, which may hold
/// a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl {
    server: InstanceUrl,
    path: String,
}

impl TargetUrl {
    /// Parses an absolute URL without user and password.
    ///
    /// # Errors
    /// The text is not such a URL. The error explains why without repeating the text.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let uri: Uri = text.parse().map_err(|error| UrlError::Malformed(format!("{error}")))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let server = InstanceUrl::parse(&format!("{scheme}://{authority}"))?;
        Ok(TargetUrl { server, path })
    }

    /// Returns the same address with this path appended, unless it already ends with it.
    #[must_use]
    pub fn with_path_end(mut self, end: &str) -> Self {
        let path = self.path.trim_end_matches('/');
        if !path.ends_with(end) {
            self.path = format!("{path}{end}");
        }
        self
    }

    /// Returns whether it is https.
    pub fn tls(&self) -> Tls {
        self.server.tls()
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = if self.path == "/" { "/" } else { "/…" };
        write!(f, "{}{rest}", self.server)
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Posts to one address.
pub struct Target {
    url: TargetUrl,
    template: HttpPeer,
    connector: Connector,
}

impl Target {
    /// Creates a target with a name for messages, its address, and a CA file if the system's authorities do not cover it.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(name: &str, url: TargetUrl, ca_file: Option<PathBuf>) -> Result<Target, SetupError> {
        let options = InstanceOptions {
            name: InstanceName::new(name),
            url: url.server.clone(),
            trust: Trust { ca_file, ..Trust::default() },
            headers: UpstreamHeaders::default(),
        };
        let template = peer::template(&options, &Timeouts::default())?;
        Ok(Target { url, template, connector: Connector::new(None) })
    }

    /// Posts the body and returns the status of the answer.
    ///
    /// # Errors
    /// There was no answer within the time limit. Whether the post arrived is then unknown.
    pub async fn post(
        &self,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        limit: Duration,
    ) -> Result<u16, String> {
        let request = Outgoing { method: Method::POST, path: self.url.path.clone(), headers, body };
        let exchange = async {
            let addresses = self.addresses().await?;
            let mut reason = String::new();
            for address in addresses {
                match self.exchange(&request, address).await {
                    Ok(status) => return Ok(status),
                    Err(error) => reason = error.to_string(),
                }
            }
            Err(reason)
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let server = &self.url.server;
        if let Some(address) = server.literal() {
            return Ok(vec![address]);
        }
        let found = tokio::net::lookup_host((server.host(), server.port())).await;
        let mut found: Vec<_> = found.map_err(|error| format!("cannot resolve {}: {error}", server.host()))?.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        if found.is_empty() { Err(format!("{} has no address", server.host())) } else { Ok(found) }
    }

    async fn exchange(&self, request: &Outgoing, address: SocketAddr) -> Result<u16, BError> {
        let mut peer = self.template.clone();
        peer._address = address.into();
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        let header = request.header(&self.url.server.authority())?;
        session.write_request_header(Box::new(header)).await?;
        session.write_body(&request.body).await?;
        session.finish_body().await?;
        while session.get_status().is_none_or(|status| status.is_informational()) {
            session.read_response().await?;
        }
        let status = session.get_status().map_or(0, |status| status.as_u16());
        let mut read = 0;
        while read < ANSWER
            && let Some(piece) = session.read_body_ref().await?
        {
            read += piece.len();
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let url = TargetUrl::parse("http://hooks.example:81/a/token?key=secret").unwrap();
        assert_eq!((url.to_string().as_str(), url.path.as_str()), ("http://hooks.example:81/…", "/a/token?key=secret"));
        assert!(!format!("{url:?}").contains("token"));
        assert_eq!(TargetUrl::parse("http://127.0.0.1:81").unwrap().path, "/");
        for (url, path) in [("", "/v1/traces"), ("/a/", "/a/v1/traces"), ("/v1/traces", "/v1/traces")] {
            let url = TargetUrl::parse(&format!("http://a{url}")).unwrap();
            assert_eq!(url.with_path_end("/v1/traces").path, path);
        }
        for bad in ["", "/hook", "ftp://a/b", "http://u:p@a/", "http:///x", "http://a:99999/"] {
            assert!(TargetUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
