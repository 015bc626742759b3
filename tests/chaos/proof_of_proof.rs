//! The proof of the proof: each rule that can be broken is broken, in a run made for it, and the breach is found.
//!
//! Each plan is data: a few faults, the right ones, and a fixed seed. It runs twice. With the rule broken, the checker
//! must find one of the breaches that the rule's `Case` states. With the rule kept, it must find nothing at all. A
//! finding that is not about a promise (a slow operation, a line in a log) does not count. Three quick ones run with
//! every `make test`, so that the proof is seen to fail each time.

use std::collections::BTreeMap;
use std::time::Duration;

use chroma_edge::proof::{CrashPoint as Named, Rule};

use super::loss::Loss;
use super::marks::Effect;
use super::plan::{Faults, Plan, Store};
use super::proof_points::CrashPoint;
use super::report::Report;
use super::requests::Mix;
use super::run;
use super::schedule::{Fault, Step, Target};
use testkit::checker::Breach;
use testkit::link::LinkFault;

/// For both runs of a rule: with the rule kept, instances are in sync within it; with it broken, they differ for good.
const PATIENCE: Duration = Duration::from_secs(20);

/// Processes are not deterministic: whether a breach meets a write is chance. So each case is repeated with another
/// seed.
const ATTEMPTS: u64 = 6;

/// A rule, and how its breach is found.
struct Case {
    seed: u64,
    lasting_ms: u64,
    /// Ids in use per collection. With few, writes conflict often; with many, a wrong record stays.
    pool: u64,
    /// When, on which target, which fault, and for how long, in milliseconds.
    faults: Vec<(u64, Target, Fault, u64)>,
    /// Breaches that count as found. Any of them is enough.
    caught_by: &'static [Breach],
}

/// The first instance executes. Its writes are replicated to the second.
const REPLICA: Target = Target::Instance(1);
const TO_REPLICA: Target = Target::ToInstance(1);

/// Restarts the edge, to die when a write has become durable, or just before if the write is executed first.
const APPENDED: Fault = Fault::Crash(CrashPoint(Named::AfterAppend), 6);

/// The replica is slow while a copy is made on it, so that clients write meanwhile.
const SLOW: Fault = Fault::Link(LinkFault::Delay(Duration::from_millis(40)));
const WIPE: Fault = Fault::Data(Loss::Wipe);
const ROLLED_BACK: (u64, Target, Fault, u64) = (1500, REPLICA, Fault::Data(Loss::Rollback), 100);

/// What an instance shows and holds if it diverges.
const ITS_OWN_CONTENT: &[Breach] =
    &[Breach::InstanceDiffers, Breach::DeletedReturns, Breach::NeverThere, Breach::StaleRead];
/// The same breaches, without stale reads.
const ANOTHER_CONTENT: &[Breach] = &[Breach::InstanceDiffers, Breach::DeletedReturns, Breach::NeverThere];

fn case(rule: Rule) -> Case {
    match rule {
        // What was acknowledged is not in the journal.
        Rule::JournalFirst => Case::new(
            1,
            4000,
            vec![
                (1500, Target::Edge, APPENDED, 4000),
                (5700, Target::Edge, APPENDED, 4000),
                (9900, Target::Edge, APPENDED, 4000),
                (14_100, Target::Edge, APPENDED, 4000),
            ],
            &[Breach::AcknowledgedMissing],
        ),
        // Answers of the replica are lost, and a range is executed twice there.
        Rule::ReplayOne => Case::new(
            2,
            8000,
            vec![
                (2000, TO_REPLICA, Fault::Link(LinkFault::CutResponse(0)), 600),
                (4000, TO_REPLICA, Fault::Link(LinkFault::HalfClose), 600),
                (6000, TO_REPLICA, Fault::Link(LinkFault::CutResponse(0)), 600),
            ],
            ANOTHER_CONTENT,
        )
        .with_pool(100),
        // The replica is slow: there are always neighbors that can be reordered.
        Rule::KeepOrder => Case::new(
            3,
            4500,
            vec![(1500, TO_REPLICA, Fault::Link(LinkFault::Delay(Duration::from_millis(60))), 2500)],
            ANOTHER_CONTENT,
        ),
        Rule::DropNothing => Case::new(4, 4500, vec![(1500, REPLICA, Fault::Kill, 2500)], ANOTHER_CONTENT),
        // The replica returns with a backlog, and serves before it has caught up.
        Rule::FreshReads => Case::new(5, 5000, vec![(1500, REPLICA, Fault::Stop, 2500)], &[Breach::StaleRead]),
        // Requests to the replica are cut off on their way. Then it hangs in the middle of some.
        Rule::RememberDoubt => Case::new(
            6,
            8000,
            vec![(1500, TO_REPLICA, Fault::Link(LinkFault::CutRequest(400)), 700), (3000, REPLICA, Fault::Stop, 4500)],
            ANOTHER_CONTENT,
        ),
        // Clients lose answers, and repeat their writes under the same id.
        Rule::OnceOnly => {
            Case::new(7, 3500, vec![(1500, Target::Clients, Fault::Link(LinkFault::HalfClose), 800)], &[Breach::Twice])
        }
        // The replica has a backlog, in which entries before a delete wait.
        Rule::DeleteInPlace => Case::new(8, 6000, vec![(1500, REPLICA, Fault::Stop, 3500)], ANOTHER_CONTENT),
        // Instances die of some writes, in company of others.
        Rule::SuspectBound => Case::new(
            9,
            8000,
            vec![(1500, Target::Instances, Fault::Marked(Effect::Kills), 5000)],
            &[Breach::TooManyDeaths],
        ),
        // The replica fails some writes that the first instance has applied.
        Rule::AppliedStands => {
            Case::new(10, 6000, vec![(1500, REPLICA, Fault::Marked(Effect::Fails), 3000)], &[Breach::InstanceDiffers])
        }
        Rule::CompareFirst | Rule::TailToo | Rule::HeldLane | Rule::DeletedToo => of_a_copy(rule),
    }
}

/// The replica's data are lost, and its copies are compared, or made anew while clients write.
fn of_a_copy(rule: Rule) -> Case {
    let rolled_back = vec![ROLLED_BACK];
    let wiped = vec![(1500, TO_REPLICA, SLOW, 400), (1600, REPLICA, WIPE, 100)];
    let (seed, faults) = if rule == Rule::CompareFirst { (11, rolled_back) } else { (12, wiped) };
    Case::new(seed, 5000, faults, ITS_OWN_CONTENT).with_pool(100)
}

/// The replica comes back a little older, behind a slow connection, and its copies are repaired while clients write.
fn of_a_repair() -> Case {
    let faults = vec![(1500, TO_REPLICA, SLOW, 400), ROLLED_BACK];
    Case::new(13, 5000, faults, ITS_OWN_CONTENT).with_pool(100)
}

impl Case {
    fn new(seed: u64, lasting_ms: u64, faults: Vec<(u64, Target, Fault, u64)>, caught_by: &'static [Breach]) -> Case {
        Case { seed, lasting_ms, pool: 20, faults, caught_by }
    }

    fn with_pool(self, pool: u64) -> Case {
        Case { pool, ..self }
    }

    fn plan(&self) -> Plan {
        let millis = Duration::from_millis;
        let step = |(at, target, fault, lasting): &(u64, Target, Fault, u64)| Step {
            at: millis(*at),
            target: *target,
            fault: *fault,
            lasting: millis(*lasting),
        };
        let faults = Faults::Given { instances: 2, steps: self.faults.iter().map(step).collect() };
        // In a collection that is dropped, only a read before the drop can show what went wrong.
        let mix = Mix { pool: self.pool, catalog: 1, marked: 10 };
        Plan { faults, mix, patience: PATIENCE, ..Plan::new(self.seed, millis(self.lasting_ms), Store::told()) }
    }

    /// Returns how often each breach that counts was found. A difference between instances counts only if the edge
    /// reports that nothing is left to do and nothing diverged. Otherwise the edge itself has reported it.
    fn caught(&self, report: &Report) -> BTreeMap<String, usize> {
        let mut caught = BTreeMap::new();
        let told = report.violations.iter().any(|violation| violation.kind == "NotInSync");
        for violation in &report.violations {
            let counts = |breach: &Breach| {
                violation.kind == format!("{breach:?}") && violation.promise == format!("{:?}", breach.promise())
            };
            let held = [Breach::InstanceDiffers, Breach::DeletedReturns].iter().any(counts);
            if self.caught_by.iter().any(counts) && !(held && told) {
                *caught.entry(format!("{} {}", violation.promise, violation.kind)).or_default() += 1;
            }
        }
        caught
    }
}

#[track_caller]
fn broken(rule: Rule) {
    broken_in(rule, &case(rule));
}

#[track_caller]
fn broken_in(rule: Rule, case: &Case) {
    let name = rule.breach();
    let mut kept = None;
    for attempt in 0..ATTEMPTS {
        let plan = case.plan();
        let plan = Plan { rule: Some(name.to_owned()), seed: plan.seed + attempt * 100, ..plan };
        let report = run::run(&plan);
        let caught = case.caught(&report);
        let told: Vec<String> = caught.iter().map(|(finding, times)| format!("{finding} ({times})")).collect();
        let took = report.took.as_secs_f64();
        if !caught.is_empty() {
            println!(
                "proof of the proof: {name}: {} faults, {took:.1} s, caught: {}",
                case.faults.len(),
                told.join(", ")
            );
            return;
        }
        kept = report.kept;
    }
    panic!("{name}: not noticed in {ATTEMPTS} runs: {kept:?}");
}

#[track_caller]
fn kept(rule: Rule) {
    kept_in(rule, &case(rule));
}

#[track_caller]
fn kept_in(rule: Rule, case: &Case) {
    let report = run::run(&case.plan());
    let (name, took) = (rule.breach(), report.took.as_secs_f64());
    assert!(report.violations.is_empty(), "{name}, kept: {} violations: {:?}", report.violations.len(), report.kept);
    println!("proof of the proof: {name}, kept: {took:.1} s, nothing found");
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn journal_after_execute() {
    broken(Rule::JournalFirst);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn journal_after_execute_kept() {
    kept(Rule::JournalFirst);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn replay_a_range() {
    broken(Rule::ReplayOne);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn replay_a_range_kept() {
    kept(Rule::ReplayOne);
}

#[test]
fn swap_two_entries() {
    broken(Rule::KeepOrder);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn swap_two_entries_kept() {
    kept(Rule::KeepOrder);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn drop_after_three_retries() {
    broken(Rule::DropNothing);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn drop_after_three_retries_kept() {
    kept(Rule::DropNothing);
}

#[test]
fn stale_reads() {
    broken(Rule::FreshReads);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn stale_reads_kept() {
    kept(Rule::FreshReads);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn forget_in_doubt() {
    broken(Rule::RememberDoubt);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn forget_in_doubt_kept() {
    kept(Rule::RememberDoubt);
}

#[test]
fn execute_twice() {
    broken(Rule::OnceOnly);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn execute_twice_kept() {
    kept(Rule::OnceOnly);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn late_delete_where() {
    broken(Rule::DeleteInPlace);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn late_delete_where_kept() {
    kept(Rule::DeleteInPlace);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn send_suspect_twice() {
    broken(Rule::SuspectBound);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn send_suspect_twice_kept() {
    kept(Rule::SuspectBound);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn reject_what_was_applied() {
    broken(Rule::AppliedStands);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn reject_what_was_applied_kept() {
    kept(Rule::AppliedStands);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn admit_without_compare() {
    broken(Rule::CompareFirst);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn admit_without_compare_kept() {
    kept(Rule::CompareFirst);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn skip_the_tail() {
    broken(Rule::TailToo);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn skip_the_tail_kept() {
    kept(Rule::TailToo);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn skip_the_tail_of_a_repair() {
    broken_in(Rule::TailToo, &of_a_repair());
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn skip_the_tail_of_a_repair_kept() {
    kept_in(Rule::TailToo, &of_a_repair());
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn switch_without_barrier() {
    broken(Rule::HeldLane);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn switch_without_barrier_kept() {
    kept(Rule::HeldLane);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn copy_resurrects_deleted() {
    broken(Rule::DeletedToo);
}

#[test]
#[ignore = "run by make proof-of-proof"]
fn copy_resurrects_deleted_kept() {
    kept(Rule::DeletedToo);
}
