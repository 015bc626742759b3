//! Operations finish while faults are tolerable: while one instance, the edge and the journal are untouched, nothing
//! fails and nothing takes long, whatever happens to the other instances.
//!
//! A part counts as touched from the beginning of a fault until it has had time to recover. Everything that an
//! operation needs must be untouched for the operation's whole time.

use std::time::Duration;

use super::driver::{Disturbance, Part};
use super::history::{Kind, Operation};
use super::report::Violation;
use testkit::checker::history::{Outcome, Tick};

/// How long a part may still be recovering after a fault: a start and the settle time, probes and the backlog, a lease
/// and a new connection, on a machine that is busy with all of this.
const RECOVERY: Duration = Duration::from_secs(6);
/// How long an operation may take while faults are tolerable: an instance hangs until the probes notice, and what was
/// sent to it is executed elsewhere.
pub const BOUND: Duration = Duration::from_secs(10);

/// Returns the operations that failed or were slow without an excuse, and the number of operations that had none.
pub fn check(history: &[Operation], disturbances: &[Disturbance], instances: usize) -> (Vec<Violation>, u64) {
    let (mut violations, mut judged) = (Vec::new(), 0);
    // The time limit does not apply to marked writes.
    for one in history.iter().filter(|one| one.kind != Kind::Marked) {
        let untouched = |part| is_untouched(disturbances, part, one.invoked, one.ended);
        let some_instance = || (0..instances).any(|index| untouched(Part::Instance(index)));
        if !untouched(Part::Edge) || !untouched(Part::Journal) || !some_instance() {
            continue;
        }
        judged += 1;
        let took = Duration::from_nanos(one.ended - one.invoked);
        let failed = match &one.outcome {
            Outcome::Unknown(why) => Some(format!("its outcome is unknown: {why}")),
            Outcome::Refused(why) if is_failure(why) => Some(format!("it failed: {why}")),
            _ if took > BOUND => Some(format!("it took {took:?}")),
            _ => None,
        };
        if let Some(why) = failed {
            let at = one.invoked as f64 / 1e9;
            let asked: String = one.asked.chars().take(160).collect();
            let what = format!("{} {} at {at:.2} s for {took:.2?}: {why}: {asked}", one.kind, one.token);
            violations.push(Violation::of("What happens when", "Liveness", what));
        }
    }
    (violations, judged)
}

/// Chroma's own refusals are answers. For a name that is taken, its refusal is a 500.
fn is_failure(why: &str) -> bool {
    why.starts_with('5') && !why.contains("UNIQUE constraint failed")
}

fn is_untouched(disturbances: &[Disturbance], part: Part, from: Tick, to: Tick) -> bool {
    let recovery = u64::try_from(RECOVERY.as_nanos()).expect("seconds");
    let mine = disturbances.iter().filter(|one| one.part == part);
    mine.into_iter().all(|one| to < one.from || one.to + recovery < from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn operation(from: u64, to: u64, outcome: Outcome) -> Operation {
        Operation {
            worker: 0,
            kind: Kind::Add,
            token: "w0-1".to_owned(),
            asked: String::new(),
            invoked: from * SECOND,
            ended: to * SECOND,
            outcome,
            sent: 1,
            shown: None,
        }
    }

    fn touched(part: Part, from: u64, to: u64) -> Disturbance {
        Disturbance { part, from: from * SECOND, to: to * SECOND, what: String::new() }
    }

    fn failed() -> Outcome {
        Outcome::Refused("503 no_instance_available".to_owned())
    }

    #[test]
    fn one_untouched_instance_is_enough_to_be_asked_for_an_answer() {
        let one_away = [touched(Part::Instance(0), 10, 20)];
        let (violations, judged) = check(&[operation(12, 13, failed())], &one_away, 2);
        assert_eq!((violations.len(), judged), (1, 1));
        let both_away = [touched(Part::Instance(0), 10, 20), touched(Part::Instance(1), 12, 13)];
        assert_eq!(check(&[operation(12, 13, failed())], &both_away, 2).1, 0);
    }

    #[test]
    fn who_recovers_is_excused_and_later_is_not() {
        let edge = [touched(Part::Edge, 10, 12)];
        assert_eq!(check(&[operation(17, 18, failed())], &edge, 2), (Vec::new(), 0));
        assert_eq!(check(&[operation(19, 20, failed())], &edge, 2).0.len(), 1);
        assert_eq!(check(&[operation(8, 11, failed())], &edge, 2).1, 0);
    }

    #[test]
    fn a_long_wait_an_unknown_outcome_and_no_other_refusal_are_violations() {
        let refused = |why: &str| Outcome::Refused(why.to_owned());
        let found = |operation| check(&[operation], &[], 2).0.len();
        assert_eq!(found(operation(0, 11, Outcome::Acknowledged)), 1);
        assert_eq!(found(operation(0, 1, Outcome::Unknown("lost".to_owned()))), 1);
        assert_eq!(found(operation(0, 9, Outcome::Acknowledged)), 0);
        assert_eq!(found(operation(0, 1, refused("404 Collection does not exist"))), 0);
        assert_eq!(found(operation(0, 1, refused("500 UNIQUE constraint failed"))), 0);
    }
}
