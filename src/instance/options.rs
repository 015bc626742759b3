//! The configuration of instances: `config/` reads these types from the file, this room uses them.
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

/// How two ends of TLS know each other. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The authorities that may sign the server's certificate; the system's where absent.
    pub ca_file: Option<PathBuf>,
    /// What the edge shows the server of itself.
    pub own: Option<OwnCertificate>,
    /// What the files held when the configuration was read.
    pub contents: Contents,
}

impl Trust {
    /// Whether nothing is read from files.
    pub fn is_default(&self) -> bool {
        *self == Trust::default()
    }
}

/// A digest of files: whether they are the same ones still.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents([u8; 32]);

impl Contents {
    /// Of these files, in this order.
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

/// The edge's own certificate, with those that signed it, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// Headers that a server, or a proxy in front of it, asks for. Their values are shown nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamHeaders(Arc<[(HeaderName, HeaderValue)]>);

impl UpstreamHeaders {
    /// These headers; each value is marked as sensitive.
    pub fn new(mut headers: Vec<(HeaderName, HeaderValue)>) -> UpstreamHeaders {
        headers.iter_mut().for_each(|(_, value)| value.set_sensitive(true));
        UpstreamHeaders(headers.into())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }

    /// Puts them into a request, in place of what is there under these names.
    ///
    /// # Errors
    /// Never, for headers that are ones.
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
    /// One attempt of a write, from its first byte to the whole answer; the lanes pass it to the client.
    pub attempt: Duration,
    /// Between two reads, and for one write of the whole body, of a request that is passed through.
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

/// How it is known whether instances are well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthOptions {
    /// From the start of one round of probes to the next.
    pub interval: Duration,
    /// One whole probe: connect, request, answer.
    pub timeout: Duration,
    /// Failed probes in a row that make an instance Down. A failed probe is repeated once, at once.
    pub failures: u32,
    /// When reads avoid an instance whose probes are green.
    pub reads: BreakerRules,
}

impl HealthOptions {
    /// After this time without an answer, an instance that is not Down is slow, not hung.
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
