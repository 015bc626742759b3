//! Who counts as one client for limits per client: the holder of a token, or everyone at one address.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;

/// Who counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client<'a> {
    /// The holder of the token of this name, at any address.
    Token(&'a str),
    /// Everyone at this address or, with IPv6, in this network of 64 bits, the size of one household.
    Address(IpAddr),
    /// Everyone whose address is unknown.
    Unknown,
}

impl<'a> Client<'a> {
    /// Returns the client with this token's name, or else the one at this address.
    pub fn of(token: Option<&'a str>, address: impl FnOnce() -> Option<IpAddr>) -> Client<'a> {
        match token {
            Some(name) => Client::Token(name),
            None => address().map_or(Client::Unknown, |address| Client::Address(network(address))),
        }
    }
}

/// As stored in the journal.
impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Token(name) => write!(f, "token {name}"),
            Client::Address(address) => write!(f, "address {address}"),
            Client::Unknown => f.write_str("unknown"),
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Client<'static> {
        Client::of(None, || Some(text.parse().unwrap()))
    }

    #[test]
    fn who_is_one_client() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"), "a network of 64 bits");
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
        assert_eq!(Client::of(Some("cms"), || panic!("its address does not matter")), Client::Token("cms"));
        assert_eq!(Client::of(None, || None), Client::Unknown);
    }

    #[test]
    fn no_client_is_written_as_another() {
        let written = [Client::Token("192.0.2.1"), address("192.0.2.1"), Client::Unknown].map(|one| one.to_string());
        assert_eq!(written, ["token 192.0.2.1", "address 192.0.2.1", "unknown"]);
    }
}
