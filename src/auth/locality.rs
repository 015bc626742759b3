//! Whether a request was made on the edge's own machine.
//!
//! A proxy on this machine must not make outside requests look local: a forwarded request counts as local only if a
//! trusted proxy reports that every hop was.

use core::net::IpAddr;

use http::Version;
use http::header::{FORWARDED as FORWARDED_BY, HeaderMap, HeaderName, VIA};

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// Made on this machine, and not forwarded for anyone else.
    Loopback,
    Elsewhere,
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Headers in which a proxy may name the client instead of, or besides, `X-Forwarded-For`, which the client may then have
/// sent itself.
static CLIENT: [HeaderName; 13] = [
    FORWARDED_BY,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("fastly-client-ip"),
    HeaderName::from_static("x-original-forwarded-for"),
    HeaderName::from_static("x-envoy-external-address"),
    HeaderName::from_static("fly-client-ip"),
    HeaderName::from_static("do-connecting-ip"),
    HeaderName::from_static("x-azure-clientip"),
    HeaderName::from_static("x-appengine-user-ip"),
];
/// Headers that a proxy adds to a request that it forwards.
static FORWARDED: [HeaderName; 2] = [VIA, HeaderName::from_static("cdn-loop")];
/// The prefix of a proxy's other headers.
const FORWARDED_PREFIX: &str = "x-forwarded";

impl Locality {
    /// Returns the locality of a request from `peer`. `hop` parses an address in `X-Forwarded-For`.
    ///
    /// An HTTP/1.0 request counts as forwarded, because nginx by default forwards requests like that without naming the
    /// client.
    pub fn of(
        (peer, version): (Option<IpAddr>, Version),
        headers: &HeaderMap,
        is_trusted: impl Fn(IpAddr) -> bool,
        hop: impl Fn(&str) -> Option<IpAddr>,
    ) -> Locality {
        let Some(peer) = peer.map(|peer| peer.to_canonical()).filter(IpAddr::is_loopback) else {
            return Locality::Elsewhere;
        };
        // A request has few headers, so this is cheaper than looking up each of these names.
        let tells = |name: &HeaderName| {
            name.as_str().starts_with(FORWARDED_PREFIX) || FORWARDED.contains(name) || CLIENT.contains(name)
        };
        if version > Version::HTTP_10 && !headers.keys().any(tells) {
            return Locality::Loopback;
        }
        let mut hops = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .peekable();
        let is_loopback = |bytes: &[u8]| {
            let address = std::str::from_utf8(bytes).ok().and_then(&hop);
            address.is_some_and(|address| address.to_canonical().is_loopback())
        };
        let names_others = || {
            let named = CLIENT.iter().flat_map(|name| headers.get_all(name));
            named.into_iter().any(|value| !is_loopback(value.as_bytes()))
        };
        let local = hops.peek().is_some() && is_trusted(peer) && !names_others() && hops.all(is_loopback);
        if local { Locality::Loopback } else { Locality::Elsewhere }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locality(peer: &str, headers: &[(&'static str, &str)], trusted: &[&str]) -> Locality {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted: Vec<IpAddr> = trusted.iter().map(|address| address.parse().unwrap()).collect();
        Locality::of(
            (Some(peer.parse().unwrap()), Version::HTTP_11),
            &map,
            |address| trusted.contains(&address),
            |text| text.trim().parse().ok(),
        )
    }

    #[test]
    fn a_request_made_here_is_local() {
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(locality(peer, &[], &[]), Locality::Loopback, "{peer}");
        }
        let both = [("x-forwarded-for", "127.0.0.1, ::1")];
        assert_eq!(locality("127.0.0.1", &both, &["127.0.0.1"]), Locality::Loopback, "every hop is, and it is trusted");
    }

    #[test]
    fn no_proxy_turns_the_world_into_this_machine() {
        let trusted = ["127.0.0.1"];
        for headers in [
            &[("x-forwarded-for", "203.0.113.9")][..],
            &[("x-forwarded-for", "127.0.0.1, 203.0.113.9")],
            &[("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "203.0.113.9")],
            &[("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=203.0.113.9")],
            &[("x-forwarded-for", "127.0.0.1"), ("cf-connecting-ip", "203.0.113.9")],
            &[("x-client-ip", "127.0.0.1")],
            &[("x-forwarded-for", "203.0.113.9, 127.0.0.1")],
            &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "203.0.113.9")],
            &[("x-forwarded-for", "unknown")],
            &[("x-forwarded-for", "")],
            &[("forwarded", "for=127.0.0.1")],
            &[("x-real-ip", "127.0.0.1")],
            &[("via", "1.1 proxy")],
            &[("x-forwarded-proto", "https")],
            &[("x-forwarded-client-cert", "x")],
            &[("fly-client-ip", "127.0.0.1")],
            &[("x-forwarded-for", "127.0.0.1"), ("x-envoy-external-address", "203.0.113.9")],
        ] {
            assert_eq!(locality("127.0.0.1", headers, &trusted), Locality::Elsewhere, "{headers:?}");
        }
        let silent = |version| {
            let peer = (Some("127.0.0.1".parse().unwrap()), version);
            Locality::of(peer, &HeaderMap::new(), |_| false, |_| None)
        };
        assert_eq!(silent(Version::HTTP_10), Locality::Elsewhere, "as nginx passes requests on");
        assert_eq!(silent(Version::HTTP_2), Locality::Loopback);
        let claim = [("x-forwarded-for", "127.0.0.1")];
        assert_eq!(locality("127.0.0.1", &claim, &[]), Locality::Elsewhere, "nobody vouches for this proxy");
        assert_eq!(locality("10.0.0.1", &claim, &["10.0.0.1"]), Locality::Elsewhere, "that is another machine's");
        assert_eq!(locality("203.0.113.9", &[], &[]), Locality::Elsewhere);
    }
}
