//! Which lane goes first, how often it has failed, and what makes up for a missed wake-up.

use super::*;
use crate::order::entry::ClientState;
use crate::order::precedence::Precedence;

fn send_priority(effects: &[Effect]) -> SendPriority {
    let send_priority = |effect: &Effect| match effect {
        Effect::Perform(Action::Send { send_priority, .. } | Action::ReadIds { send_priority, .. }) => {
            Some(*send_priority)
        }
        _ => None,
    };
    effects.iter().find_map(send_priority).unwrap_or_else(|| panic!("nothing is sent: {effects:?}"))
}

fn precedence(client: ClientState, priority: Priority, seq: u64) -> Precedence {
    Precedence { client, priority, seq: Seq::new(seq) }
}

fn write(rig: &mut Rig, kind: Kind, priority: Priority) -> Vec<Effect> {
    let profile = Profile { priority, ..profile(kind) };
    rig.submit(lane(), profile, Intent::Plain, AckPolicy::Applied)
}

fn client_leaves(rig: &mut Rig, seq: u64) {
    rig.step(Input::ClientGone { lane: lane(), seq: Seq::new(seq) });
}

#[test]
fn a_run_has_the_best_priority_of_its_entries_and_nobody_waits_for_what_was_promised() {
    let mut rig = Rig::new(1);
    rig.reach(A, Reach::Away);
    for (index, priority) in [Priority::Normal, Priority::Low, Priority::High].into_iter().enumerate() {
        assert!(sends(&write(&mut rig, Kind::Add, priority)).is_empty());
        client_leaves(&mut rig, 2 + index as u64);
    }
    let effects = rig.reach(A, Reach::Here);
    assert_eq!(sends(&effects), [(A, vec![2, 3, 4])]);
    assert_eq!(send_priority(&effects).precedence, precedence(ClientState::Gone, Priority::High, 2));
}

#[test]
fn a_client_that_waits_in_the_lane_waits_for_what_stands_before_it_too() {
    let mut rig = Rig::new(1);
    rig.reach(A, Reach::Away);
    write(&mut rig, Kind::Delete, Priority::Low);
    client_leaves(&mut rig, 2);
    write(&mut rig, Kind::Delete, Priority::Normal);
    let first = send_priority(&rig.reach(A, Reach::Here));
    assert_eq!(first.precedence, precedence(ClientState::Waiting, Priority::Normal, 2));
    rig.applied(A);
    assert_eq!(
        send_priority(&rig.recorded(lane(), A)).precedence,
        precedence(ClientState::Waiting, Priority::Normal, 3)
    );
    // Answered: no client waits in the lane now.
    rig.applied(A);
    rig.recorded(lane(), A);
    assert!(rig.board.lanes[&lane()].waiting.is_empty());
}

#[test]
fn every_way_out_ends_the_waiting() {
    let mut rig = Rig::new(2);
    let waiting = |rig: &Rig| rig.board.lanes.get(&lane()).map_or(0, |lane| lane.waiting.len());
    rig.submit(lane(), profile(Kind::Add), Intent::Plain, AckPolicy::Durable);
    rig.applied(A);
    assert_eq!(waiting(&rig), 1, "not before it is durable");
    rig.recorded(lane(), A);
    assert_eq!(waiting(&rig), 0);
    rig.write(Kind::Delete);
    rig.rejected(A);
    rig.recorded(lane(), A);
    assert_eq!(waiting(&rig), 0, "refused");
    rig.delete_collection();
    rig.write(Kind::Add);
    assert_eq!(waiting(&rig), 1);
    rig.deleted(A);
    let effects = rig.recorded(LaneId::Catalog, A);
    let voids = effects.iter().find_map(|effect| match effect {
        Effect::Persist(Persist::Voids { lane, seqs }) => Some((*lane, seqs.clone())),
        _ => None,
    });
    let (lane, seqs) = voids.expect("the write is void");
    rig.step(Input::VoidsRecorded { lane, seqs });
    assert_eq!(waiting(&rig), 0, "void");
}

#[test]
fn the_catalog_counts_as_having_a_waiting_client() {
    let mut rig = Rig::new(1);
    rig.reach(A, Reach::Away);
    rig.delete_collection();
    rig.step(Input::ClientGone { lane: LaneId::Catalog, seq: Seq::new(2) });
    assert_eq!(send_priority(&rig.reach(A, Reach::Here)).precedence.client, ClientState::Waiting);
}

#[test]
fn the_priority_survives_a_restart_and_the_client_does_not() {
    let mut entry = restored_entry(2, Kind::Delete, None);
    entry.profile.priority = Priority::High;
    let mut rig = Rig::restored(1, Dimension::Known, vec![restored_lane(1, vec![entry])]);
    let effects = rig.quiesced(lane(), A);
    assert_eq!(send_priority(&effects).precedence, precedence(ClientState::Gone, Priority::High, 2));
}

#[test]
fn failures_in_a_row_are_counted_until_an_answer_or_a_return() {
    let mut rig = Rig::new(1);
    let retry = || Outcome::NotSent { retry: Retry::AfterBackoff };
    assert_eq!(send_priority(&rig.write(Kind::Delete)).failures, 0);
    rig.outcome(lane(), A, retry());
    assert_eq!(send_priority(&rig.quiesced(lane(), A)).failures, 1);
    let effects = rig.outcome(lane(), A, retry());
    assert!(effects.iter().any(|effect| {
        matches!(effect, Effect::Perform(Action::AwaitQuiescence { why: WaitReason::Backoff { in_a_row: 2 }, .. }))
    }));
    assert_eq!(send_priority(&rig.quiesced(lane(), A)).failures, 2);
    let effects = rig.in_doubt(A);
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Perform(Action::AwaitQuiescence { why: WaitReason::Settle { in_a_row: 3 }, .. })
    )));
    rig.reach(A, Reach::Away);
    rig.reach(A, Reach::Here);
    assert_eq!(send_priority(&rig.quiesced(lane(), A)).failures, 0, "it has returned");
    let gone = Outcome::InDoubt { instance_was: Health::Gone };
    let effects = rig.outcome(lane(), A, gone);
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Perform(Action::AwaitQuiescence { why: WaitReason::Settle { in_a_row: 0 }, .. })
    )));
    assert_eq!(send_priority(&rig.quiesced(lane(), A)).failures, 0, "it was not there");
}

#[test]
fn a_wake_up_that_was_missed_is_made_good() {
    let mut rig = Rig::new(1);
    rig.reach(A, Reach::Away);
    rig.write(Kind::Delete);
    // The instance is back, and no input reports that to the board.
    rig.board.reach[A.0] = Reach::Here;
    assert!(sends(&rig.step(Input::Journaled(Vec::new()))).is_empty(), "nothing else wakes the lane");
    assert_eq!(sends(&rig.step(Input::LookAgain(Look::Everywhere))), [(A, vec![2])]);
    assert!(rig.step(Input::LookAgain(Look::Everywhere)).is_empty(), "what is under way stays so");
}

#[test]
fn an_examination_that_was_missed_is_made_good() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Add);
    for _ in 0..MAX_RETRIES {
        rig.in_doubt(A);
        if rig.board.held.is_empty() {
            rig.quiesced(lane(), A);
        }
    }
    rig.board.lanes.get_mut(&lane()).unwrap().progress_mut(A).in_flight = InFlight::None;
    assert!(examines(&rig.step(Input::LookAgain(Look::Everywhere))));
}

#[test]
fn what_recovery_has_yet_to_finish_is_what_nobody_waits_for() {
    let mut rig = Rig::new(2);
    rig.reach(A, Reach::Away);
    rig.reach(B, Reach::Away);
    rig.write(Kind::Delete);
    rig.write(Kind::Delete);
    assert_eq!(rig.board.awaiting_recovery(), 0);
    client_leaves(&mut rig, 2);
    assert_eq!(rig.board.awaiting_recovery(), 1);
    rig.reach(A, Reach::Here);
    rig.applied(A);
    assert_eq!(rig.board.awaiting_recovery(), 0, "the copy on the other instance is no recovery");
}
