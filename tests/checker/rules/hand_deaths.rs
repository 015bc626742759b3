//! Deaths and quarantines: how many deaths a write may cause, and what is set aside.

use super::toy::{Toy, ToyRun, acked, caught, content, entry, instance, passes, read, refused, told, unknown};
use testkit::checker::Breach;
use testkit::checker::history::{Death, Outcome, Status, Verdict, Vouching};

const PUT: Toy = Toy::Put("a", 1);

/// Returns a run with one write: its outcome and verdict, and the instances that died of it.
fn deadly(outcome: Outcome, verdict: Verdict, vouching: Vouching, died: &[&str]) -> ToyRun {
    let mut run = ToyRun::default();
    told(&mut run, "w", 10, 20, outcome);
    entry(&mut run, "w", verdict, Status::Done, PUT);
    let death = |instance: &&str| Death { token: "w".to_owned(), instance: (*instance).to_owned(), vouching };
    run.deaths = died.iter().map(death).collect();
    run
}

#[test]
fn one_server_dies_of_a_write_twice_at_most() {
    let unvouched = |died: &[&str]| deadly(refused(), Verdict::Quarantined, Vouching::Unvouched, died);
    for died in [&[][..], &["one"], &["one", "one"]] {
        assert_eq!(passes(&unvouched(died)).summary.deaths, died.len());
    }
    let text = caught(&unvouched(&["one", "two"]), Breach::TooManyDeaths);
    assert!(text.contains("G11") && text.contains("token w") && text.contains("seq 1"), "{text}");
    caught(&unvouched(&["one", "one", "one"]), Breach::TooManyDeaths);
    // The verdict makes no difference.
    caught(&deadly(unknown(), Verdict::Applied, Vouching::Unvouched, &["one", "two"]), Breach::TooManyDeaths);
}

#[test]
fn what_is_vouched_for_may_cost_another_server_its_life_and_no_third() {
    let vouched = |died: &[&str]| deadly(refused(), Verdict::Quarantined, Vouching::Vouched, died);
    passes(&vouched(&["one", "two", "two"]));
    caught(&vouched(&["one", "two", "three"]), Breach::TooManyDeaths);
    caught(&vouched(&["one", "two", "two", "one"]), Breach::TooManyDeaths);
}

#[test]
fn deaths_of_different_writes_are_counted_apart() {
    let mut run = deadly(refused(), Verdict::Quarantined, Vouching::Unvouched, &["one", "one"]);
    told(&mut run, "v", 30, 40, refused());
    entry(&mut run, "v", Verdict::Quarantined, Status::Done, PUT);
    let death =
        |token: &str| Death { token: token.to_owned(), instance: "two".to_owned(), vouching: Vouching::Unvouched };
    run.deaths.extend([death("v"), death("v")]);
    assert_eq!(passes(&run).summary.quarantined, 2);
    // Also for a write that the journal does not have.
    run.deaths.extend(["x", "x", "x"].map(death));
    caught(&run, Breach::TooManyDeaths);
}

#[test]
fn what_is_quarantined_has_no_effect_and_was_never_acknowledged() {
    let quarantined = |outcome| deadly(outcome, Verdict::Quarantined, Vouching::Unvouched, &["one"]);
    passes(&quarantined(refused()));
    passes(&quarantined(unknown()));
    caught(&quarantined(Outcome::Acknowledged), Breach::AcknowledgedNotApplied);
    caught(&quarantined(Outcome::Found), Breach::AcknowledgedNotApplied);
    let mut run = quarantined(refused());
    acked(&mut run, "b", 30, 40, Toy::Put("b", 2));
    read(&mut run, 50, 60, content(&[("b", 2)]));
    instance(&mut run, "good", &[("x", &[("b", 2)])]);
    passes(&run);
    let mut shown = run.clone();
    read(&mut shown, 50, 60, content(&[("a", 1), ("b", 2)]));
    caught(&shown, Breach::NeverThere);
    instance(&mut run, "other", &[("x", &[("a", 1), ("b", 2)])]);
    caught(&run, Breach::InstanceDiffers);
}
