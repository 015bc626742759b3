//! How many connections the process's file descriptors allow.
//!
//! It decides a number at the start. The limits that are configured are kept elsewhere.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for the journal, the probes, the lanes' connections, the listeners and the certificates.
const RESERVE: u64 = 256;

/// What the process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors(pub u64);

impl Descriptors {
    /// Of this process, after its limit has been raised as far as it may be.
    pub fn raised() -> Descriptors {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // It may be forbidden: then what there is.
        let _ = setrlimit(Resource::Nofile, raised);
        Descriptors(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// How many clients' connections they allow: each may need one to an instance, too.
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
