//! The configuration of instances: `config/` reads these types from the file, and this room uses them.
//!
//! It decides no limits and no spelling: `config/` does.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use sha2::{Digest as _, Sha256};

use super::breaker::BreakerRules;
use super::url::InstanceUrl;
use crate::ids::InstanceName;

/// One configured instance. Their order is the preference: the first is the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceOptions {
    pub name: InstanceName,
    pub url: InstanceUrl,
    pub trust: Trust,
    /// Sent with every request to it.
    pub headers: UpstreamHeaders,
}

/// How the two ends of a TLS connection authenticate each other. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The authorities that may sign the server's certificate; absent, the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that the edge presents to the server.
    pub own: Option<OwnCertificate>,
    /// A digest of the files when the configuration was read.
    pub contents: Contents,
}

impl Trust {
    /// Returns whether nothing is read from files.
    pub fn is_default(&self) -> bool {
        *self == Trust::default()
    }
}

/// A digest of files, to detect that they have changed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents([u8; 32]);

impl Contents {
    /// Computes the digest of these files, in this order.
    pub fn of<F: AsRef<[u8]>>(files: &[F]) -> Contents {
        let mut digest = Sha256::new();
        for file in files {
            let file = file.as_ref();
            digest.update((file.len() as u64).to_be_bytes());
            digest.update(file);
        }
        if files.is_empty() { Contents::default() } else { Contents(digest.finalize().into()) }
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contents(…)")
    }
}

/// The edge's own certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// Headers that a server, or a proxy in front of it, requires. Their values are never shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamHeaders(Arc<[(HeaderName, HeaderValue)]>);

impl UpstreamHeaders {
    /// Marks each value as sensitive.
    pub fn new(mut headers: Vec<(HeaderName, HeaderValue)>) -> UpstreamHeaders {
        headers.iter_mut().for_each(|(_, value)| value.set_sensitive(true));
        UpstreamHeaders(headers.into())
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the headers.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }

    /// Puts the headers into a request, replacing any with the same names.
    ///
    /// # Errors
    /// Never, if the headers are valid.
    pub(crate) fn put(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        for (name, _) in self.0.iter() {
            request.remove_header(name);
        }
        for (name, value) in self.0.iter() {
            request.append_header(name.clone(), value.clone())?;
        }
        Ok(())
    }
}

/// Time limits of requests to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS together.
    pub connect: Duration,
    /// One attempt of a write, from its first byte to the whole answer. The lanes pass it to the client.
    pub attempt: Duration,
    /// For a request that is passed through: between two reads, and for one write of the whole body.
    pub read: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(2),
            attempt: Duration::from_secs(30),
            read: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// How the health of instances is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthOptions {
    /// From the start of one round of probes to the next.
    pub interval: Duration,
    /// One whole probe: connect, request, answer.
    pub timeout: Duration,
    /// Failed probes in a row that make an instance Down. A failed probe is immediately repeated once.
    pub failures: u32,
    /// When reads avoid an instance whose probes are green.
    pub reads: BreakerRules,
}

impl HealthOptions {
    /// Returns the time after which an unanswering instance that is still not Down counts as slow, not hung.
    pub fn verdict_within(&self) -> Duration {
        let rounds = self.failures.div_ceil(2);
        self.interval * rounds + self.timeout * 2 + Duration::from_millis(200)
    }
}

impl Default for HealthOptions {
    /// A hung server is Down after at most interval + 2 timeouts = 3 s.
    fn default() -> Self {
        HealthOptions {
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            failures: 2,
            reads: BreakerRules::default(),
        }
    }
}
