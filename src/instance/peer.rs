//! The one place that says how to connect to an instance: address, TLS and its authorities, timeouts.
//!
//! Pingora's own connections (for reads that it passes through), the client and the probes all use the peer that this file
//! builds, so that "reachable" means the same to each of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::TcpKeepalive;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::{ALPN, HttpPeer};

use super::options::{InstanceOptions, Timeouts};
use super::url::Tls;
use crate::ids::InstanceName;

/// Why the instances cannot be set up as configured.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot read the CA file {path} of instance {instance}: {reason}")]
    CaFile { instance: InstanceName, path: PathBuf, reason: String },
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
    if let Some(path) = &options.ca_file {
        let fail = |reason| SetupError::CaFile { instance: options.name.clone(), path: path.clone(), reason };
        settings.ca = Some(authorities(path).map_err(fail)?);
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

#[cfg(feature = "tls")]
fn authorities(path: &Path) -> Result<Arc<CaType>, String> {
    use pingora::utils::tls::{WrappedX509, parse_x509};
    use x509_parser::pem::Pem;

    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(&text) {
        let block = block.map_err(|error| error.to_string())?;
        if block.label != "CERTIFICATE" {
            continue;
        }
        // `parse_x509` panics on what this refuses.
        block.parse_x509().map_err(|error| error.to_string())?;
        certificates.push(WrappedX509::new(block.contents, parse_x509));
    }
    if certificates.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(certificates.into()) }
}

#[cfg(not(feature = "tls"))]
fn authorities(_path: &Path) -> Result<Arc<CaType>, String> {
    Err("this edge is built without the `tls` feature".to_owned())
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let garbage = "-----BEGIN CERTIFICATE-----\nMAoCAQECAQECAQE=\n-----END CERTIFICATE-----\n";
        for text in ["", "not a certificate", garbage] {
            std::fs::write(&path, text).unwrap();
            assert!(authorities(&path).is_err(), "{text}");
        }
        assert!(authorities(&dir.path().join("absent.pem")).is_err());
    }
}
