//! Seeded simulation of the board (docs/rules.md): model instances, a journal in memory, and a shell that carries
//! out what the board decides late, in random order, losing answers, instances and itself on the way.
//!
//! `SIM_SEED=n` repeats one seed with its events; `SIM_SEEDS` and `SIM_STEPS` say how much is run.

#![allow(clippy::expect_used, reason = "a test may fail by panic")]

mod assumptions;
mod body;
mod catalog_shell;
mod clients;
mod counters;
mod edge;
mod ending;
mod events;
mod instance;
mod invariants;
mod journal;
mod load;
mod older;
mod requests;
mod rng;
mod strays;
mod taint;
mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use assumptions::Assumptions;
use counters::Counters;
use world::World;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs one seed to its end; `Err` is a complete report.
fn run(seed: u64, steps: u64, assumptions: Assumptions) -> Result<Counters, String> {
    attempt(seed, steps, assumptions, false).or_else(|_| attempt(seed, steps, assumptions, true))
}

fn attempt(seed: u64, steps: u64, assumptions: Assumptions, traced: bool) -> Result<Counters, String> {
    let mut world = World::new(seed, assumptions, traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..steps {
            world.advance();
        }
        world.finish();
    }));
    match outcome {
        Ok(()) => Ok(world.counters.clone()),
        Err(cause) => {
            let text = cause.downcast_ref::<String>().cloned();
            let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(world.report(seed, &text.unwrap_or_default()))
        }
    }
}

#[test]
fn every_seed_keeps_the_rules() {
    let steps = number("SIM_STEPS").unwrap_or(2000);
    if let Some(seed) = number("SIM_SEED") {
        match run(seed, steps, Assumptions::KEPT) {
            Ok(counters) => println!("{counters}"),
            Err(report) => panic!("{report}"),
        }
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(256);
    let next = AtomicU64::new(0);
    let total = Mutex::new(Counters::default());
    let failures = Mutex::new(Vec::new());
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    match run(seed, steps, Assumptions::KEPT) {
                        Ok(counters) => total.lock().unwrap().add(&counters),
                        Err(report) => failures.lock().unwrap().push(report),
                    }
                }
            });
        }
    });
    std::panic::set_hook(quiet);
    let failures = failures.into_inner().unwrap();
    let total = total.into_inner().unwrap();
    println!("{total}");
    if let Some(first) = failures.iter().min_by_key(|report| report.len()) {
        let heads: Vec<_> = failures.iter().filter_map(|report| report.lines().next()).collect();
        panic!("{} of {seeds} seeds failed:\n{}\n\n{first}", failures.len(), heads.join("\n"));
    }
    if seeds >= 256 && steps >= 1000 {
        assert_eq!(total.never_taken(), Vec::<&str>::new(), "paths that no seed took");
    }
}
