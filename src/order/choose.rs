//! The choice of the instance that serves: the same rule for reads, writes and other requests.

use crate::ids::InstanceId;

/// An instance that could serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub instance: InstanceId,
    pub health: CandidateHealth,
    /// Requests under way on the instance.
    pub in_flight: usize,
}

/// A candidate's health, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CandidateHealth {
    Sound,
    Suspect,
}

/// Which of the equally healthy candidates is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The primary, then the first in the configuration.
    Primary,
    /// Replicas, the least busy first. The primary only if no replica is as healthy.
    Replicas,
}

/// Returns the best candidates, which are equally good. Empty only if there are no candidates.
///
/// A suspect candidate is chosen only if no sound one is left, so the last candidate is never shunned.
pub fn choose(candidates: &[Candidate], preference: Preference, primary: InstanceId) -> Vec<InstanceId> {
    let Some(best) = candidates.iter().map(|c| c.health).min() else { return Vec::new() };
    let mut pool: Vec<_> = candidates.iter().filter(|c| c.health == best).collect();
    match preference {
        Preference::Primary => pool
            .iter()
            .map(|c| c.instance)
            .min_by_key(|instance| (*instance != primary, *instance))
            .into_iter()
            .collect(),
        Preference::Replicas => {
            if pool.iter().any(|c| c.instance != primary) {
                pool.retain(|c| c.instance != primary);
            }
            let least = pool.iter().map(|c| c.in_flight).min().unwrap_or(0);
            pool.iter().filter(|c| c.in_flight == least).map(|c| c.instance).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: InstanceId = InstanceId(0);

    fn candidate(instance: usize, health: CandidateHealth, in_flight: usize) -> Candidate {
        Candidate { instance: InstanceId(instance), health, in_flight }
    }

    #[test]
    fn writes_go_to_the_first_sound_one() {
        let all = [
            candidate(0, CandidateHealth::Suspect, 0),
            candidate(1, CandidateHealth::Sound, 9),
            candidate(2, CandidateHealth::Sound, 0),
        ];
        assert_eq!(choose(&all, Preference::Primary, FIRST), [InstanceId(1)]);
        assert_eq!(choose(&all, Preference::Primary, InstanceId(2)), [InstanceId(2)], "after a switchover");
    }

    #[test]
    fn the_last_suspect_is_not_shunned() {
        let suspect = [candidate(1, CandidateHealth::Suspect, 3)];
        assert_eq!(choose(&suspect, Preference::Replicas, FIRST), [InstanceId(1)]);
        assert!(choose(&[], Preference::Replicas, FIRST).is_empty());
    }

    #[test]
    fn reads_spread_over_the_least_busy_replicas() {
        let all = [
            candidate(0, CandidateHealth::Sound, 0),
            candidate(1, CandidateHealth::Sound, 2),
            candidate(2, CandidateHealth::Sound, 1),
            candidate(3, CandidateHealth::Sound, 1),
        ];
        assert_eq!(choose(&all, Preference::Replicas, FIRST), [InstanceId(2), InstanceId(3)]);
        assert_eq!(choose(&all, Preference::Replicas, InstanceId(2)), [InstanceId(0)], "the first is a replica then");
        assert_eq!(choose(&all[..1], Preference::Replicas, FIRST), [InstanceId(0)], "a lone primary serves");
    }
}
