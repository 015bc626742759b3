//! Detects requests that a browser may have been made to send: by a page of another origin, or under a foreign host
//! name.
//!
//! Pure. `Origin` and the Sec-Fetch headers reveal a page of another origin, and `Host` reveals a name that its owner
//! has pointed at this edge (DNS rebinding). Who the client is, and what it may do, is decided elsewhere.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Uri};

use super::cors::Origins;
use super::page::CLIENT_SCRIPT;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Names that nobody can register, so that no stranger's page is ever served under one (RFC 6761, 6762, 8375; ICANN's
/// `internal`; the suffix of a cluster's services).
const PRIVATE_SUFFIXES: [&str; 8] =
    [".localhost", ".local", ".internal", ".svc", ".home.arpa", ".test", ".lan", ".localdomain"];

/// The host names under which the edge answers, besides addresses and private names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// A router in front of the edge already selects by name.
    Any,
    These(Vec<HostPattern>),
}

/// A name, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    Exactly(String),
    /// With the dot: `.example.com`.
    Below(String),
}

/// Decides which requests are answered at all.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    hosts: &'a Hosts,
    origins: &'a Origins,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It was sent to this host name.
    Host(String),
    /// It was sent by a page of this origin.
    Origin(String),
}

/// How the request arrived, which determines how the origin of the edge's own pages begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A proxy in front of the edge may terminate TLS.
    Plain,
    Tls,
}

impl HostPattern {
    /// Parses `edge.example.com` or `*.example.com`. Returns `None` for anything else.
    pub fn parse(text: &str) -> Option<HostPattern> {
        let name = text.to_ascii_lowercase();
        let (below, rest) = match name.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, name.as_str()),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let is_name = !rest.is_empty() && rest.split('.').all(|label| !label.is_empty() && label.chars().all(plain));
        is_name.then(|| match below {
            true => HostPattern::Below(format!(".{rest}")),
            false => HostPattern::Exactly(rest.to_owned()),
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            HostPattern::Exactly(exactly) => name == exactly,
            HostPattern::Below(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exactly(name) => to.write_str(name),
            HostPattern::Below(suffix) => write!(to, "*{suffix}"),
        }
    }
}

impl<'a> Guard<'a> {
    /// Creates a guard that allows these names and origins, besides what needs no configuration.
    pub fn new(hosts: &'a Hosts, origins: &'a Origins) -> Guard<'a> {
        Guard { hosts, origins }
    }

    /// Refuses requests that a page of another origin may have made a browser send.
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap, transport: Transport) -> Result<(), Denied> {
        // Pingora refuses requests in which the two differ.
        let host = match (uri.authority(), headers.get(HOST)) {
            (Some(authority), _) => Some(authority.as_str().to_owned()),
            (None, Some(value)) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
            // Browsers always send it.
            (None, None) => None,
        };
        if let Some(host) = &host
            && !self.serves(host)
        {
            return Err(Denied::Host(shortened(host)));
        }
        // The script is the same for everyone. Pages of allowed origins load it by `<script>`, which sends no origin.
        if uri.path() == CLIENT_SCRIPT && matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        self.check_origin(host.as_deref(), method, headers, transport)
    }

    fn check_origin(
        &self,
        host: Option<&str>,
        method: &Method,
        headers: &HeaderMap,
        transport: Transport,
    ) -> Result<(), Denied> {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => match self.origins {
                Origins::None if comes_from_elsewhere(method, headers) => Err(Denied::Origin("another".to_owned())),
                _ => Ok(()),
            },
            (Some(origin), None) => {
                let own = || is_own(origin.as_bytes(), host?, transport).then_some(());
                if self.origins.allows(origin) || own().is_some() {
                    return Ok(());
                }
                Err(Denied::Origin(shortened(&String::from_utf8_lossy(origin.as_bytes()))))
            }
            (Some(_), Some(_)) => Err(Denied::Origin("several".to_owned())),
        }
    }

    /// Returns whether the edge answers under this name.
    fn serves(&self, host: &str) -> bool {
        let Hosts::These(patterns) = self.hosts else { return true };
        let Ok(authority) = host.parse::<Authority>() else { return false };
        // A trailing dot makes no difference: `localhost.` is `localhost`.
        let name = authority.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        if name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() {
            return true;
        }
        // A single label is never a public name.
        let private = !name.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
        !name.is_empty() && (private || patterns.iter().any(|pattern| pattern.matches(name)))
    }
}

/// Returns whether the origin is that of the edge's own pages, which the browser has loaded from this host.
fn is_own(origin: &[u8], host: &str, transport: Transport) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match (scheme, transport) {
        ("https", _) => ":443",
        ("http", Transport::Plain) => ":80",
        // A page that was loaded without TLS may be anyone's.
        _ => return false,
    };
    let host = host.strip_suffix(port).unwrap_or(host);
    !authority.is_empty() && authority.eq_ignore_ascii_case(host)
}

/// Returns whether a request without an origin was made by a page of another site, which loads it as an image, a script
/// or a frame. Following a link is allowed.
fn comes_from_elsewhere(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, values: &[&str]| {
        headers.get(name).is_some_and(|value| values.iter().any(|one| value.as_bytes() == one.as_bytes()))
    };
    let follows_link = is(&FETCH_MODE, &["navigate"]) && *method == Method::GET;
    is(&FETCH_SITE, &["cross-site", "same-site"]) && !follows_link
}

/// Returns as much of the text as an error has to repeat.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn these(names: &[&str]) -> Hosts {
        Hosts::These(names.iter().map(|name| HostPattern::parse(name).unwrap()).collect())
    }

    /// Leaks its arguments, so that the guard can outlive them.
    fn guard(hosts: Hosts, origins: Origins) -> Guard<'static> {
        Guard::new(Box::leak(Box::new(hosts)), Box::leak(Box::new(origins)))
    }

    fn ask(guard: &Guard<'_>, host: &str, more: &[(&'static str, &str)]) -> Result<(), Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        for (name, value) in more {
            headers.append(*name, value.parse().unwrap());
        }
        guard.check(&Method::POST, &Uri::from_static("/api/v2/reset"), &headers, Transport::Plain)
    }

    #[test]
    fn addresses_and_private_names_are_ours_and_a_strangers_name_is_not() {
        let guard = guard(these(&["edge.example.com", "*.apps.example"]), Origins::None);
        for host in [
            "127.0.0.1:8000",
            "10.1.2.3",
            "[::1]:8000",
            "[fd00::1]",
            "localhost",
            "LocalHost.:80",
            "chroma-edge:8000",
            "a.localhost",
            "edge.svc.cluster.local",
            "edge.default.svc",
            "edge.railway.internal",
            "EDGE.example.com:443",
            "one.apps.example",
        ] {
            assert_eq!(ask(&guard, host, &[]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "apps.example",
            "edge.example.com.evil.example",
            "xedge.example.com",
            "",
            ":8000",
            "a b",
            "local",
        ] {
            let private = host == "local";
            assert_eq!(ask(&guard, host, &[]).is_ok(), private, "{host:?}");
        }
        assert_eq!(ask(&super::tests::guard(Hosts::Any, Origins::None), "evil.example", &[]), Ok(()));
        let nobody = guard.check(&Method::GET, &Uri::from_static("/"), &HeaderMap::new(), Transport::Plain);
        assert_eq!(nobody, Ok(()), "HTTP/1.0 names no host");
        let absolute = guard.check(
            &Method::GET,
            &Uri::from_static("http://evil.example/status"),
            &HeaderMap::new(),
            Transport::Plain,
        );
        assert_eq!(absolute, Err(Denied::Host("evil.example".to_owned())));
    }

    #[test]
    fn a_page_of_another_origin_is_refused_unless_it_is_allowed() {
        let closed = guard(these(&[]), Origins::None);
        let open = guard(these(&[]), Origins::These(vec!["https://app.example".to_owned()]));
        let any = guard(these(&[]), Origins::Any);
        let host = "127.0.0.1:8000";
        for own in ["http://127.0.0.1:8000", "https://127.0.0.1:8000"] {
            assert_eq!(ask(&closed, host, &[("origin", own)]), Ok(()), "{own}");
        }
        for other in [
            "null",
            "https://evil.example",
            "http://127.0.0.1:8001",
            "http://127.0.0.1",
            "http://localhost:8000",
            "127.0.0.1:8000",
            "ftp://127.0.0.1:8000",
            "http://127.0.0.1:8000.evil.example",
            "http://",
            "",
            "http://127.0.0.1:8000/",
        ] {
            assert!(matches!(ask(&closed, host, &[("origin", other)]), Err(Denied::Origin(_))), "{other:?}");
            assert!(matches!(ask(&open, host, &[("origin", other)]), Err(Denied::Origin(_))), "{other:?}");
            assert_eq!(ask(&any, host, &[("origin", other)]), Ok(()), "{other:?}");
        }
        assert_eq!(ask(&open, host, &[("origin", "https://app.example")]), Ok(()));
        let twice = [("origin", "http://127.0.0.1:8000"), ("origin", "https://evil.example")];
        assert!(ask(&closed, host, &twice).is_err());
        assert_eq!(ask(&closed, host, &[]), Ok(()), "no browser");
        // Behind a proxy that terminates TLS, on default ports that are left out.
        let named = guard(Hosts::Any, Origins::None);
        for (host, origin) in [("e.example", "https://e.example"), ("e.example:443", "https://e.example")] {
            assert_eq!(ask(&named, host, &[("origin", origin)]), Ok(()), "{host} {origin}");
        }
        assert!(ask(&named, "e.example:80", &[("origin", "https://e.example")]).is_err());
    }

    #[test]
    fn over_tls_a_page_that_came_in_clear_is_another() {
        let guard = guard(these(&[]), Origins::None);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost".parse().unwrap());
        headers.insert(ORIGIN, "http://localhost".parse().unwrap());
        let uri = Uri::from_static("/status");
        assert_eq!(guard.check(&Method::GET, &uri, &headers, Transport::Plain), Ok(()));
        assert!(guard.check(&Method::GET, &uri, &headers, Transport::Tls).is_err());
    }

    #[test]
    fn what_a_page_of_another_site_embeds_is_refused_and_a_link_is_not() {
        let guard = guard(these(&[]), Origins::None);
        let ask = |method: &Method, path: &'static str, headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), (*value).parse().unwrap()));
            guard.check(method, &Uri::from_static(path), &headers.collect(), Transport::Plain).is_ok()
        };
        let embedded = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert!(!ask(&Method::GET, "/status", &embedded));
        assert!(ask(&Method::GET, CLIENT_SCRIPT, &embedded));
        assert!(!ask(&Method::POST, CLIENT_SCRIPT, &embedded));
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(ask(&Method::GET, "/dashboard", &link));
        assert!(!ask(&Method::POST, "/admin/heal", &link), "a form that sends no origin");
        assert!(ask(&Method::GET, "/status", &[("sec-fetch-site", "same-origin")]));
        assert!(ask(&Method::GET, "/status", &[("sec-fetch-site", "none")]));
    }

    proptest! {
        #[test]
        fn no_origin_passes_that_is_not_the_hosts_own(origin in "[ -~]{0,40}", port in 1u16..) {
            let guard = guard(these(&[]), Origins::None);
            let host = format!("127.0.0.1:{port}");
            if let Ok(()) = ask(&guard, &host, &[("origin", &origin)]) {
                let authority = origin.split_once("://").map(|(_, authority)| authority.to_owned());
                let spellings = [host.clone(), host.trim_end_matches(":80").to_owned(), host.trim_end_matches(":443").to_owned()];
                prop_assert!(spellings.into_iter().any(|own| Some(own) == authority), "{origin}");
            }
        }

        #[test]
        fn no_public_name_passes_that_is_not_listed(name in "[a-z0-9-]{1,10}(\\.[a-z0-9-]{1,10}){1,3}\\.(com|example|org)") {
            let guard = guard(these(&["edge.example.com"]), Origins::None);
            prop_assert_eq!(ask(&guard, &name, &[]).is_ok(), name == "edge.example.com");
        }
    }
}
