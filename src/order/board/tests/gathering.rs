//! R19: a busy lane's next request waits for the writers that were just answered, and replication waits for more.

use super::*;

fn awaited(effects: &[Effect]) -> Option<(u64, u32)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Perform(Action::AwaitWriters { after, writers, .. }) => Some((after.get(), *writers)),
        _ => None,
    })
}

/// What was sent to A, in the order of requests.
fn to_a(effects: &[Effect]) -> Vec<Vec<u64>> {
    sends(effects).into_iter().filter(|(instance, _)| *instance == A).map(|(_, seqs)| seqs).collect()
}

/// A lane in which 2 was sent alone, 3 and 4 wait behind it, and 2 is answered.
fn two_wait_behind_one_that_is_answered() -> Rig {
    let mut rig = Rig::holding(2);
    assert_eq!(to_a(&rig.write(Kind::Add)), [[2]]);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    let effects = rig.applied(A);
    assert_eq!(answers(&effects), [(2, Verdict::Applied)], "nobody's answer waits");
    assert_eq!(awaited(&effects), Some((2, 1)));
    rig
}

#[test]
fn r19_the_next_request_of_a_busy_lane_waits_for_those_who_were_answered() {
    let mut rig = two_wait_behind_one_that_is_answered();
    assert_eq!(to_a(&rig.recorded(lane(), A)), [[0u64; 0]; 0], "they are expected again");
    assert_eq!(to_a(&rig.write(Kind::Add)), [[3, 4, 5]]);
    let effects = rig.applied(A);
    assert_eq!(awaited(&effects), Some((5, 3)), "all of them at once");
    assert_eq!(to_a(&rig.recorded(lane(), A)), [[0u64; 0]; 0]);
    assert_eq!(to_a(&rig.write(Kind::Add)), [[0u64; 0]; 0], "two are expected yet");
    rig.write(Kind::Add);
    assert_eq!(to_a(&rig.write(Kind::Add)), [[6, 7, 8]]);
}

#[test]
fn r19_a_hold_ends_by_itself_and_a_late_end_changes_nothing() {
    let mut rig = two_wait_behind_one_that_is_answered();
    rig.recorded(lane(), A);
    let after = Seq::new(2);
    assert_eq!(to_a(&rig.step(Input::WritersAwaited { lane: lane(), after })), [[3, 4]]);
    let effects = rig.applied(A);
    assert_eq!(awaited(&effects), Some((4, 2)));
    rig.recorded(lane(), A);
    rig.write(Kind::Add);
    assert_eq!(to_a(&rig.step(Input::WritersAwaited { lane: lane(), after })), [[0u64; 0]; 0], "that was another one");
    assert_eq!(to_a(&rig.step(Input::WritersAwaited { lane: lane(), after: Seq::new(4) })), [[5]]);
    rig.step(Input::WritersAwaited { lane: LaneId::Records(CollectionId::new(Uuid::nil())), after });
}

#[test]
fn r19_nothing_is_held_in_a_lane_with_one_writer() {
    let mut rig = Rig::holding(2);
    for seq in 2..6 {
        assert_eq!(to_a(&rig.write(Kind::Add)), [[seq]]);
        let effects = rig.applied(A);
        assert_eq!(awaited(&effects), None);
        rig.recorded(lane(), A);
    }
}

#[test]
fn r19_nothing_is_held_that_could_not_grow() {
    // The next entry may not share a request.
    let mut rig = two_wait_behind_one_that_is_answered();
    rig.write(Kind::Delete);
    assert_eq!(to_a(&rig.recorded(lane(), A)), [[3, 4]]);
    // The request is full.
    let mut rig = Rig::holding(2);
    rig.write(Kind::Add);
    for _ in 0..LIMITS.documents + 20 {
        rig.write(Kind::Add);
    }
    rig.applied(A);
    assert_eq!(to_a(&rig.recorded(lane(), A))[0].len(), LIMITS.documents as usize);
    // A deletion without a verdict follows: nothing new comes before it.
    let mut rig = two_wait_behind_one_that_is_answered();
    rig.delete_collection();
    assert_eq!(to_a(&rig.recorded(lane(), A)), [[3, 4]]);
    // An entry of this kind is never merged.
    let mut rig = Rig::holding(2);
    rig.write(Kind::Delete);
    rig.write(Kind::Delete);
    rig.applied(A);
    assert_eq!(to_a(&rig.recorded(lane(), A)), [[3]]);
}

#[test]
fn r19_where_requests_are_not_merged_nothing_is_held() {
    let mut rig = Rig::holding(2);
    rig.step(Input::Batches { limits: MergeLimits::SINGLE });
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    assert_eq!(awaited(&rig.applied(A)), None);
    assert_eq!(to_a(&rig.recorded(lane(), A)), [[3]]);
}

#[test]
fn r19_recovery_is_not_held() {
    let mut rig = two_wait_behind_one_that_is_answered();
    rig.step(Input::ClientGone { lane: lane(), seq: Seq::new(3) });
    assert_eq!(to_a(&rig.recorded(lane(), A)), [[3, 4]], "nobody waits for the first one");
    // An entry that an instance did not take goes on at once.
    let mut rig = two_wait_behind_one_that_is_answered();
    rig.recorded(lane(), A);
    rig.step(Input::WritersAwaited { lane: lane(), after: Seq::new(2) });
    rig.write(Kind::Add);
    let effects = rig.outcome(lane(), A, Outcome::NotSent { retry: Retry::Immediately });
    assert_eq!(to_a(&effects), [[3, 4, 5]]);
}

#[test]
fn r19_when_an_instance_goes_nothing_is_held() {
    let mut rig = two_wait_behind_one_that_is_answered();
    rig.recorded(lane(), A);
    assert_eq!(sends(&rig.reach(A, Reach::Away)), [(B, vec![2])]);
    rig.applied(B);
    assert_eq!(sends(&rig.recorded(lane(), B)), [(B, vec![3, 4])]);
}

#[test]
fn r19_who_was_answered_when_it_was_durable_is_expected_as_well() {
    let mut rig = Rig::holding(2);
    for _ in 0..3 {
        rig.submit(lane(), profile(Kind::Add), Intent::Plain, AckPolicy::Durable);
    }
    assert_eq!(awaited(&rig.applied(A)), None, "its client has no answer yet");
    let effects = rig.recorded(lane(), A);
    assert_eq!(awaited(&effects), Some((2, 1)));
    assert_eq!(to_a(&effects), [[0u64; 0]; 0]);
    assert_eq!(to_a(&rig.write(Kind::Add)), [[3, 4, 5]]);
}

fn held_since(effects: &[Effect]) -> Option<(InstanceId, u64)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Perform(Action::AwaitMore { instance, leader: A, from, .. }) => Some((*instance, from.get())),
        _ => None,
    })
}

/// What was sent to B, in the order of requests.
fn to_b(effects: &[Effect]) -> Vec<Vec<u64>> {
    sends(effects).into_iter().filter(|(instance, _)| *instance == B).map(|(_, seqs)| seqs).collect()
}

/// A lane with writers whose first entry was executed on A, and is held on its way to B.
fn held_on_its_way() -> Rig {
    let mut rig = Rig::holding(2);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    let effects = rig.applied(A);
    assert_eq!(held_since(&effects), Some((B, 2)));
    assert_eq!(to_b(&effects), [[0u64; 0]; 0]);
    rig
}

#[test]
fn r19_what_is_replicated_waits_for_what_is_executed_next() {
    let mut rig = held_on_its_way();
    rig.recorded(lane(), A);
    rig.step(Input::WritersAwaited { lane: lane(), after: Seq::new(2) });
    assert_eq!(held_since(&rig.applied(A)), None, "it is held already");
    assert_eq!(rig.board.trails_since(lane(), B), Some(Seq::new(2)));
    assert_eq!(rig.fresh(), [A], "nobody reads there meanwhile");
    let from = Seq::new(2);
    assert_eq!(to_b(&rig.step(Input::MoreAwaited { lane: lane(), instance: B, from })), [[2, 3, 4]]);
    assert_eq!(to_b(&rig.step(Input::MoreAwaited { lane: lane(), instance: B, from })), [[0u64; 0]; 0], "late");
}

#[test]
fn r19_a_reader_gets_what_is_held_at_once() {
    let mut rig = held_on_its_way();
    assert!(rig.board.holds_copies(collection()));
    assert_eq!(to_b(&rig.step(Input::FreshWanted { collection: collection() })), [[2]]);
    assert!(!rig.board.holds_copies(collection()));
    assert_eq!(to_b(&rig.step(Input::FreshWanted { collection: collection() })), [[0u64; 0]; 0]);
}

#[test]
fn r19_what_a_lone_writer_wrote_is_replicated_at_once() {
    let mut rig = Rig::holding(2);
    for seq in 2..6 {
        rig.write(Kind::Add);
        assert_eq!(to_b(&rig.applied(A)), [[seq]]);
        rig.recorded(lane(), A);
        rig.applied(B);
        rig.recorded(lane(), B);
    }
    // The next entry is under way when the last one is recorded there.
    rig.write(Kind::Add);
    rig.applied(A);
    rig.recorded(lane(), A);
    rig.write(Kind::Add);
    rig.applied(A);
    rig.recorded(lane(), A);
    rig.write(Kind::Add);
    rig.applied(B);
    assert_eq!(to_b(&rig.recorded(lane(), B)), [[7]]);
}

#[test]
fn r19_what_an_instance_missed_is_not_held() {
    let mut rig = Rig::holding(2);
    rig.reach(B, Reach::Away);
    for _ in 0..3 {
        rig.write(Kind::Add);
    }
    rig.applied(A);
    rig.recorded(lane(), A);
    rig.step(Input::WritersAwaited { lane: lane(), after: Seq::new(2) });
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    assert_eq!(to_b(&rig.reach(B, Reach::Here)), [[2]]);
    rig.applied(A);
    rig.applied(B);
    assert_eq!(to_b(&rig.recorded(lane(), B)), [[3, 4]], "it catches up yet");
    rig.applied(B);
    rig.recorded(lane(), B);
    rig.recorded(lane(), A);
    rig.step(Input::WritersAwaited { lane: lane(), after: Seq::new(4) });
    rig.write(Kind::Add);
    rig.write(Kind::Add);
    assert_eq!(held_since(&rig.applied(A)), Some((B, 5)), "now it follows closely");
}

#[test]
fn r19_when_the_leader_goes_what_is_held_is_replicated() {
    let mut rig = held_on_its_way();
    assert_eq!(to_b(&rig.reach(A, Reach::Away)), [[2]]);
    rig.applied(B);
    assert_eq!(to_b(&rig.recorded(lane(), B)), [[3, 4]], "and it goes on there");
}

#[test]
fn r19_a_full_request_is_replicated_at_once() {
    let mut rig = held_on_its_way();
    for _ in 0..LIMITS.documents + 20 {
        rig.write(Kind::Add);
    }
    rig.recorded(lane(), A);
    assert_eq!(to_b(&rig.applied(A))[0].len(), LIMITS.documents as usize);
}

#[test]
fn r19_what_ends_the_request_ends_the_hold() {
    let mut rig = Rig::holding(2);
    rig.write(Kind::Add);
    rig.write(Kind::Delete);
    rig.write(Kind::Add);
    assert_eq!(to_b(&rig.applied(A)), [[2]], "the delete does not go along");
}

#[test]
fn r19_on_an_operators_word_nothing_is_held() {
    let mut rig = held_on_its_way();
    assert_eq!(to_b(&rig.step(Input::Prefer { instance: B })), [[2]]);
    let mut rig = held_on_its_way();
    assert_eq!(to_b(&rig.step(Input::Assign { instance: B, duty: Duty::SyncOnly })), [[2]]);
}
