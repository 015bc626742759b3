//! Chooses the instance that a read is sent to next, and decides when no further attempt is worthwhile.
//!
//! It chooses among fresh, usable instances by `order::choose` and Pingora's rotation. What an answer means, and so
//! whether another attempt is needed, is decided by `chroma::classify`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::Read;
use crate::clock;
use crate::ids::InstanceId;
use crate::order::{Candidate, Input, Preference, Vouching, choose};
use crate::proxy::Edge;
use crate::proxy::failure::Failure;

/// The attempts of one read, however few instances there are.
pub const ATTEMPTS: usize = 4;
/// The pause before the second attempt at an instance that has failed. It is twice as long before the third, and so on.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a read spares drained instances that could serve it: another instance can serve it in a moment, or has been
/// asked.
const SPARED: Duration = Duration::from_millis(500);

/// The status of Chroma's answer when something is wrong with a copy.
const SERVER_ERROR: u16 = 500;

/// The attempts of one read.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    /// In the order in which they were tried.
    tried: Vec<InstanceId>,
    /// When the first attempt began.
    since: Option<Instant>,
    /// Instances that this read does not ask again: they denied something that they should have, or failed the read for
    /// good.
    excluded: Vec<InstanceId>,
    /// Instances that answered with a server error.
    failed: Vec<InstanceId>,
}

/// Whether an instance has been asked before by the same read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    First,
    Repeated,
}

impl Attempts {
    /// No attempts so far. This instance is asked after the others.
    pub fn avoiding(instance: Option<InstanceId>) -> Attempts {
        Attempts { tried: Vec::from_iter(instance), ..Attempts::default() }
    }

    /// Returns whether the latest attempt at this instance is the first one.
    pub fn visit(&self, instance: InstanceId) -> Visit {
        let times = self.tried.iter().filter(|tried| **tried == instance).count();
        if times > 1 { Visit::Repeated } else { Visit::First }
    }

    /// Notes one more attempt, at this instance.
    pub fn begin(&mut self, instance: InstanceId) {
        self.tried.push(instance);
        self.since.get_or_insert_with(clock::now);
    }

    /// Excludes the instance from further attempts of this read.
    pub fn exclude(&mut self, instance: InstanceId) {
        self.excluded.push(instance);
    }

    /// Notes that the instance answered with this status, when the answer is not passed on yet.
    pub fn failed(&mut self, instance: InstanceId, status: u16) {
        if status == SERVER_ERROR {
            self.failed.push(instance);
        }
    }

    /// Returns the other instances that failed a read that this instance has answered well.
    pub fn failed_beside(&self, instance: InstanceId) -> impl Iterator<Item = InstanceId> {
        self.failed.iter().copied().filter(move |failed| *failed != instance)
    }

    /// Returns whether no attempt is left.
    pub fn used_up(&self) -> bool {
        self.tried.len() >= ATTEMPTS
    }
}

/// How long a read waits for a fresh instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As long as reads wait (`read_wait`): there is no answer so far.
    ForFresh,
    /// Only for the pause before an instance is asked again: the last answer can be passed on.
    ForPauseOnly,
}

/// Chooses an instance for the next attempt, and waits for a fresh one if necessary.
///
/// # Errors
/// The failure to answer with when no instance is left to ask.
pub async fn next(edge: &Edge, read: &Read, attempts: &Attempts, wait: Wait) -> Result<InstanceId, Failure> {
    let tried = &attempts.tried;
    let now = clock::now();
    let deadline = match wait {
        Wait::ForFresh => now + edge.options().read_wait,
        Wait::ForPauseOnly => now,
    };
    let again_at = (now + PAUSE * u32::try_from(tried.len()).unwrap_or(u32::MAX)).min(now + edge.options().read_wait);
    let spared_until = attempts.since.unwrap_or(now) + SPARED.min(edge.options().read_wait / 2);
    // The common case: an instance is available, and there is no wait.
    let Choice { untried, .. } = among(edge, read, attempts, spared_until)?;
    if !untried.is_empty() {
        return Ok(pick(edge, read, untried));
    }
    let mut changes = edge.core.changes();
    loop {
        changes.mark_unchanged();
        let Choice { candidates, untried, spared } = among(edge, read, attempts, spared_until)?;
        if !untried.is_empty() {
            return Ok(pick(edge, read, untried));
        }
        // An instance that failed is asked again, but not at once: meanwhile another one may become fresh, or the
        // probes may find that this one is gone.
        let may_repeat = !candidates.is_empty() && !attempts.used_up();
        if may_repeat && clock::now() >= again_at {
            return Ok(pick(edge, read, candidates));
        }
        let until = if may_repeat { again_at } else { deadline };
        let until_spared = if spared { until.min(spared_until) } else { until };
        let waited = timeout_at(until_spared.into(), changes.changed()).await;
        let given_up = attempts.used_up() || (waited.is_err() && until_spared == until);
        if given_up && !may_repeat {
            let any_usable = edge.registry.ids().any(|instance| edge.registry.usable(instance));
            return Err(if any_usable { Failure::NoFreshInstance } else { Failure::NoInstance });
        }
    }
}

/// The candidates of an attempt.
struct Choice {
    candidates: Vec<Candidate>,
    /// Of these, those that have not been tried.
    untried: Vec<Candidate>,
    /// Whether a drained instance that could serve the read as well is still left alone.
    spared: bool,
}

fn among(edge: &Edge, read: &Read, attempts: &Attempts, spared_until: Instant) -> Result<Choice, Failure> {
    let (mut candidates, mut able, held) = {
        let board = edge.core.board();
        if let Some(deleted) = read.deleted(&board) {
            return Err(deleted);
        }
        let able = read.able(&board);
        (read.used(&board, able.clone()), able, read.held_copies(&board))
    };
    // A replica that lacks only held entries is fresh in a moment, for this read or the next one.
    held.into_iter().for_each(|collection| edge.core.step(Input::FreshWanted { collection }));
    for some in [&mut candidates, &mut able] {
        some.retain(|candidate| !attempts.excluded.contains(&candidate.instance));
        // The board learns that an instance is down a moment after the registry.
        some.retain(|candidate| edge.registry.usable(candidate.instance));
    }
    let untried = |some: &[Candidate]| -> Vec<Candidate> {
        some.iter().filter(|candidate| !attempts.tried.contains(&candidate.instance)).copied().collect()
    };
    let spared = untried(&candidates).is_empty() && able.len() > candidates.len();
    if spared && clock::now() >= spared_until {
        return Ok(Choice { untried: untried(&able), candidates: able, spared: false });
    }
    Ok(Choice { untried: untried(&candidates), candidates, spared })
}

/// Returns the candidates that reads do not avoid, or all of them if reads avoid every one. Now and then it returns
/// only an avoided instance, to find out whether that one answers again. If it does not, the read goes to the others.
fn trusted(edge: &Edge, read: &Read, candidates: Vec<Candidate>) -> Vec<Candidate> {
    let is_avoided = |candidate: &Candidate| edge.registry.avoided(candidate.instance);
    if candidates.len() < 2 || !candidates.iter().any(is_avoided) {
        return candidates;
    }
    let could_tell =
        read.counts_for_breakers() && read.stake.as_ref().is_none_or(|stake| stake.vouching() == Vouching::Vouched);
    if could_tell && let Some(tried) = candidates.iter().find(|one| edge.registry.take_turn(one.instance)) {
        return vec![*tried];
    }
    let (avoided, trusted): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_avoided);
    if trusted.is_empty() { avoided } else { trusted }
}

fn pick(edge: &Edge, read: &Read, candidates: Vec<Candidate>) -> InstanceId {
    let mut candidates = trusted(edge, read, candidates);
    for candidate in &mut candidates {
        candidate.in_flight = edge.registry.in_flight(candidate.instance);
    }
    let preference = match replica_turn(edge.reads.fetch_add(1, Ordering::Relaxed), edge.options().replica_ratio) {
        true => Preference::Replicas,
        false => Preference::Primary,
    };
    let best = choose(&candidates, preference, edge.core.board().primary());
    edge.health.select(&best).or(best.first().copied()).unwrap_or(candidates[0].instance)
}

/// Returns whether the n-th read goes to a replica. The replicas' reads are evenly spread, and exact in the long run.
#[allow(clippy::cast_precision_loss, reason = "a counter beyond 2^53 reads only makes the spread less even")]
fn replica_turn(n: u64, ratio: f64) -> bool {
    ((n + 1) as f64 * ratio).floor() > (n as f64 * ratio).floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_exact_and_even() {
        let turns: Vec<bool> = (0..10).map(|n| replica_turn(n, 0.8)).collect();
        assert_eq!(turns.iter().filter(|turn| **turn).count(), 8);
        assert!(turns.windows(2).all(|pair| pair[0] || pair[1]), "two primaries in a row: {turns:?}");
        assert!((0..100).all(|n| !replica_turn(n, 0.0) && replica_turn(n, 1.0)));
    }
}
