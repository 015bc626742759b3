//! Which deaths of marked writes an edge could see and note. Only those are judged.
//!
//! An edge that ends between a death and its note forgets the death (docs/decisions/0025), and so does one that cannot
//! write to its journal. An edge that does not reach the instance for another reason may not see the death.

use std::time::Duration;

use super::driver::{Disturbance, Part};
use super::marks::Met;

/// How long it may take until a death is seen and its note is durable.
pub const NOTED: Duration = Duration::from_secs(3);

/// Returns the deaths that count.
pub fn noted(all: Vec<Met>, disturbances: &[Disturbance]) -> Vec<Met> {
    let soon = u64::try_from(NOTED.as_nanos()).expect("seconds");
    let meant = |part: Part, met: &Met| match part {
        Part::Instance(index) => index == met.instance,
        Part::Edge | Part::Journal => true,
    };
    let forgets = |met: &Met, one: &Disturbance| meant(one.part, met) && one.from <= met.at + soon && met.at <= one.to;
    all.into_iter().filter(|met| !disturbances.iter().any(|one| forgets(met, one))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::marks::{Effect, Mark};
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn counts(at: u64, part: Part, (from, to): (u64, u64)) -> bool {
        let mark = Mark { effect: Effect::Kills, number: 1 };
        let met = Met { mark, token: "w0-1".to_owned(), instance: 1, at: at * SECOND };
        let one = Disturbance { part, from: from * SECOND, to: to * SECOND, what: String::new() };
        !noted(vec![met], &[one]).is_empty()
    }

    #[test]
    fn what_an_edge_could_not_note_does_not_count() {
        for (at, counts_then) in [(6, true), (8, false), (10, false), (20, false), (21, true)] {
            assert_eq!(counts(at, Part::Edge, (10, 20)), counts_then, "{at}");
            assert_eq!(counts(at, Part::Journal, (10, 20)), counts_then, "{at}");
            assert_eq!(counts(at, Part::Instance(1), (10, 20)), counts_then, "{at}");
            assert!(counts(at, Part::Instance(0), (10, 20)), "another instance");
        }
    }
}
