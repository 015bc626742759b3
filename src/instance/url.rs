//! An instance's URL: scheme, host and port, and nothing else.
//!
//! It decides what the edge accepts as the address of a Chroma server. A path, a query or a password would be silently
//! lost on the way to the server, so they are refused here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::Uri;

/// Why a text is not an instance's URL. Never repeats the text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("is not an address such as http://127.0.0.1:8101 or https://chroma.example:8000 ({0})")]
    Malformed(String),
    #[error("is not an address such as http://127.0.0.1:8101: the scheme must be http or https")]
    Scheme,
    #[error("must not hold a user or a password")]
    UserInfo,
    #[error("must end after the port: a path or a query is not supported")]
    Path,
    #[error("https needs an edge that is built with the `tls` feature")]
    TlsNotBuilt,
}

/// Whether connections to an instance use TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tls {
    Yes,
    No,
}

/// Where a Chroma server listens: `http://host:port` or `https://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceUrl {
    tls: Tls,
    host: String,
    port: u16,
}

impl InstanceUrl {
    /// Parses `http://host[:port][/]` or `https://host[:port][/]`. Without a port, the scheme's default (80, 443) applies.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.trim().parse().map_err(|error| UrlError::Malformed(format!("{error}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => Tls::No,
            Some("https") => Tls::Yes,
            _ => return Err(UrlError::Scheme),
        };
        let authority = uri.authority().ok_or_else(|| UrlError::Malformed("no host".to_owned()))?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
            return Err(UrlError::Path);
        }
        if tls == Tls::Yes && !cfg!(feature = "tls") {
            return Err(UrlError::TlsNotBuilt);
        }
        let port = port_of(authority.as_str(), authority.host(), tls)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(UrlError::Malformed("no host".to_owned()));
        }
        Ok(InstanceUrl { tls, host, port })
    }

    /// Returns whether it is https.
    pub fn tls(&self) -> Tls {
        self.tls
    }

    /// The host, without brackets. A TLS certificate must carry this name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, or the scheme's default if none was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header. The port is omitted if it is the scheme's default.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// The address, if the host is a literal one and no name must be resolved.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for InstanceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls == Tls::Yes { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

fn default_port(tls: Tls) -> u16 {
    if tls == Tls::Yes { 443 } else { 80 }
}

/// `Authority::port_u16` takes `host:99999` for a host without a port, so the port is read here.
fn port_of(authority: &str, host: &str, tls: Tls) -> Result<u16, UrlError> {
    match authority.strip_prefix(host).unwrap_or_default().strip_prefix(':') {
        None => Ok(default_port(tls)),
        Some(digits) => match digits.parse() {
            Ok(0) | Err(_) => Err(UrlError::Malformed(format!("`{digits}` is not a port"))),
            Ok(port) => Ok(port),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_chroma_server_can_be_reached_by() {
        for (text, authority, host, port) in [
            ("http://127.0.0.1:8101", "127.0.0.1:8101", "127.0.0.1", 8101),
            ("http://127.0.0.1:8101/", "127.0.0.1:8101", "127.0.0.1", 8101),
            ("http://Chroma-1.internal", "chroma-1.internal", "chroma-1.internal", 80),
            ("http://[::1]:8101", "[::1]:8101", "::1", 8101),
        ] {
            let url = InstanceUrl::parse(text).unwrap();
            assert_eq!((url.authority().as_str(), url.host(), url.port()), (authority, host, port), "{text}");
            assert_eq!(url.tls(), Tls::No);
        }
        assert_eq!(InstanceUrl::parse("http://[::1]:81").unwrap().literal(), Some("[::1]:81".parse().unwrap()));
        assert_eq!(InstanceUrl::parse("http://localhost:81").unwrap().literal(), None);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn https_has_its_own_default_port() {
        let url = InstanceUrl::parse("https://chroma.example/").unwrap();
        assert_eq!((url.tls(), url.port(), url.authority().as_str()), (Tls::Yes, 443, "chroma.example"));
        let url = InstanceUrl::parse("https://chroma.example:8443").unwrap();
        assert_eq!(
            (url.authority().as_str(), url.to_string().as_str()),
            ("chroma.example:8443", "https://chroma.example:8443")
        );
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn https_is_refused_where_tls_is_not_built() {
        assert_eq!(InstanceUrl::parse("https://chroma.example"), Err(UrlError::TlsNotBuilt));
    }

    #[test]
    fn refuses_what_would_be_lost_on_the_way() {
        assert_eq!(InstanceUrl::parse("ftp://host:1"), Err(UrlError::Scheme));
        assert_eq!(InstanceUrl::parse("host:8000"), Err(UrlError::Scheme));
        assert_eq!(InstanceUrl::parse("http://me:secret@host:1"), Err(UrlError::UserInfo));
        assert_eq!(InstanceUrl::parse("http://host:1/chroma"), Err(UrlError::Path));
        assert_eq!(InstanceUrl::parse("http://host:1/?a=b"), Err(UrlError::Path));
        assert_eq!(InstanceUrl::parse("http://host:1/#a"), Err(UrlError::Path));
        for text in ["", "http://", "http://host:99999", "http://host:", "http://host:0", "http://:80", "http://a b"] {
            assert!(matches!(InstanceUrl::parse(text), Err(UrlError::Malformed(_) | UrlError::Scheme)), "{text}");
        }
    }
}
