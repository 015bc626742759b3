//! Reads: what a read may show, and each way to show something else.

use super::toy::{
    CATALOG, State, Toy, ToyRun, acked, acked_in, caught, content, entry, passes, read, refused, told, unknown,
};
use testkit::checker::Breach;
use testkit::checker::history::{Outcome, Shown, Status, Verdict};

/// A collection, with `a` = 2, 4 and 6 put at 10 to 20, 30 to 40, 50 to 60.
fn three() -> ToyRun {
    let mut run = ToyRun::default();
    acked_in(&mut run, CATALOG, "create", 1, 5, Toy::Create("x".to_owned()));
    acked(&mut run, "first", 10, 20, Toy::Put("a", 2));
    acked(&mut run, "second", 30, 40, Toy::Put("a", 4));
    acked(&mut run, "third", 50, 60, Toy::Put("a", 6));
    run
}

fn seen(run: &ToyRun, invoked: u64, ended: u64, shown: Shown<State>) -> ToyRun {
    let mut run = run.clone();
    read(&mut run, invoked, ended, shown);
    run
}

#[test]
fn a_read_shows_what_was_acknowledged_before_it_and_nothing_that_began_after_it() {
    let run = three();
    for (from, to, values) in [
        (21, 29, vec![2]),
        // While a write is under way, its effect may or may not be visible.
        (21, 30, vec![2, 4]),
        (25, 35, vec![2, 4]),
        (40, 45, vec![2, 4]),
        (41, 49, vec![4]),
        (15, 55, vec![2, 4, 6]),
        (61, 70, vec![6]),
    ] {
        for value in [2, 4, 6] {
            let run = seen(&run, from, to, content(&[("a", value)]));
            if values.contains(&value) {
                passes(&run);
            } else {
                let stale = values.iter().all(|allowed| value < *allowed);
                caught(&run, if stale { Breach::StaleRead } else { Breach::ReadAhead });
            }
        }
    }
}

#[test]
fn a_stale_read_is_told_with_its_place() {
    let text = caught(&seen(&three(), 61, 70, content(&[("a", 2)])), Breach::StaleRead);
    for part in ["G5", "lane x", "[61..70]", "after seq 2", "it may show seq 4 to 4", "second", "third"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_read_shows_some_prefix_of_the_journal() {
    let run = three();
    caught(&seen(&run, 61, 70, content(&[("a", 5)])), Breach::NeverThere);
    caught(&seen(&run, 61, 70, content(&[])), Breach::StaleRead);
    let mut run = run;
    acked(&mut run, "b", 70, 80, Toy::Put("b", 8));
    acked(&mut run, "c", 70, 80, Toy::Put("c", 8));
    passes(&seen(&run, 75, 76, content(&[("a", 6), ("b", 8)])));
    // The other one first is not the journal's order.
    caught(&seen(&run, 75, 76, content(&[("a", 6), ("c", 8)])), Breach::NeverThere);
}

#[test]
fn what_is_not_applied_is_not_shown() {
    let mut run = three();
    told(&mut run, "v", 70, 80, unknown());
    entry(&mut run, "v", Verdict::Void, Status::Abandoned, Toy::Put("a", 8));
    passes(&seen(&run, 75, 90, content(&[("a", 6)])));
    caught(&seen(&run, 75, 90, content(&[("a", 8)])), Breach::NeverThere);
}

/// Executed on an instance, but unsettled when its collection was dropped: answered 404, but shown by a read before
/// that.
#[test]
fn what_went_with_its_collection_may_have_been_shown_before() {
    let mut run = three();
    told(&mut run, "v", 70, 90, refused());
    entry(&mut run, "v", Verdict::Void, Status::Done, Toy::Put("a", 8));
    // Without a drop, the void entry has no effect, and never had one.
    caught(&seen(&run, 75, 76, content(&[("a", 8)])), Breach::NeverThere);
    // The edge acknowledged it and died before that was durable. From then on every read must show it.
    let mut acknowledged = run.clone();
    let told = acknowledged.writes.last_mut().expect("a write");
    (told.outcome, told.ended) = (Outcome::Acknowledged, 72);
    caught(&acknowledged, Breach::AcknowledgedNotApplied);
    acked_in(&mut acknowledged, CATALOG, "drop", 80, 85, Toy::Drop("x".to_owned()));
    passes(&seen(&acknowledged, 75, 76, content(&[("a", 8)])));
    caught(&seen(&acknowledged, 75, 76, content(&[("a", 6)])), Breach::StaleRead);
    let still_there = run.clone();
    acked_in(&mut run, CATALOG, "drop", 80, 85, Toy::Drop("x".to_owned()));
    passes(&seen(&run, 75, 76, content(&[("a", 6)])));
    passes(&seen(&run, 75, 82, content(&[("a", 8)])));
    caught(&seen(&run, 61, 69, content(&[("a", 8)])), Breach::ReadAhead);
    caught(&seen(&run, 86, 87, content(&[("a", 8)])), Breach::DeletedReturns);
    // A later entry was applied, so this one was settled before it, and had no effect.
    let mut run = still_there;
    acked(&mut run, "b", 91, 92, Toy::Put("b", 2));
    acked_in(&mut run, CATALOG, "drop", 93, 94, Toy::Drop("x".to_owned()));
    caught(&seen(&run, 75, 76, content(&[("a", 8)])), Breach::NeverThere);
}

#[test]
fn an_unknown_write_may_appear_until_something_behind_it_is_acknowledged() {
    let mut run = three();
    told(&mut run, "u", 70, 80, unknown());
    entry(&mut run, "u", Verdict::Applied, Status::Done, Toy::Put("b", 8));
    for shown in [content(&[("a", 6)]), content(&[("a", 6), ("b", 8)])] {
        passes(&seen(&run, 500, 510, shown));
    }
    acked(&mut run, "w", 600, 610, Toy::Put("c", 2));
    caught(&seen(&run, 620, 630, content(&[("a", 6)])), Breach::StaleRead);
    caught(&seen(&run, 620, 630, content(&[("a", 6), ("c", 2)])), Breach::NeverThere);
    passes(&seen(&run, 620, 630, content(&[("a", 6), ("b", 8), ("c", 2)])));
}

/// Two concurrent writes: the first in the journal begins later and is acknowledged later.
#[test]
fn windows_are_those_of_the_journal_whatever_was_told_last() {
    let mut run = ToyRun::default();
    acked(&mut run, "first", 30, 60, Toy::Put("a", 2));
    acked(&mut run, "second", 20, 50, Toy::Put("b", 4));
    passes(&seen(&run, 70, 80, content(&[("a", 2), ("b", 4)])));
    caught(&seen(&run, 70, 80, content(&[("a", 2)])), Breach::StaleRead);
    // An acknowledged write also brings the entries before it.
    caught(&seen(&run, 55, 58, content(&[("a", 2)])), Breach::StaleRead);
    passes(&seen(&run, 55, 58, content(&[("a", 2), ("b", 4)])));
    passes(&seen(&run, 10, 15, content(&[])));
    caught(&seen(&run, 10, 15, content(&[("a", 2)])), Breach::ReadAhead);
    passes(&seen(&run, 10, 30, content(&[("a", 2)])));
}

#[test]
fn a_collection_is_there_from_its_creation_to_its_deletion() {
    let mut run = three();
    passes(&seen(&run, 1, 4, Shown::Nothing));
    passes(&seen(&run, 1, 4, content(&[])));
    caught(&seen(&run, 6, 9, Shown::Nothing), Breach::StaleRead);
    caught(&seen(&run, 61, 69, Shown::Nothing), Breach::StaleRead);
    acked_in(&mut run, CATALOG, "drop", 70, 80, Toy::Drop("x".to_owned()));
    passes(&seen(&run, 70, 75, content(&[("a", 6)])));
    passes(&seen(&run, 70, 75, Shown::Nothing));
    passes(&seen(&run, 81, 90, Shown::Nothing));
    caught(&seen(&run, 61, 69, Shown::Nothing), Breach::StaleRead);
    let text = caught(&seen(&run, 81, 90, content(&[("a", 6)])), Breach::DeletedReturns);
    assert!(text.contains("a collection that was deleted") && text.contains("drop"), "{text}");
    caught(&seen(&run, 81, 90, content(&[])), Breach::DeletedReturns);
}

#[test]
fn a_count_is_one_of_some_prefix() {
    let mut run = three();
    acked(&mut run, "fourth", 70, 80, Toy::Put("b", 2));
    passes(&seen(&run, 61, 69, Shown::Count(1)));
    passes(&seen(&run, 70, 75, Shown::Count(2)));
    caught(&seen(&run, 61, 69, Shown::Count(2)), Breach::ReadAhead);
    caught(&seen(&run, 61, 69, Shown::Count(3)), Breach::NeverThere);
    let text = caught(&seen(&run, 81, 90, Shown::Count(1)), Breach::StaleRead);
    assert!(text.contains("expected 2 records, counted 1"), "{text}");
    acked_in(&mut run, CATALOG, "drop", 100, 110, Toy::Drop("x".to_owned()));
    caught(&seen(&run, 111, 120, Shown::Count(2)), Breach::DeletedReturns);
}

#[test]
fn a_lane_that_nothing_begins_is_there_from_the_start() {
    let mut run = ToyRun::default();
    acked(&mut run, "first", 10, 20, Toy::Put("a", 2));
    passes(&seen(&run, 1, 2, content(&[])));
    caught(&seen(&run, 1, 2, Shown::Nothing), Breach::NeverThere);
}

#[test]
fn a_deleted_record_stays_deleted() {
    let mut run = three();
    acked(&mut run, "b", 62, 64, Toy::Put("b", 8));
    acked(&mut run, "remove", 70, 80, Toy::Remove("a"));
    passes(&seen(&run, 75, 79, content(&[("a", 6), ("b", 8)])));
    passes(&seen(&run, 81, 90, content(&[("b", 8)])));
    let text = caught(&seen(&run, 81, 90, content(&[("a", 6), ("b", 8)])), Breach::DeletedReturns);
    assert!(text.contains("[\"a\"]") || text.contains("{\"a\"}"), "{text}");
    // Back, and with a content that no prefix had.
    caught(&seen(&run, 81, 90, content(&[("a", 4), ("b", 8)])), Breach::DeletedReturns);
    // A record that was written again may be back.
    acked(&mut run, "again", 100, 110, Toy::Put("a", 6));
    passes(&seen(&run, 111, 120, content(&[("a", 6), ("b", 8)])));
}

#[test]
fn many_wrong_reads_are_counted_and_some_are_told() {
    let mut run = three();
    for _ in 0..50 {
        read(&mut run, 61, 70, content(&[("a", 2)]));
    }
    let findings = testkit::checker::check(&super::toy::Numbers, &run);
    assert_eq!(findings.violations.len(), 20);
    assert!(findings.violations[19].what.contains("30 more"), "{findings}");
}
