//! Correct runs pass, corrupted ones are caught, and checking is fast.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::corrupt::ALL;
use super::generate::correct;
use super::toy::{Numbers, State, Toy, passes};
use testkit::checker::history::{Lifetime, Semantics};
use testkit::checker::{Breach, check};
use testkit::random::Random;

const SEEDS: u64 = 300;

#[test]
fn every_correct_run_passes() {
    let mut total = [0; 6];
    for seed in 0..SEEDS {
        let truth = correct(seed, 120, 80);
        let findings = check(&Numbers, &truth.run);
        assert!(findings.violations.is_empty(), "seed {seed}: {findings}");
        let counted = findings.summary;
        let counts = [
            counted.acknowledged,
            counted.unknown_applied,
            counted.unknown - counted.unknown_applied,
            counted.rejected + counted.void,
            counted.reads_of_nothing,
            counted.records_compared,
        ];
        total.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    assert!(total.iter().all(|count| *count > 500), "too little of something: {total:?}");
}

#[test]
fn every_corruption_of_a_correct_run_is_caught() {
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    let mut kinds: BTreeMap<Breach, u32> = BTreeMap::new();
    for seed in 0..SEEDS {
        let truth = correct(seed, 120, 30);
        passes(&truth.run);
        for (name, corrupt, expected) in ALL {
            let mut random = Random::new(seed);
            let Some(corrupted) = corrupt(&truth, &mut random) else { continue };
            *done.entry(name).or_default() += 1;
            let findings = check(&Numbers, &corrupted);
            let caught = expected.iter().find(|breach| findings.has(**breach));
            let Some(caught) = caught else { panic!("seed {seed}: {name}, and it is not found: {findings}") };
            *kinds.entry(*caught).or_default() += 1;
        }
    }
    for (name, _, _) in ALL {
        assert!(done.get(name).is_some_and(|count| *count >= 30), "too seldom: {name} in {done:?}");
    }
    let never: Vec<_> = Breach::ALL.into_iter().filter(|breach| !kinds.contains_key(breach)).collect();
    assert!(never.is_empty(), "never seen: {never:?}");
}

/// The toy model, with a count of comparisons.
struct Counting(Cell<u64>);

impl Semantics for Counting {
    type Write = Toy;
    type State = State;

    fn apply(&self, state: &mut State, write: &Toy) {
        Numbers.apply(state, write);
    }

    fn lifetimes(&self, write: &Toy) -> Vec<Lifetime> {
        Numbers.lifetimes(write)
    }

    fn agreement(&self, content: &State, shown: &State) -> u8 {
        self.0.set(self.0.get() + 1);
        u8::from(content == shown)
    }
}

/// A read is compared with the contents in its window, not with all contents that ever existed.
#[test]
fn a_large_run_takes_few_comparisons() {
    let truth = correct(1, 20_000, 5_000);
    let model = Counting(Cell::new(0));
    let findings = check(&model, &truth.run);
    assert!(findings.violations.is_empty(), "{findings}");
    assert!(model.0.get() < 5_000 * 20, "{} comparisons", model.0.get());
}
