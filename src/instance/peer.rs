//! The one place that says how to connect to an instance: address, TLS and whom it trusts, timeouts.
//!
//! Pingora's own connections (for reads that it passes through), the client and the probes all use the peer that this file
//! builds, so that "reachable" means the same to each of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::TcpKeepalive;
use pingora::upstreams::peer::{ALPN, HttpPeer};

use super::certificates::{self, FileMistake};
use super::options::{InstanceOptions, Timeouts};
use super::url::Tls;
use crate::ids::InstanceName;

/// Why the instances cannot be set up as configured.
#[derive(Clone, Debug, thiserror::Error)]
#[error("instance {instance}: {mistake}")]
pub struct SetupError {
    pub instance: InstanceName,
    pub mistake: FileMistake,
}

/// Everything of an instance's peer but its address, which may have to be resolved first.
pub(super) fn template(options: &InstanceOptions, timeouts: &Timeouts) -> Result<HttpPeer, SetupError> {
    let tls = options.url.tls() == Tls::Yes;
    let placeholder = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), options.url.port());
    let mut peer = HttpPeer::new(placeholder, tls, options.url.host().to_owned());
    let settings = &mut peer.options;
    settings.connection_timeout = Some(timeouts.connect);
    settings.total_connection_timeout = Some(timeouts.connect);
    settings.read_timeout = Some(timeouts.read);
    settings.write_timeout = Some(timeouts.read);
    settings.idle_timeout = Some(timeouts.idle);
    settings.alpn = ALPN::H1;
    settings.tcp_keepalive = Some(keepalive(timeouts.attempt));
    // An abandoned request must not go on arriving: with the default linger the kernel delivers what is still in
    // its buffers after the close, and a server that was merely stopped then finds a whole request to execute.
    settings.upstream_tcp_sock_tweak_hook = Some(Arc::new(|socket| {
        if let Err(error) = socket.set_zero_linger() {
            tracing::debug!(%error, "cannot set the linger time");
        }
        Ok(())
    }));
    let fail = |mistake: FileMistake| SetupError { instance: options.name.clone(), mistake };
    if let Some(path) = &options.trust.ca_file {
        settings.ca = Some(certificates::authorities(path).map_err(fail)?);
    }
    if let Some(own) = &options.trust.own {
        peer.client_cert_key = Some(certificates::own(own).map_err(fail)?);
    }
    Ok(peer)
}

/// A connection whose other end is gone without a word (a dropped route, a firewall's lost state) is found out after about
/// the time of one attempt, though new ones to the same instance may well succeed and the probes be green.
fn keepalive(attempt: Duration) -> TcpKeepalive {
    let whole = |part: Duration| Duration::from_secs(part.as_secs().max(1));
    TcpKeepalive {
        idle: whole(attempt / 3),
        interval: whole(attempt / 6),
        count: 4,
        #[cfg(target_os = "linux")]
        user_timeout: attempt.max(Duration::from_secs(2)),
    }
}
