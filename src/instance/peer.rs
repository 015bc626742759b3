//! The one place that defines how to connect to an instance: address, TLS and trust, timeouts.
//!
//! Pingora's own connections (for reads that it passes through), the client and the probes all use the peer built here,
//! so "reachable" means the same to each of them.

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

/// Builds an instance's peer, complete except for its address, which may have to be resolved first.
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
    // An abandoned request must stop arriving. With the default linger the kernel delivers the rest of its buffers
    // after the close, and a server that was merely stopped would find a whole request to execute.
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

/// A connection whose other end vanished silently (a dropped route, a firewall's lost state) is detected after about
/// the time of one attempt. Meanwhile new connections to the same instance may well succeed and its probes stay green.
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
