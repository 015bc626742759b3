//! A hostile client: mutated requests of every kind, one at a time, to real servers under supervisors.
//!
//! [`arena`] performs the checks after each one. This module decides which requests are sent. `make hostile` draws them
//! from a seed for a given time: every other run uses the edge's own limits, the others use raised ones.

mod arena;
mod catalog;
mod odd;
mod plan;
mod records;
mod rows;

use std::time::{Duration, Instant};

use testkit::random::Random;

use arena::{Arena, Limits};
use rows::ROWS;

/// As a rule a request is answered within this time.
const SOON: Duration = Duration::from_secs(2);
/// No request that the default limits let through keeps a server busy for longer.
const SLOWEST: Duration = Duration::from_secs(15);

/// Runs from this seed for this long. Returns what went wrong, with what is needed to repeat it.
fn run(seed: u64, time: Duration) -> Vec<String> {
    let mut random = Random::scattered(seed);
    let mut arena = Arena::open(if seed % 2 == 1 { Limits::Raised } else { Limits::Default });
    let (started, mut wrong, mut n) = (Instant::now(), Vec::new(), 0);
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    while started.elapsed() < time {
        let plan = plan::draw(&mut random, &arena.room);
        let suffered = arena.suffer(&plan);
        suffered.statuses.iter().for_each(|status| *statuses.entry(*status).or_default() += 1);
        if !suffered.wrong.is_empty() {
            let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
            let found = format!("{n}: {steps:#?}: {:#?}", suffered.wrong);
            println!("HOSTILE_SEED={seed} {found}");
            wrong.push(found);
        }
        n += 1;
    }
    let deaths = arena.deaths();
    wrong.extend(arena.end());
    println!("HOSTILE_SEED={seed}: {n} plans, deaths {deaths:?}, answers {statuses:?}, {} found", wrong.len());
    wrong
}

/// Requests that once took servers, lanes or the catalog down, and their neighbors: the edge or the servers refuse
/// them, and no server dies.
#[test]
fn what_took_everything_down_and_its_neighbours() {
    const EACH: usize = 8;
    let mut random = Random::scattered(testkit::random::seed());
    let mut arena = Arena::open(Limits::Default);
    let (mut wrong, mut took) = (Vec::new(), Vec::new());
    for row in &ROWS {
        let started = Instant::now();
        for _ in 0..EACH {
            let plan = (row.draw)(&mut random, &arena.room);
            let suffered = arena.suffer(&plan);
            took.extend(suffered.took);
            let steps = || plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>();
            wrong.extend(suffered.wrong.iter().map(|one| format!("{}: {:?}: {one}", row.name, steps())));
        }
        println!("{}: {:?}", row.name, started.elapsed());
    }
    wrong.extend(arena.end());
    let soon = took.iter().filter(|took| **took < SOON).count();
    println!("{soon} of {} requests were answered within {SOON:?}", took.len());
    assert!(took.iter().all(|took| *took < SLOWEST), "one took {:?}", took.iter().max());
    assert!(soon * 10 >= took.len() * 9, "only {soon} of {} requests were answered within {SOON:?}", took.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One seed with the edge's own limits, and one with limits that let deadly requests through.
#[test]
fn what_was_found_stays_found() {
    for seed in [1, 2] {
        let wrong = run(seed, Duration::from_secs(12));
        assert!(wrong.is_empty(), "HOSTILE_SEED={seed}: {}", wrong.join("\n"));
    }
}

/// `make hostile`.
#[test]
#[ignore = "it runs for as long as it is told"]
fn as_told() {
    let told = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = told("HOSTILE_SECONDS").unwrap_or(120);
    let first = told("HOSTILE_SEED").unwrap_or_else(testkit::random::fresh);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut wrong = Vec::new();
    for seed in first.. {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let found = run(seed, left.min(Duration::from_secs(60)));
        wrong.extend(found.into_iter().map(|one| format!("HOSTILE_SEED={seed} {one}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
