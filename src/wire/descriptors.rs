//! Determines how many connections the process's file descriptors allow.
//!
//! It decides a number at the start. The configured limits are enforced elsewhere.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for the journal, the probes, the lanes' connections, the listeners and the certificates.
const RESERVE: u64 = 256;

/// How many descriptors the process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors(pub u64);

impl Descriptors {
    /// The limit of this process, after raising it as far as allowed.
    pub fn raised() -> Descriptors {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // If raising is forbidden, the current limit stays.
        let _ = setrlimit(Resource::Nofile, raised);
        Descriptors(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// How many clients' connections the descriptors allow. Each one may need another connection to an instance.
    pub fn connections(self) -> usize {
        let reserve = RESERVE.min(self.0 / 2);
        usize::try_from((self.0 - reserve) / 2).unwrap_or(usize::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_kept_for_the_edge_itself() {
        for (descriptors, connections) in [(1024, 384), (65_536, 32_640), (256, 64), (3, 1), (0, 1)] {
            assert_eq!(Descriptors(descriptors).connections(), connections, "{descriptors}");
        }
        assert!(Descriptors::raised().0 > 0);
    }
}
