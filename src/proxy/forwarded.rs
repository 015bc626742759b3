//! Finds the client's address behind proxies: `X-Forwarded-For` counts as far as its writers are trusted.

use std::net::IpAddr;

use bytes::Bytes;
use http::HeaderMap;
use ipnet::IpNet;
use pingora::proxy::Session;

use crate::auth::Principal;
use crate::web::PageRequest;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The page request of this session. Its body has been read.
pub(super) fn page_request(session: &Session, body: Bytes, trusted: &[IpNet], principal: Principal) -> PageRequest {
    let header = session.req_header();
    PageRequest {
        method: header.method.clone(),
        path: header.uri.path().to_owned(),
        query: header.uri.query().unwrap_or_default().to_owned(),
        headers: header.headers.clone(),
        body,
        client_ip: client_of(session, trusted),
        principal,
    }
}

/// The address of this session's client, as it is stored; `None` for a connection without an IP address.
pub(super) fn client_of(session: &Session, trusted: &[IpNet]) -> Option<String> {
    address_of(session, trusted).map(|address| address.to_string())
}

/// As [`client_of`], but returns an address.
pub(super) fn address_of(session: &Session, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = session.client_addr().and_then(|address| address.as_inet())?.ip();
    Some(client_ip(peer, &session.req_header().headers, trusted))
}

/// The address of the client behind `peer`.
///
/// The header is read from its end, where the nearest proxy wrote. Each hop counts if its writer is trusted. The first
/// untrusted address is the client; if all are trusted, the farthest one is. An entry that is not an address ends the
/// walk: nothing beyond it can be trusted.
fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let hops = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = std::str::from_utf8(hop).ok().and_then(address) else { break };
        client = address;
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let found = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(address.parse().ok().filter(|_| port)?)
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => IpAddr::V4(address.parse().ok()?),
            _ => text.parse().ok()?,
        },
    };
    Some(found.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8", "192.168.1.1/32", "fd00::/8"].map(|net| net.parse().unwrap());
        client_ip(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(client("192.168.1.2", &["198.51.100.1"]), "192.168.1.2");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_walk_is_from_the_right_over_trusted_hops() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1"]), "198.51.100.1", "a client can write what it likes");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.9.9.9,192.168.1.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.7, 10.0.0.8"]), "10.0.0.7", "all trusted: the farthest");
        assert_eq!(
            client("10.0.0.1", &["1.1.1.1", "198.51.100.1 , 10.0.0.2"]),
            "198.51.100.1",
            "several headers are one"
        );
    }

    #[test]
    fn addresses_come_in_many_spellings() {
        for (text, expected) in [
            ("198.51.100.1:4711", "198.51.100.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[text]), expected, "{text}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1", "a mapped peer is its IPv4 address");
        assert_eq!(client("fd00::1", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn beyond_garbage_nothing_is_believed() {
        for garbage in [
            "unknown",
            "",
            "_hidden",
            "1.2.3",
            "1.2.3.4:x",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "fe80::1%eth0",
            "1.2.3.4:99999",
        ] {
            assert_eq!(client("10.0.0.1", &[&format!("198.51.100.1, {garbage}")]), "10.0.0.1", "{garbage:?}");
            assert_eq!(client("10.0.0.1", &[&format!("{garbage}, 198.51.100.1")]), "198.51.100.1", "{garbage:?}");
        }
        let mut map = HeaderMap::new();
        map.append(FORWARDED_FOR, http::HeaderValue::from_bytes(b"198.51.100.1, \xff").unwrap());
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(client_ip([10, 0, 0, 1].into(), &map, &trusted), IpAddr::from([10, 0, 0, 1]));
    }
}
