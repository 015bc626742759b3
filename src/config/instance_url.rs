//! The address of one instance, checked once so that nobody else has to take a URL apart.
//!
//! Credentials, paths and queries are refused: Chroma's own server has no use for them, and a password
//! in an address would end up in logs and in `/status`.

use std::fmt;

use http::Uri;

/// Whether the way to an instance is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `http://`
    Plain,
    /// `https://`
    Tls,
}

/// `http://host:port` or `https://host:port`, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceUrl {
    transport: Transport,
    host: String,
    port: u16,
}

impl InstanceUrl {
    /// Reads an address. The error never repeats the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = "is not an address such as http://127.0.0.1:8101 or https://chroma.example:8000";
        let uri: Uri = text.parse().map_err(|_| wrong.to_owned())?;
        let transport = match uri.scheme_str() {
            Some("http") => Transport::Plain,
            Some("https") => Transport::Tls,
            Some(_) | None => return Err(wrong.to_owned()),
        };
        let authority = uri.authority().ok_or_else(|| wrong.to_owned())?;
        if authority.as_str().contains('@') {
            return Err("must not hold a user or a password".to_owned());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("must end after the port: a path or a query is not supported".to_owned());
        }
        let host = authority.host().to_ascii_lowercase();
        let after_host = authority.as_str().get(host.len()..).unwrap_or_default();
        let port = match (after_host, transport) {
            ("", Transport::Plain) => 80,
            ("", Transport::Tls) => 443,
            _ => authority.port_u16().filter(|port| *port > 0).ok_or_else(|| wrong.to_owned())?,
        };
        if host.is_empty() {
            return Err(wrong.to_owned());
        }
        Ok(InstanceUrl { transport, host, port })
    }

    /// Whether to speak TLS.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The host without the port: what SNI and a DNS lookup take. An IPv6 address has no brackets here.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, also when the address left it out.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, with brackets around an IPv6 address: what a `Host` header and a connect call take.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for InstanceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Plain => "http",
            Transport::Tls => "https",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_once() {
        let url = InstanceUrl::parse("https://Chroma.Example").unwrap();
        assert_eq!((url.transport(), url.host(), url.port()), (Transport::Tls, "chroma.example", 443));
        let six = InstanceUrl::parse("http://[::1]:8101/").unwrap();
        assert_eq!((six.host(), six.authority().as_str()), ("::1", "[::1]:8101"));
        assert_eq!(six.to_string(), "http://[::1]:8101");
    }

    #[test]
    fn what_is_not_an_address_is_refused_without_repeating_it() {
        for wrong in [
            "",
            "127.0.0.1:8101",
            "localhost",
            "ftp://a:1",
            "http://",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://a/chroma",
            "http://a?x=1",
            "http://user:secret@a:1",
        ] {
            let error = InstanceUrl::parse(wrong).expect_err(wrong);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
