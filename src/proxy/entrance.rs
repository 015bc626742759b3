//! The entrance: who a request is from, and whether it is allowed. The rules are in `auth`; this file applies them to
//! the request.

use std::net::IpAddr;

use ipnet::IpNet;
use pingora::proxy::Session;

use super::failure::Failure;
use super::forwarded::address;
use crate::auth::{ClientCredentials, Gate, Locality, Need, Principal, Role};
use crate::clock::Timestamp;

/// Who is let in, and how the client's address is determined.
#[derive(Clone, Debug)]
pub struct Entrance {
    pub gate: Gate,
    /// Proxies in front of the edge whose `X-Forwarded-For` it believes: `trusted_proxies`.
    pub trusted: Vec<IpNet>,
    /// Whether clients' credentials go on to the instances: `auth.pass_credentials`.
    pub credentials: ClientCredentials,
}

impl Entrance {
    /// Returns the request's principal, if it may do what needs this.
    ///
    /// # Errors
    /// The request is not allowed.
    pub(super) fn admit(&self, session: &Session, need: Need) -> Result<Principal, Failure> {
        let header = session.req_header();
        let headers = &header.headers;
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        let is_trusted = |address: IpAddr| self.trusted.iter().any(|net| net.contains(&address));
        let from = Locality::of((peer, header.version), headers, is_trusted, address);
        let admitted = self.gate.admit(need, headers, from, Timestamp::now()).map_err(Failure::Denied)?;
        // An unnamed principal may see what everyone may see, and no more.
        Ok(admitted.unwrap_or_else(|| Principal::anonymous(Role::Reader)))
    }
}
