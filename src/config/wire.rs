//! The limits on connections and request heads, and the listener's certificates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::mistake::{Ledger, Location};
use super::section::Section;
use super::settings::WireLimits;
use super::units::ByteSize;
use crate::wire::{CertificateFiles, ClearH2, FrontOptions, HeadLimits, TlsFiles, TlsOptions};

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Reads the keys of `limits` about connections.
pub(super) fn limits(section: &Section<'_>, clear_h2: ClearH2) -> WireLimits {
    let kib = |count: u64| ByteSize::bytes(count * 1024);
    let head = HeadLimits {
        uri_bytes: section.size("uri_bytes", kib(16), kib(1)..=kib(128)).value.as_usize(),
        // Pingora parses at most 256.
        headers: section.count("headers", 100, 10..=250),
        header_bytes: section.size("header_bytes", kib(64), kib(4)..=kib(512)).value.as_usize(),
    };
    // Longer than the idle timeout of common load balancers; otherwise they could send a request on a closing
    // connection.
    let idle_timeout = section.duration("idle_timeout", secs(75), secs(1)..=secs(3600));
    let header_timeout = section.duration("header_timeout", secs(10), secs(1)..=secs(600));
    WireLimits {
        front: FrontOptions { head, header_timeout, idle_timeout, clear_h2 },
        connections: section.count("connections", 10_000, 1..=1_000_000),
        connections_per_address: section.count("connections_per_address", 5000, 1..=1_000_000),
    }
}

/// Reads the address for clients and, if given, the one for operators.
pub(super) fn listeners(edge: &Section<'_>, ledger: &Ledger) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let listen = edge.text("listen", "127.0.0.1:8000", address)?;
    let admin = edge.optional("admin_listen", address).map(|found| found.value);
    if admin.is_some_and(|admin| cannot_share(listen, admin)) {
        let text = format!("edge.admin_listen takes the port of edge.listen ({listen}): it needs one of its own");
        ledger.report(edge.place("admin_listen"), text);
    }
    Some((listen, admin))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address and port such as 127.0.0.1:8000"))
}

/// Returns whether only one of the two addresses can be bound; port 0 is any free port.
fn cannot_share(one: SocketAddr, other: SocketAddr) -> bool {
    let (ips, everywhere) = ((one.ip(), other.ip()), one.ip().is_unspecified() || other.ip().is_unspecified());
    let meet = ips.0 == ips.1 || (everywhere && ips.0.is_ipv4() == ips.1.is_ipv4());
    one.port() == other.port() && one.port() != 0 && meet
}

/// Reads whether HTTP/2 is accepted without TLS; with TLS, clients negotiate it.
pub(super) fn clear_h2(edge: &Section<'_>, ledger: &Ledger) -> ClearH2 {
    let choices = [("true", ClearH2::Accepted), ("false", ClearH2::Refused)];
    let clear_h2 = edge.choice("h2c", "false", &choices, ClearH2::Refused);
    if clear_h2 == ClearH2::Accepted && edge.is_given("tls") {
        ledger.report(
            edge.place("h2c"),
            "edge.h2c is for a listener in clear: with edge.tls clients choose HTTP/2 by themselves",
        );
    }
    clear_h2
}

/// Reads the listener's certificates and opens them once, so that the check reports a mistake in them.
pub(super) fn tls(edge: &Section<'_>, ledger: &Ledger) -> Option<TlsOptions> {
    if !edge.is_given("tls") {
        // Registers the key as known.
        edge.section("tls").finish();
        return None;
    }
    let section = edge.section("tls");
    let place = edge.place("tls");
    let mut certificates: Vec<CertificateFiles> = files(&section, place).into_iter().collect();
    for item in section.list("more").unwrap_or_default() {
        let more = Section::new("edge.tls.more[]", Some(item), ledger);
        certificates.extend(files(&more, item.place));
        more.finish();
    }
    let client_ca = section.optional("client_ca", |path| Ok(PathBuf::from(path))).map(|found| found.value);
    section.finish();
    if !ledger.is_clean() || certificates.is_empty() {
        return None;
    }
    let options = TlsOptions { certificates, client_ca };
    match TlsFiles::open(options.clone()) {
        Ok(_) => Some(options),
        Err(error) => {
            ledger.report(place, format!("edge.tls: {error}"));
            None
        }
    }
}

fn files(section: &Section<'_>, place: Location) -> Option<CertificateFiles> {
    let cert = section.required("cert", place, |path| Ok(PathBuf::from(path)));
    let key = section.required("key", place, |path| Ok(PathBuf::from(path)));
    Some(CertificateFiles { cert: cert?.value, key: key?.value })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{TWO, mistake, with};

    #[test]
    fn two_listeners_do_not_share_a_port() {
        let both = |listen: &str, admin: &str| format!("{TWO}  listen: \"{listen}\"\n  admin_listen: \"{admin}\"\n");
        for (listen, admin) in
            [("127.0.0.1:8000", "127.0.0.1:8000"), ("0.0.0.0:8000", "127.0.0.1:8000"), ("[::1]:8000", "[::]:8000")]
        {
            let found = mistake(&both(listen, admin), &[]);
            assert!(found.starts_with("edge.yaml:6: edge.admin_listen takes the port of edge.listen"), "{found}");
        }
        for (listen, admin) in [
            ("127.0.0.1:8000", "127.0.0.1:8001"),
            ("127.0.0.1:8000", "127.0.0.2:8000"),
            ("0.0.0.0:8000", "[::1]:8000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert!(with(&both(listen, admin), &[]).is_ok(), "{listen} {admin}");
        }
        // PORT can collide with the port that the file gives to the operators' listener.
        let file = format!("{TWO}  admin_listen: 127.0.0.1:9000\n");
        assert!(mistake(&file, &[("PORT", "9000")]).contains("takes the port of edge.listen (0.0.0.0:9000)"));
    }
}
