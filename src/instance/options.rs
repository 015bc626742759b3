//! The configuration of instances: `config/` reads these types from the file, this room uses them.
//!
//! It decides no limits and no spelling: `config/` does.

use std::path::PathBuf;
use std::time::Duration;

use super::url::InstanceUrl;
use crate::ids::InstanceName;

/// One configured instance. Their order is the preference: the first is the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceOptions {
    pub name: InstanceName,
    pub url: InstanceUrl,
    /// PEM file with the authorities that may sign this instance's certificate; the system's where absent.
    pub ca_file: Option<PathBuf>,
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

/// How instances are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthOptions {
    /// From the start of one round of probes to the next.
    pub interval: Duration,
    /// One whole probe: connect, request, answer.
    pub timeout: Duration,
    /// Failed probes in a row that make an instance Down. A failed probe is repeated once, at once.
    pub failures: u32,
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
        HealthOptions { interval: Duration::from_secs(2), timeout: Duration::from_millis(500), failures: 2 }
    }
}
