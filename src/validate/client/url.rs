//! The address of a deployment or an instance, as given by the operator.
//!
//! Decides which addresses are accepted: `http` or `https`, a host, and optionally a port and a path prefix. Secrets in
//! an address would end up in reports, so none are allowed.

use std::fmt;

use http::Uri;

/// An address without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Parses an address; the error states what is expected.
    pub fn parse(text: &str) -> Result<BaseUrl, String> {
        let wrong = |why: &str| Err(format!("{text:?} is no address of a server: {why}"));
        let Ok(uri) = text.parse::<Uri>() else { return wrong("it cannot be read as a URL") };
        let Some(authority) = uri.authority() else { return wrong("http:// or https:// and a host are expected") };
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return wrong("only http:// and https:// are spoken"),
        }
        if authority.as_str().contains('@') {
            return Err("an address holds no user or password: use --token".to_owned());
        }
        // An unreadable port would otherwise count as missing.
        let port = &authority.as_str()[authority.host().len()..];
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.strip_prefix(':').filter(|text| digits(text)).and_then(|text| text.parse::<u16>().ok());
        if !port.is_empty() && number.is_none_or(|number| number == 0) {
            return wrong("a port is a number from 1 to 65535");
        }
        if uri.query().is_some() || text.contains('#') {
            return wrong("nothing may follow its path");
        }
        Ok(BaseUrl(text.trim_end_matches('/').to_owned()))
    }

    /// Returns whether both are the same address: the case of the host and an explicit default port make no difference.
    pub fn is_same(&self, other: &BaseUrl) -> bool {
        let parts = |url: &BaseUrl| -> Option<(String, u16, String)> {
            let uri: Uri = url.0.parse().ok()?;
            let port = uri.port_u16().unwrap_or(if url.is_tls() { 443 } else { 80 });
            Some((uri.host()?.to_ascii_lowercase(), port, uri.path().trim_end_matches('/').to_owned()))
        };
        self == other || (self.is_tls() == other.is_tls() && parts(self) == parts(other))
    }

    /// Returns this address followed by a path, which begins with a slash.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Returns whether the scheme is `https`.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https:")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_path_and_loses_its_slash() {
        let at = |text: &str| BaseUrl::parse(text).map(|url| url.at("/health"));
        assert_eq!(at("http://edge:8000/"), Ok("http://edge:8000/health".to_owned()));
        assert_eq!(at("https://gateway/chroma"), Ok("https://gateway/chroma/health".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason_and_no_secret_is_repeated() {
        for text in ["", "edge:8000", "ftp://edge", "http://", "http://edge?x=1", "http://edge/#x", "/status"] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
        for port in ["99999", "65536", "0", "", "+80", "80a"] {
            for host in ["127.0.0.1", "[::1]"] {
                assert!(BaseUrl::parse(&format!("http://{host}:{port}")).is_err(), "{host}:{port}");
                assert!(BaseUrl::parse(&format!("http://{host}:65535")).is_ok());
            }
        }
        let refused = BaseUrl::parse("http://me:secret@edge").unwrap_err();
        assert!(refused.contains("--token") && !refused.contains("secret"), "{refused}");
    }
}
