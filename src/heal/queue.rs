//! Decides which copy is made next, and when one that could not be made is tried again. Pure: the clock is passed in.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::error::HealError;
use super::way::HealWay;
use crate::ids::{CollectionId, InstanceId};
use crate::order::Rebuild;

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After this many failed repairs in a row, a copy is made anew.
const REPAIRS: u32 = 2;
/// The longest pause after failures that may have crashed the target.
const LONGEST_PAUSE_UNANSWERED: Duration = Duration::from_secs(3600);

pub(super) type Key = (CollectionId, InstanceId);

pub(super) fn key(rebuild: &Rebuild) -> Key {
    (rebuild.collection, rebuild.target)
}

/// A copy that could not be made for this long, because its instance was away for instance, counts as newly due.
const MISSED: Duration = Duration::from_secs(2);

/// What is known about a copy that is to be made.
#[derive(Debug)]
struct Due {
    since: Instant,
    /// When it was last possible to make it.
    seen: Instant,
    failures: u32,
    /// How many of the last failures, in a row, had a target that did not answer.
    unanswered: u32,
    /// How many attempts to repair it failed, in a row.
    repairs: u32,
    not_before: Instant,
}

/// The copy whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub rebuild: Rebuild,
    /// Since when it has been due.
    pub since: Instant,
    /// The way to try; a copy that cannot be repaired is made anew.
    pub way: HealWay,
}

impl Due {
    fn new(now: Instant) -> Due {
        Due { since: now, seen: now, failures: 0, unanswered: 0, repairs: 0, not_before: now }
    }

    fn way(&self) -> HealWay {
        if self.repairs < REPAIRS { HealWay::Repair } else { HealWay::Anew }
    }

    /// Returns how long to pause after this failure. A target that may die of the copy itself is left alone for longer
    /// each time.
    fn pause_after(&mut self, error: &HealError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let (exponent, longest) = match error {
            HealError::Unanswered(_) => {
                self.unanswered = self.unanswered.saturating_add(1);
                (2 * self.unanswered, LONGEST_PAUSE_UNANSWERED)
            }
            _ => {
                self.unanswered = 0;
                (self.failures, LONGEST_PAUSE)
            }
        };
        Duration::from_secs(1 << exponent.min(12)).min(longest)
    }
}

/// The copies that are to be made.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: HashMap<Key, Due>,
    under_way: HashSet<Key>,
}

impl Queue {
    /// Sets which copies are to be made now. A copy is remembered, with its failures and its pause, for as long as it is
    /// out of step: what makes it impossible for a moment, such as a rename of the collection or a settle time after an
    /// unanswered request, is no reason to try it sooner.
    pub fn is_now(&mut self, rebuilds: &[Rebuild], now: Instant, out_of_step: impl Fn(Key) -> bool) {
        let under_way = &self.under_way;
        self.due.retain(|key, _| under_way.contains(key) || out_of_step(*key));
        for rebuild in rebuilds {
            let due = self.due.entry(key(rebuild)).or_insert(Due::new(now));
            if now.saturating_duration_since(due.seen) > MISSED {
                due.since = now;
            }
            due.seen = now;
        }
    }

    /// Takes the next copy, if fewer than `most` are in progress: among collections with the fewest good copies, the
    /// one that has waited longest. Only one copy of a collection is made at a time: its lane is held for one, and what
    /// enters it is noted for one.
    pub fn next(
        &mut self,
        rebuilds: &[Rebuild],
        good: impl Fn(CollectionId) -> usize,
        (most, now): (usize, Instant),
    ) -> Option<Next> {
        if self.under_way.len() >= most {
            return None;
        }
        let waits = |rebuild: &&Rebuild| {
            let due = self.due.get(&key(rebuild));
            !self.is_under_way(rebuild.collection) && due.is_some_and(|due| due.not_before <= now)
        };
        let since = |rebuild: &Rebuild| self.due.get(&key(rebuild)).map_or(now, |due| due.since);
        let first = rebuilds.iter().filter(waits).min_by_key(|rebuild| (good(rebuild.collection), since(rebuild)));
        let (rebuild, since) = first.map(|first| (*first, since(first)))?;
        self.under_way.insert(key(&rebuild));
        let way = self.due.get(&key(&rebuild)).map_or(HealWay::Repair, Due::way);
        Some(Next { rebuild, since, way })
    }

    /// Returns whether this copy is being made now.
    pub fn is_being_made(&self, key: Key) -> bool {
        self.under_way.contains(&key)
    }

    fn is_under_way(&self, collection: CollectionId) -> bool {
        self.under_way.iter().any(|(of, _)| *of == collection)
    }

    /// Notes that the copy was left alone. It is considered again from `not_before` on.
    pub fn left(&mut self, rebuild: &Rebuild, not_before: Instant) {
        self.under_way.remove(&key(rebuild));
        if let Some(due) = self.due.get_mut(&key(rebuild)) {
            due.not_before = not_before;
        }
    }

    pub fn made(&mut self, rebuild: &Rebuild) {
        self.under_way.remove(&key(rebuild));
        if let Some(due) = self.due.get_mut(&key(rebuild)) {
            (due.failures, due.unanswered, due.repairs) = (0, 0, 0);
        }
    }

    /// Notes that a repair costs more than a new copy, which is made at once.
    pub fn not_worth_a_repair(&mut self, rebuild: &Rebuild, now: Instant) {
        self.under_way.remove(&key(rebuild));
        let due = self.due.entry(key(rebuild)).or_insert(Due::new(now));
        (due.repairs, due.not_before) = (REPAIRS, now);
    }

    pub fn failed(&mut self, rebuild: &Rebuild, (way, error): (HealWay, &HealError), now: Instant) {
        self.under_way.remove(&key(rebuild));
        let due = self.due.entry(key(rebuild)).or_insert(Due::new(now));
        due.not_before = now + due.pause_after(error);
        due.repairs += u32::from(way == HealWay::Repair && speaks_against_repair(error));
    }
}

/// Returns whether the failure counts against repairing the copy. Failures of the source, of the journal or through
/// other events show nothing about the copy.
fn speaks_against_repair(error: &HealError) -> bool {
    match error {
        HealError::Target(_)
        | HealError::Unanswered(_)
        | HealError::Definition
        | HealError::NotCopyable
        | HealError::TooDifferent { .. }
        | HealError::TooBusy
        | HealError::Foreign => true,
        HealError::Source(_) | HealError::Overtaken | HealError::HeldTooLong | HealError::Journal(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock;
    use crate::order::WaitId;

    fn rebuild(collection: u128, target: usize) -> Rebuild {
        let collection = CollectionId::new(Uuid::from_u128(collection));
        Rebuild { collection, source: InstanceId(0), target: InstanceId(target), wait: WaitId::default() }
    }

    #[test]
    fn a_target_that_does_not_answer_is_left_alone_for_longer_each_time() {
        let mut due = Due::new(clock::now());
        let mut seconds = |error| due.pause_after(&error).as_secs();
        let unanswered = || HealError::Unanswered(String::new());
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|_| seconds(unanswered())), [4, 16, 64, 256, 1024, 3600, 3600]);
        assert_eq!(seconds(HealError::TooBusy), 60);
        assert_eq!(seconds(unanswered()), 4, "it has answered meanwhile");
    }

    #[test]
    fn what_has_only_one_good_copy_comes_first_and_no_more_than_allowed_at_once() {
        let (mut queue, now) = (Queue::default(), clock::now());
        let all = [rebuild(1, 1), rebuild(2, 1), rebuild(3, 2)];
        queue.is_now(&all, now, |_| true);
        let good = |collection| if collection == all[1].collection { 1 } else { 2 };
        let next = |queue: &mut Queue| queue.next(&all, good, (2, now)).map(|next| next.rebuild);
        assert_eq!(next(&mut queue), Some(all[1]));
        assert_eq!(next(&mut queue), Some(all[0]));
        assert_eq!(next(&mut queue), None, "two are under way");
        queue.made(&all[1]);
        queue.failed(&all[0], (HealWay::Anew, &HealError::TooBusy), now);
        assert_eq!(next(&mut queue), Some(all[1]), "it has to be made still");
        assert_eq!(next(&mut queue), Some(all[2]), "the other one is left alone for a while");
    }

    #[test]
    fn two_copies_of_one_collection_are_made_one_after_the_other() {
        let (mut queue, now) = (Queue::default(), clock::now());
        let all = [rebuild(1, 1), rebuild(1, 2), rebuild(2, 2)];
        queue.is_now(&all, now, |_| true);
        let next = |queue: &mut Queue, at| queue.next(&all, |_| 1, (3, at)).map(|next| next.rebuild);
        let first = next(&mut queue, now).expect("one is due");
        let second = next(&mut queue, now).expect("another collection's is due");
        assert_ne!(first.collection, second.collection);
        assert_eq!(next(&mut queue, now), None, "one of each collection is under way");
        let ended = if first.collection == all[0].collection { first } else { second };
        queue.failed(&ended, (HealWay::Anew, &HealError::TooBusy), now);
        let other = next(&mut queue, now).expect("the collection's other copy");
        assert_eq!((other.collection, other.target == ended.target), (ended.collection, false));
        queue.made(&other);
        assert_eq!(next(&mut queue, now + LONGEST_PAUSE), Some(ended), "its turn comes again");
    }

    #[test]
    fn a_copy_that_is_impossible_for_a_moment_keeps_its_pause_and_its_turn() {
        let (mut queue, now) = (Queue::default(), clock::now());
        let (one, second) = (rebuild(1, 1), Duration::from_secs(1));
        queue.is_now(&[one], now, |_| true);
        let next = |queue: &mut Queue, at| queue.next(&[one], |_| 1, (1, at));
        queue.is_now(&[], now + second, |_| true);
        queue.is_now(&[one], now + 2 * second, |_| true);
        assert_eq!(
            next(&mut queue, now + 2 * second).map(|next| next.since),
            Some(now),
            "it has been due all the time"
        );
        // It may be what crashes the target, which then rests.
        queue.failed(&one, (HealWay::Anew, &HealError::Unanswered(String::new())), now + 2 * second);
        queue.is_now(&[], now + 3 * second, |_| true);
        queue.is_now(&[one], now + 4 * second, |_| true);
        assert_eq!(next(&mut queue, now + 4 * second), None, "four seconds are not over");
        let later = now + 60 * second;
        queue.is_now(&[one], later, |_| true);
        assert_eq!(next(&mut queue, later).map(|next| next.since), Some(later), "its instance was away");
    }

    #[test]
    fn a_copy_that_cannot_be_repaired_twice_is_made_anew() {
        let (mut queue, now) = (Queue::default(), clock::now());
        let (one, later) = (rebuild(1, 1), now + LONGEST_PAUSE);
        let way = |queue: &mut Queue| queue.next(&[one], |_| 1, (1, later)).map(|next| next.way);
        let failed = |queue: &mut Queue, error: HealError| queue.failed(&one, (HealWay::Repair, &error), now);
        queue.is_now(&[one], now, |_| true);
        assert_eq!(way(&mut queue), Some(HealWay::Repair));
        failed(&mut queue, HealError::Source(String::new()));
        assert_eq!(way(&mut queue), Some(HealWay::Repair));
        failed(&mut queue, HealError::Unanswered(String::new()));
        assert_eq!(way(&mut queue), Some(HealWay::Repair), "only one speaks against it");
        // It rests, since a write may still be executed.
        failed(&mut queue, HealError::TooBusy);
        queue.is_now(&[], now, |_| true);
        queue.is_now(&[one], now, |_| true);
        assert_eq!(way(&mut queue), Some(HealWay::Anew));
        queue.made(&one);
        assert_eq!(way(&mut queue), Some(HealWay::Repair), "another time");
        queue.not_worth_a_repair(&one, now);
        assert_eq!(way(&mut queue), Some(HealWay::Anew));
        queue.made(&one);
        queue.not_worth_a_repair(&one, now);
        queue.is_now(&[], now, |_| false);
        queue.is_now(&[one], now, |_| true);
        assert_eq!(way(&mut queue), Some(HealWay::Repair), "it was in step meanwhile");
    }
}
