//! Writes, order, finality and instances: for each kind of violation, a run that has it and one that does not.

use super::toy::{
    CATALOG, Toy, ToyRun, acked, acked_in, caught, content, entry, entry_in, instance, passes, read, refused, told,
    unknown,
};
use testkit::checker::Breach;
use testkit::checker::history::{Outcome, Status, Verdict};

const PUT: Toy = Toy::Put("a", 1);

fn one(outcome: Outcome, entries: &[(Verdict, Status)]) -> ToyRun {
    let mut run = ToyRun::default();
    told(&mut run, "w", 10, 20, outcome);
    for (verdict, status) in entries {
        entry(&mut run, "w", *verdict, *status, PUT);
    }
    run
}

#[test]
fn an_acknowledged_write_is_in_the_journal_once_and_applied() {
    use Outcome::Acknowledged;
    passes(&one(Acknowledged, &[(Verdict::Applied, Status::Done)]));
    caught(&one(Acknowledged, &[]), Breach::AcknowledgedMissing);
    caught(&one(Acknowledged, &[(Verdict::Rejected, Status::Done)]), Breach::AcknowledgedNotApplied);
    caught(&one(Acknowledged, &[(Verdict::Void, Status::Done)]), Breach::AcknowledgedNotApplied);
    caught(&one(Acknowledged, &[(Verdict::Applied, Status::Done); 2]), Breach::Twice);
}

#[test]
fn a_found_one_may_have_left_nothing_but_was_not_refused() {
    passes(&one(Outcome::Found, &[]));
    passes(&one(Outcome::Found, &[(Verdict::Void, Status::Done)]));
    passes(&one(Outcome::Found, &[(Verdict::Applied, Status::Done)]));
    caught(&one(Outcome::Found, &[(Verdict::Rejected, Status::Done)]), Breach::AcknowledgedNotApplied);
    caught(&one(Outcome::Found, &[(Verdict::Void, Status::Done); 2]), Breach::Twice);
}

#[test]
fn a_refused_write_has_no_effect_now_or_later() {
    passes(&one(refused(), &[]));
    passes(&one(refused(), &[(Verdict::Rejected, Status::Done)]));
    passes(&one(refused(), &[(Verdict::Void, Status::Done)]));
    let text = caught(&one(refused(), &[(Verdict::Applied, Status::Done)]), Breach::RefusedHasEffect);
    assert!(text.contains("G7") && text.contains("token w") && text.contains("seq 1"), "{text}");
    let open = testkit::checker::check(&super::toy::Numbers, &one(refused(), &[(Verdict::Open, Status::Pending)]));
    assert!(open.has(Breach::RefusedHasEffect) && open.has(Breach::NotSettled), "{open}");
}

#[test]
fn an_unknown_write_happened_at_most_once() {
    passes(&one(unknown(), &[]));
    passes(&one(unknown(), &[(Verdict::Applied, Status::Done)]));
    passes(&one(unknown(), &[(Verdict::Rejected, Status::Abandoned)]));
    passes(&one(unknown(), &[(Verdict::Void, Status::Abandoned)]));
    caught(&one(unknown(), &[(Verdict::Applied, Status::Done); 2]), Breach::Twice);
    caught(&one(unknown(), &[(Verdict::Applied, Status::Done), (Verdict::Rejected, Status::Abandoned)]), Breach::Twice);
}

#[test]
fn every_entry_is_somebodys() {
    let mut run = one(Outcome::Acknowledged, &[(Verdict::Applied, Status::Done)]);
    entry(&mut run, "nobody", Verdict::Rejected, Status::Done, PUT);
    caught(&run, Breach::NobodyAsked);
}

#[test]
fn every_entry_is_final_and_says_so_truly() {
    caught(&one(unknown(), &[(Verdict::Open, Status::Pending)]), Breach::NotSettled);
    caught(&one(unknown(), &[(Verdict::Open, Status::Done)]), Breach::NotSettled);
    caught(&one(unknown(), &[(Verdict::Applied, Status::Pending)]), Breach::WrongStatus);
    caught(&one(refused(), &[(Verdict::Rejected, Status::Pending)]), Breach::WrongStatus);
    caught(&one(unknown(), &[(Verdict::Applied, Status::Abandoned)]), Breach::WrongStatus);
    caught(&one(Outcome::Found, &[(Verdict::Void, Status::Abandoned)]), Breach::AcknowledgedAbandoned);
}

/// Two writes of different lanes. The first in the journal began last.
fn crossed(ended: u64, invoked: u64, first: Outcome) -> ToyRun {
    let mut run = ToyRun::default();
    told(&mut run, "late", invoked, invoked + 50, first);
    entry(&mut run, "late", Verdict::Applied, Status::Done, PUT);
    acked_in(&mut run, "y", "early", ended - 5, ended, PUT);
    run
}

#[test]
fn what_began_after_an_acknowledgement_stands_behind_it_in_every_lane() {
    passes(&crossed(20, 19, Outcome::Acknowledged));
    // At one moment is concurrent.
    passes(&crossed(20, 20, Outcome::Acknowledged));
    let text = caught(&crossed(20, 21, Outcome::Acknowledged), Breach::OrderReversed);
    assert!(text.contains("early") && text.contains("seq 2") && text.contains("token late"), "{text}");
    // It must follow what was acknowledged, whatever its own client was answered.
    caught(&crossed(20, 21, unknown()), Breach::OrderReversed);
}

#[test]
fn what_its_client_was_not_told_orders_nothing() {
    let mut run = ToyRun::default();
    told(&mut run, "late", 100, 150, Outcome::Acknowledged);
    entry(&mut run, "late", Verdict::Applied, Status::Done, PUT);
    told(&mut run, "early", 10, 20, unknown());
    entry(&mut run, "early", Verdict::Applied, Status::Done, PUT);
    passes(&run);
}

#[test]
fn instances_hold_the_fold() {
    let mut run = ToyRun::default();
    acked_in(&mut run, CATALOG, "create", 1, 2, Toy::Create("x".to_owned()));
    acked_in(&mut run, CATALOG, "create y", 1, 2, Toy::Create("y".to_owned()));
    acked(&mut run, "a", 3, 4, Toy::Put("a", 1));
    acked(&mut run, "b", 5, 6, Toy::Put("b", 2));
    acked(&mut run, "odd", 7, 8, Toy::RemoveOdd);
    acked_in(&mut run, "y", "c", 9, 10, Toy::Put("c", 3));
    acked_in(&mut run, CATALOG, "drop y", 11, 12, Toy::Drop("y".to_owned()));
    instance(&mut run, "good", &[("x", &[("b", 2)])]);
    let findings = passes(&run);
    assert_eq!((findings.summary.compared, findings.summary.records_compared), (1, 1));

    let with = |lanes: &[(&str, &[(&'static str, u64)])]| {
        let mut run = run.clone();
        instance(&mut run, "other", lanes);
        run
    };
    let text = caught(&with(&[("x", &[("b", 3)])]), Breach::InstanceDiffers);
    assert!(text.contains("instance other") && text.contains("lane x") && text.contains("seq 5"), "{text}");
    caught(&with(&[("x", &[])]), Breach::InstanceDiffers);
    caught(&with(&[("x", &[("b", 2), ("never", 1)])]), Breach::InstanceDiffers);
    caught(&with(&[("x", &[("b", 2), ("a", 1)])]), Breach::DeletedReturns);
    caught(&with(&[]), Breach::InstanceLacks);
    caught(&with(&[("x", &[("b", 2)]), ("z", &[("q", 1)])]), Breach::InstanceHasMore);
    caught(&with(&[("x", &[("b", 2)]), ("y", &[])]), Breach::DeletedReturns);
    passes(&with(&[("x", &[("b", 2)]), (CATALOG, &[])]));
    caught(&with(&[("x", &[("b", 2)]), (CATALOG, &[("q", 1)])]), Breach::InstanceDiffers);

    let mut diverged = with(&[("x", &[("b", 3)])]);
    diverged.diverged.insert(("other".to_owned(), "x".to_owned()));
    assert_eq!(passes(&diverged).summary.diverged, 1);
}

#[test]
fn an_empty_collection_is_a_collection() {
    let mut run = ToyRun::default();
    acked_in(&mut run, CATALOG, "create", 1, 2, Toy::Create("x".to_owned()));
    instance(&mut run, "good", &[("x", &[])]);
    passes(&run);
    instance(&mut run, "without it", &[]);
    caught(&run, Breach::InstanceLacks);
}

#[test]
fn a_run_that_cannot_have_happened_is_no_proof() {
    let good = one(Outcome::Acknowledged, &[(Verdict::Applied, Status::Done)]);
    let mut run = good.clone();
    told(&mut run, "w", 10, 20, Outcome::Acknowledged);
    caught(&run, Breach::Malformed);
    let mut run = good.clone();
    run.writes[0].ended = 9;
    caught(&run, Breach::Malformed);
    let mut run = good.clone();
    read(&mut run, 30, 29, content(&[("a", 1)]));
    caught(&run, Breach::Malformed);
    let mut run = good;
    entry_in(&mut run, "x", "v", Verdict::Applied, Status::Done, PUT);
    told(&mut run, "v", 10, 20, unknown());
    run.journal.reverse();
    caught(&run, Breach::Malformed);
}

#[test]
fn what_is_counted_is_what_was_there() {
    let mut run = one(Outcome::Acknowledged, &[(Verdict::Applied, Status::Done)]);
    told(&mut run, "u", 10, 90, unknown());
    entry(&mut run, "u", Verdict::Applied, Status::Done, PUT);
    told(&mut run, "v", 10, 20, unknown());
    told(&mut run, "r", 10, 20, refused());
    entry(&mut run, "r", Verdict::Rejected, Status::Done, PUT);
    told(&mut run, "f", 10, 20, Outcome::Found);
    entry(&mut run, "f", Verdict::Void, Status::Done, PUT);
    let counted = passes(&run).summary;
    let outcomes = [counted.writes, counted.acknowledged, counted.found, counted.refused, counted.unknown];
    assert_eq!(outcomes, [5, 1, 1, 1, 2]);
    assert_eq!([counted.entries, counted.applied, counted.rejected, counted.void, counted.open], [4, 2, 1, 1, 0]);
    assert_eq!((counted.unknown_applied, counted.longest_wait), (1, 80));
}
