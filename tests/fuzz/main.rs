//! Malformed bytes for everything that parses bytes from outside: mutations of real ones, drawn from a seed.
//!
//! `make test` draws a few of each kind; `make fuzz` runs for a given time. A failure is printed with the seed that
//! reproduces it: `make fuzz SEED=n SECONDS=1`. `targets.rs` defines what each result must be.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail by panic")]

mod corpus;
mod draw;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use chroma_edge::clock::processor_time;
use testkit::random::{Random, fresh};

use targets::{TARGETS, Target};

/// The number of inputs of each kind in `make test`.
const FEW: u64 = 1500;
/// The limit on processor time: no input of these sizes takes this long.
const SLOW: Duration = Duration::from_secs(2);

/// Returns what is wrong with the input of this seed.
fn wrong(target: &Target, seed: u64) -> Option<String> {
    let started = processor_time();
    let run = || (target.run)(&mut Random::scattered(seed));
    let panicked = catch_unwind(AssertUnwindSafe(run)).err().map(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without a text").to_owned()
    });
    let took = processor_time() - started;
    panicked.or_else(|| (took > SLOW).then(|| format!("it took {took:?}")))
}

fn run(target: &Target, seeds: impl Iterator<Item = u64>, found: &mut Vec<String>) {
    let wrong = seeds.filter_map(|seed| Some(format!("{} FUZZ_SEED={seed}: {}", target.name, wrong(target, seed)?)));
    found.extend(wrong.take(3));
}

#[test]
fn nothing_that_is_read_takes_the_edge_by_surprise() {
    let first = testkit::random::seed();
    let mut found = Vec::new();
    for target in TARGETS {
        run(target, first..first + FEW, &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// `make fuzz`.
#[test]
#[ignore = "it runs for as long as it is told"]
fn as_told() {
    let told = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let until = Instant::now() + Duration::from_secs(told("FUZZ_SECONDS").unwrap_or(60));
    let first = told("FUZZ_SEED").unwrap_or_else(fresh);
    let (mut found, mut seed) = (Vec::new(), first);
    println!("FUZZ_SEED={first}");
    while Instant::now() < until && found.is_empty() {
        for target in TARGETS {
            run(target, seed..seed + 200, &mut found);
        }
        seed += 200;
    }
    println!("{} inputs of each of {} kinds", seed - first, TARGETS.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
}
