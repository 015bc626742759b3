//! R1, R2, R3, R6, R9: one request in doubt, in order, and what shares a request.

use super::*;

#[test]
fn r1_the_next_request_waits_until_the_progress_of_the_last_is_durable() {
    let mut rig = Rig::new(1);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(A, vec![2])]);
    assert!(sends(&rig.write(Kind::Delete)).is_empty(), "one is under way");
    assert!(sends(&rig.applied(A)).is_empty(), "a crash now would leave two in doubt");
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![3])]);
}

#[test]
fn r1_a_late_report_of_an_earlier_wait_starts_nothing() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    rig.in_doubt(A);
    let stale = rig.board.lanes[&lane()].progress(A).wait;
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])]);
    rig.in_doubt(A);
    assert!(sends(&rig.step(Input::Quiesced { lane: lane(), instance: A, wait: stale })).is_empty());
}

#[test]
fn r2_a_rejection_is_durable_before_the_client_is_answered_and_before_others_skip_it() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    rig.write(Kind::Delete);
    let effects = rig.rejected(A);
    assert!(answers(&effects).is_empty() && sends(&effects).is_empty());
    let effects = rig.recorded(lane(), A);
    assert_eq!(answers(&effects), [(2, Verdict::Rejected)]);
    assert_eq!(sends(&effects), [(A, vec![3])]);
}

#[test]
fn r2_an_applied_write_is_answered_at_once_and_one_with_its_own_id_when_recorded() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    assert_eq!(answers(&rig.applied(A)), [(2, Verdict::Applied)]);
    rig.recorded(lane(), A);
    rig.submit(lane(), profile(Kind::Delete), Intent::Plain, AckPolicy::Durable);
    assert!(answers(&rig.applied(A)).is_empty());
    assert_eq!(answers(&rig.recorded(lane(), A)), [(3, Verdict::Applied)]);
}

#[test]
fn r2_progress_that_nothing_waits_for_may_become_durable_with_the_next_write() {
    let urgency = |effects: &[Effect]| {
        let of = |effect: &Effect| match effect {
            Effect::Persist(Persist::Record { urgency, .. }) => Some(*urgency),
            _ => None,
        };
        effects.iter().find_map(of).expect("a record")
    };
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    assert_eq!(urgency(&rig.applied(A)), Urgency::WithTheNext);
    rig.recorded(lane(), A);
    rig.write(Kind::Delete);
    rig.write(Kind::Delete);
    assert_eq!(urgency(&rig.applied(A)), Urgency::Now, "the next entry waits for it");
    rig.recorded(lane(), A);
    assert_eq!(urgency(&rig.rejected(A)), Urgency::Now, "its client waits for it");
    rig.recorded(lane(), A);
    rig.submit(lane(), profile(Kind::Delete), Intent::Plain, AckPolicy::Durable);
    assert_eq!(urgency(&rig.applied(A)), Urgency::Now, "its client waits for it");
}

#[test]
fn r2_a_run_without_an_answer_is_sent_again_first_and_one_by_one() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    rig.applied(A);
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![3, 4])]);
    rig.in_doubt(A);
    assert!(sends(&rig.write(Kind::Add)).is_empty());
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![3])]);
    rig.applied(A);
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![4])], "nothing newer rides along");
}

#[test]
fn r2_unfit_refuses_a_write_only_when_every_instance_says_so() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    let effects = rig.outcome(lane(), A, Outcome::Unfit);
    assert!(effects.contains(&Effect::Perform(Action::Inspect { instance: A })));
    assert_eq!(sends(&effects), [(B, vec![2])]);
    rig.outcome(lane(), B, Outcome::Unfit);
    assert_eq!(answers(&rig.recorded(lane(), B)), [(2, Verdict::Rejected)]);
}

#[test]
fn r2_unfit_never_refuses_on_recovery() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    rig.step(Input::ClientGone { lane: lane(), seq: Seq::new(2) });
    rig.outcome(lane(), A, Outcome::Unfit);
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])], "a blank server answers 404 to everything");
}

#[test]
fn r2_unfit_never_refuses_what_may_have_been_executed_before() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    rig.in_doubt(A);
    rig.quiesced(lane(), A);
    let effects = rig.outcome(lane(), A, Outcome::Unfit);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Persist(_) | Effect::Answer(_))), "{effects:?}");
    assert_eq!(sends(&rig.quiesced(lane(), A)), [(A, vec![2])]);
}

#[test]
fn r3_an_open_entry_goes_to_one_instance_at_a_time_and_to_the_next_when_in_doubt() {
    let mut rig = Rig::new(2);
    assert_eq!(sends(&rig.write(Kind::Delete)), [(A, vec![2])]);
    assert_eq!(sends(&rig.in_doubt(A)), [(B, vec![2])]);
    assert!(sends(&rig.quiesced(lane(), A)).is_empty(), "it is under way elsewhere");
    assert_eq!(answers(&rig.applied(B)), [(2, Verdict::Applied)]);
    let effects = rig.recorded(lane(), B);
    assert!(sends(&effects).is_empty(), "already on its way: {effects:?}");
    let effects = rig.applied(A);
    assert!(answers(&effects).is_empty(), "the answer was given");
}

#[test]
#[should_panic(expected = "seq order (R6)")]
fn r6_entries_come_in_the_order_of_the_journal() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    rig.seq -= 1;
    rig.write(Kind::Delete);
}

#[test]
fn r9_only_checked_neighbours_of_one_kind_and_encoding_share_a_request() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    let floats = Profile { merge: Some(Merge { docs: 1, encoding: Encoding::Floats }), ..profile(Kind::Add) };
    rig.submit(lane(), floats, Intent::Plain, AckPolicy::Applied);
    let unchecked = Profile { merge: None, ..profile(Kind::Add) };
    rig.submit(lane(), unchecked, Intent::Plain, AckPolicy::Applied);
    rig.write(Kind::Upsert);
    rig.applied(A);
    for run in [vec![3, 4], vec![5], vec![6], vec![7]] {
        assert_eq!(sends(&rig.recorded(lane(), A)), [(A, run)]);
        rig.applied(A);
    }
}

#[test]
fn r9_a_refused_merged_request_refuses_no_entry_but_is_split() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Delete);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    rig.applied(A);
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![3, 4])]);
    let effects = rig.rejected(A);
    assert!(answers(&effects).is_empty());
    assert_eq!(sends(&effects), [(A, vec![3])]);
}

#[test]
fn r9_while_memory_is_short_requests_hold_fewer_entries_and_never_more_than_configured() {
    let mut rig = Rig::new(1);
    let limits = |documents| Input::Batches { limits: MergeLimits { documents, bytes: u64::MAX } };
    rig.write(Kind::Delete);
    for _ in 0..LIMITS.documents + 10 {
        rig.write(Kind::Add);
    }
    rig.applied(A);
    rig.step(limits(2));
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![3, 4])]);
    rig.applied(A);
    rig.step(Input::Batches { limits: MergeLimits::SINGLE });
    assert_eq!(sends(&rig.recorded(lane(), A)), [(A, vec![5])]);
    rig.applied(A);
    rig.step(limits(u32::MAX));
    let sent = sends(&rig.recorded(lane(), A));
    assert_eq!(sent[0].1.len(), LIMITS.documents as usize);
}

#[test]
fn r1_a_skip_is_durable_before_anything_newer_is_sent() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    rig.write(Kind::Delete);
    rig.rejected(A);
    let effects = rig.recorded(lane(), A);
    let marks = |effect: &Effect| match effect {
        Effect::Persist(Persist::Record { instance: B, record, .. }) => record.through == Some(Seq::new(2)),
        _ => false,
    };
    assert!(effects.iter().any(marks), "{effects:?}");
    assert!(sends(&rig.applied(A)).is_empty(), "a crash would leave the refused entry in doubt behind a newer one");
    assert_eq!(sends(&rig.recorded(lane(), B)), [(B, vec![3])]);
}

#[test]
fn r1_a_limited_delete_is_sent_only_when_its_ids_are_durable() {
    let mut rig = Rig::new(2);
    let effects = rig.write(Kind::DeleteLimited);
    assert!(
        matches!(effects[..], [Effect::Perform(Action::ReadIds { instance: A, seq, .. })] if seq == Seq::new(2)),
        "{effects:?}"
    );
    let effects = rig.step(Input::IdsRead { lane: lane(), instance: A, resolved: Resolved::Durable });
    assert_eq!(sends(&effects), [(A, vec![2])]);
    assert_eq!(sends(&rig.in_doubt(A)), [(B, vec![2])], "the ids are the same for every instance");
}
