//! R13: which entry is blamed for a death, where a suspect may go, and what a quarantine leaves.

mod reads;

use super::*;
use crate::ids::InstanceCollectionId;
use crate::order::vouching::{Company, Conditions, Refusal, RequestClass, Vouching};

const CLASS: RequestClass = RequestClass { kind: Kind::Delete, conditions: Conditions::Metadata };

fn unvouched() -> Profile {
    Profile { vouching: Vouching::Unvouched, conditions: CLASS.conditions, ..profile(CLASS.kind) }
}

fn other() -> CollectionId {
    CollectionId::new(Uuid::from_u128(8))
}

/// A second collection, on every instance.
fn with_another(rig: &mut Rig, count: usize) -> LaneId {
    let (collection, scope, name) = (other(), scope(), "other".to_owned());
    let created = Seq::new(1);
    let change = CatalogChange::CollectionCreated { collection, scope, name, created, origin: Origin::Created };
    rig.board.catalog.fold(created, &change);
    for index in 0..count {
        let instance = InstanceName::new(&format!("instance-{index}"));
        let id = InstanceCollectionId::new(Uuid::from_u128(200 + index as u128));
        rig.board.catalog.fold(created, &CatalogChange::Mapped { collection, instance, id });
    }
    LaneId::Records(other())
}

impl Rig {
    fn risk(&mut self, lane: LaneId) -> Vec<Effect> {
        self.submit(lane, unvouched(), Intent::Plain, AckPolicy::Durable)
    }

    fn dies(&mut self, lane: LaneId, instance: InstanceId, company: Company) -> Vec<Effect> {
        let effects = self.outcome(lane, instance, Outcome::Died { company, about: None });
        self.reach(instance, Reach::Away);
        effects
    }

    /// The instance is back and has quiesced.
    fn returns(&mut self, lane: LaneId, instance: InstanceId) -> Vec<Effect> {
        self.reach(instance, Reach::Here);
        self.quiesced(lane, instance)
    }

    fn awaited(&mut self, lane: LaneId, instance: InstanceId) -> Vec<Effect> {
        let wait = self.board.lanes[&lane].progress(instance).wait;
        self.step(Input::ReturnAwaited { lane, instance, wait })
    }
}

/// Where requests are sent, each with the first of its entries.
fn sent(effects: &[Effect]) -> Vec<(LaneId, InstanceId, u64)> {
    let send = |effect: &Effect| match effect {
        Effect::Perform(Action::Send { lane, instance, seqs, .. }) => Some((*lane, *instance, seqs[0].get())),
        Effect::Perform(Action::ReadIds { lane, instance, seq, .. }) => Some((*lane, *instance, seq.get())),
        _ => None,
    };
    effects.iter().filter_map(send).collect()
}

/// The record of the entry's quarantine, if it begins.
fn set_aside(effects: &[Effect], seq: u64) -> Option<Record> {
    effects.iter().find_map(|effect| match effect {
        Effect::Persist(Persist::Record { record, .. })
            if record.verdicts == [(Seq::new(seq), Verdict::Quarantined)] =>
        {
            Some(record.clone())
        }
        _ => None,
    })
}

fn answers(effects: &[Effect]) -> Vec<(u64, Verdict)> {
    let answer = |effect: &Effect| match effect {
        Effect::Answer(answer) => Some((answer.seq.get(), answer.verdict)),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

fn waits_for(effects: &[Effect], instance: InstanceId) -> bool {
    let waits = |effect: &Effect| matches!(effect, Effect::Perform(Action::AwaitReturn { instance: at, .. }) if *at == instance);
    effects.iter().any(waits)
}

#[test]
fn r13_what_is_vouched_for_goes_elsewhere_at_once() {
    let mut rig = Rig::new(2);
    rig.write(Kind::Delete);
    assert_eq!(sent(&rig.dies(lane(), A, Company::Alone)), [(lane(), B, 2)]);
}

#[test]
fn r13_what_was_in_company_is_tried_once_more_alone_where_it_was() {
    let mut rig = Rig::new(2);
    assert_eq!(sent(&rig.risk(lane())), [(lane(), A, 2)]);
    let effects = rig.dies(lane(), A, Company::Others);
    assert!(effects.contains(&Effect::Persist(Persist::Suspected { seq: Seq::new(2), on: Some(A) })), "durable");
    assert!(waits_for(&effects, A));
    assert_eq!((sent(&effects), set_aside(&effects, 2)), (vec![], None));
    assert_eq!(sent(&rig.step(Input::LookAgain(Look::Everywhere))), [], "no other instance gets it");
    assert_eq!(sent(&rig.returns(lane(), A)), [(lane(), A, 2)]);
    let effects = rig.applied(A);
    assert!(effects.contains(&Effect::Persist(Persist::Suspected { seq: Seq::new(2), on: None })));
    let effects = rig.recorded(lane(), A);
    assert_eq!(answers(&effects), [(2, Verdict::Applied)]);
    assert_eq!(sent(&effects), [(lane(), B, 2)], "its success clears everything");
    assert_eq!(rig.board.refusal(lane(), CLASS), None);
}

#[test]
fn r13_alone_it_is_quarantined_at_once_and_the_lane_goes_on() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.write(Kind::Upsert);
    let effects = rig.dies(lane(), A, Company::Alone);
    let record = set_aside(&effects, 2).expect("quarantined");
    assert_eq!((record.quarantined, record.diverged), (vec![(lane(), A)], vec![]));
    assert_eq!((answers(&effects), sent(&effects)), (vec![], vec![]), "nothing before it is durable");
    let effects = rig.recorded(lane(), A);
    assert_eq!(answers(&effects), [(2, Verdict::Quarantined)]);
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::Quarantined, vec![B]));
    // The skip is recorded first.
    assert_eq!(sent(&rig.recorded(lane(), B)), [(lane(), B, 3)]);
    rig.applied(B);
    rig.recorded(lane(), B);
    rig.returns(lane(), A);
    assert!(rig.board.comparisons().is_empty(), "looking at it may cost it its life");
    assert_eq!(sent(&rig.step(Input::LookAgain(Look::Everywhere))), []);
}

#[test]
fn r13_a_second_death_quarantines() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    rig.returns(lane(), A);
    let effects = rig.dies(lane(), A, Company::Others);
    assert!(set_aside(&effects, 2).is_some());
    rig.recorded(lane(), A);
    assert_eq!(sent(&rig.returns(lane(), A)), [], "and that was its last");
}

#[test]
fn r13_attempts_alone_without_an_answer_are_two() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    rig.returns(lane(), A);
    assert!(set_aside(&rig.in_doubt(A), 2).is_none());
    assert_eq!(sent(&rig.quiesced(lane(), A)), [(lane(), A, 2)]);
    assert!(set_aside(&rig.in_doubt(A), 2).is_some());
}

#[test]
fn r13_the_wait_for_an_instance_counts_only_while_another_one_is_there() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.reach(B, Reach::Away);
    rig.dies(lane(), A, Company::Others);
    for _ in 0..3 {
        let effects = rig.awaited(lane(), A);
        assert!(waits_for(&effects, A), "nothing waits for the verdict");
        assert_eq!(set_aside(&effects, 2), None);
    }
    rig.reach(B, Reach::Here);
    assert!(set_aside(&rig.awaited(lane(), A), 2).is_some());
    rig.recorded(lane(), A);
    assert_eq!(rig.fresh(), [B]);
}

#[test]
fn r13_an_instance_that_is_there_and_cannot_be_tried_is_not_waited_for_without_end() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    rig.reach(A, Reach::Here);
    assert_eq!(set_aside(&rig.awaited(lane(), A), 2), None);
    assert_eq!(set_aside(&rig.awaited(lane(), A), 2), None);
    assert!(set_aside(&rig.awaited(lane(), A), 2).is_some());
}

#[test]
fn r13_while_it_is_suspect_nothing_unvouched_of_its_class_is_sent() {
    let mut rig = Rig::new(2);
    let second = with_another(&mut rig, 2);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    assert_eq!(rig.board.refusal(second, CLASS), Some(Refusal::Suspect { seq: Seq::new(2) }));
    let update = RequestClass { kind: Kind::Update, ..CLASS };
    assert_eq!(rig.board.refusal(lane(), update), Some(Refusal::Suspect { seq: Seq::new(2) }), "nor of its lane");
    assert_eq!(rig.board.refusal(second, update), None);
    assert_eq!(rig.board.read_refusal(lane(), Conditions::Metadata), Some(Refusal::Suspect { seq: Seq::new(2) }));
    assert_eq!(rig.board.read_refusal(second, Conditions::Metadata), None);
    assert_eq!(sent(&rig.risk(second)), [], "journaled before it was known");
    rig.returns(lane(), A);
    let effects = rig.applied(A);
    assert!(sent(&effects).contains(&(second, A, 3)), "{effects:?}");
}

#[test]
fn r13_what_is_vouched_for_goes_on_beside_a_suspect() {
    let mut rig = Rig::new(2);
    let second = with_another(&mut rig, 2);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    let effects = rig.submit(second, profile(CLASS.kind), Intent::Plain, AckPolicy::Applied);
    assert_eq!(sent(&effects), [(second, B, 3)]);
}

#[test]
fn r13_suspects_of_one_instance_go_one_after_the_other() {
    let mut rig = Rig::new(2);
    let second = with_another(&mut rig, 2);
    rig.risk(lane());
    rig.risk(second);
    rig.dies(lane(), A, Company::Others);
    rig.reach(A, Reach::Here);
    rig.dies(second, A, Company::Others);
    assert_eq!(sent(&rig.returns(lane(), A)), [(lane(), A, 2)]);
    assert_eq!(sent(&rig.quiesced(second, A)), [], "alone");
    assert_eq!(sent(&rig.applied(A)), [(second, A, 3)]);
}

#[test]
fn r13_what_is_settled_is_never_set_aside_the_instance_is() {
    for (profile, deaths) in [(unvouched(), 2), (profile(CLASS.kind), 3)] {
        let mut rig = Rig::new(2);
        rig.submit(lane(), profile, Intent::Plain, AckPolicy::Durable);
        rig.applied(A);
        assert_eq!(sent(&rig.recorded(lane(), A)), [(lane(), B, 2)]);
        for death in 1..=deaths {
            assert_eq!(rig.state_of(B), LaneState::InStep, "after {death} of {deaths}");
            let effects = rig.dies(lane(), B, Company::Others);
            assert_eq!(set_aside(&effects, 2), None);
            rig.returns(lane(), B);
        }
        assert_eq!((rig.state_of(B), rig.fresh()), (LaneState::Quarantined, vec![A]));
        assert_eq!(rig.board.refusal(lane(), CLASS), None);
    }
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.applied(A);
    rig.recorded(lane(), A);
    rig.dies(lane(), B, Company::Alone);
    assert_eq!(rig.state_of(B), LaneState::Quarantined, "alone: at once");
}

#[test]
fn r13_a_vouched_one_costs_each_of_two_a_death_and_the_last_one_more() {
    let mut rig = Rig::new(2);
    rig.write(CLASS.kind);
    rig.dies(lane(), A, Company::Alone);
    let effects = rig.dies(lane(), B, Company::Alone);
    assert!(waits_for(&effects, B) && set_aside(&effects, 2).is_none());
    assert_eq!(sent(&rig.returns(lane(), A)), [], "not a third time");
    assert_eq!(sent(&rig.returns(lane(), B)), [(lane(), B, 2)]);
    let effects = rig.dies(lane(), B, Company::Others);
    let record = set_aside(&effects, 2).expect("quarantined");
    assert_eq!((record.quarantined, record.diverged), (vec![(lane(), B)], vec![]), "one of them goes on");
    rig.recorded(lane(), B);
    rig.write(Kind::Upsert);
    assert_eq!(sent(&rig.recorded(lane(), A)), [(lane(), A, 3)]);
}

#[test]
fn r13_after_a_power_cut_a_vouched_one_is_applied() {
    let mut rig = Rig::new(2);
    rig.write(CLASS.kind);
    rig.dies(lane(), A, Company::Alone);
    rig.dies(lane(), B, Company::Alone);
    assert_eq!(set_aside(&rig.awaited(lane(), B), 2), None);
    rig.returns(lane(), B);
    assert_eq!(answers(&rig.applied(B)), [], "a suspect is answered when that is durable");
    assert_eq!(answers(&rig.recorded(lane(), B)), [(2, Verdict::Applied)]);
}

#[test]
fn r13_of_one_instance_alone_two_deaths_make_a_vouched_one_a_suspect() {
    let mut rig = Rig::new(1);
    rig.write(CLASS.kind);
    assert!(!waits_for(&rig.dies(lane(), A, Company::Alone), A));
    assert_eq!(sent(&rig.returns(lane(), A)), [(lane(), A, 2)]);
    assert!(waits_for(&rig.dies(lane(), A, Company::Alone), A));
    rig.returns(lane(), A);
    assert!(set_aside(&rig.dies(lane(), A, Company::Alone), 2).is_some());
}

#[test]
fn r13_the_only_copy_stays_whatever_it_holds() {
    let mut rig = Rig::new(1);
    rig.risk(lane());
    let record = set_aside(&rig.dies(lane(), A, Company::Alone), 2).expect("quarantined");
    assert_eq!((record.quarantined, record.diverged), (vec![], vec![]));
    rig.recorded(lane(), A);
    rig.write(Kind::Upsert);
    rig.returns(lane(), A);
    assert_eq!(sent(&rig.recorded(lane(), A)), [(lane(), A, 3)]);
    assert_eq!(rig.state_of(A), LaneState::InStep);
}

#[test]
fn r13_who_is_away_waits_for_no_copy_that_may_differ() {
    let mut rig = Rig::new(2);
    rig.reach(B, Reach::Away);
    rig.risk(lane());
    let record = set_aside(&rig.dies(lane(), A, Company::Alone), 2).expect("quarantined");
    assert_eq!((record.quarantined, record.diverged), (vec![], vec![(lane(), B)]), "the one that is left goes on");
}

#[test]
fn r13_what_may_have_been_acknowledged_is_never_quarantined() {
    let perhaps = RestoredEntry { ack_state: AckState::MaybeAcknowledged, ..restored_entry(2, Kind::Delete, None) };
    let mut rig = Rig::restored(2, Dimension::Known, vec![restored_lane(2, vec![perhaps])]);
    let settle = WaitReason::Settle { in_a_row: 0 };
    let deaths = |in_a_row| WaitReason::Deaths { in_a_row };
    // The entry is sent less and less often.
    for wait in [settle, settle, settle, deaths(1), deaths(2)] {
        for instance in [A, B] {
            let effects = rig.returns(lane(), instance);
            assert_eq!(sent(&effects), [(lane(), instance, 2)]);
            let effects = rig.dies(lane(), instance, Company::Alone);
            assert!(set_aside(&effects, 2).is_none() && !waits_for(&effects, instance));
            let waits = |effect: &Effect| matches!(effect, Effect::Perform(Action::AwaitQuiescence { why, .. }) if *why == wait);
            assert!(effects.iter().any(waits), "{wait:?}: {effects:?}");
        }
    }
}

#[test]
fn r13_after_a_restart_a_suspect_is_bound_still() {
    let entry =
        RestoredEntry { profile: unvouched(), suspect_on: Some((B, None)), ..restored_entry(2, CLASS.kind, None) };
    let lanes = vec![restored_lane(2, vec![entry]), restored_catalog(2, Vec::new())];
    let (_, effects) = Board::restore(names(2), LIMITS, catalog(2), lanes.clone(), Seq::new(2));
    assert!(waits_for(&effects, B));
    let mut rig = Rig::restored(2, Dimension::Known, lanes);
    assert_eq!(sent(&rig.quiesced(lane(), A)), []);
    assert_eq!(sent(&rig.quiesced(lane(), B)), [(lane(), B, 2)]);
    let record = set_aside(&rig.dies(lane(), B, Company::Others), 2).expect("its second death");
    // It is not known what was sent to A before the restart, and A is the one that is left.
    assert_eq!((record.quarantined, record.diverged), (vec![(lane(), B)], vec![]));
}

#[test]
fn r13_its_class_is_refused_until_it_is_lifted_and_what_waits_is_not_sent() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.risk(lane());
    rig.write(Kind::Upsert);
    rig.dies(lane(), A, Company::Alone);
    rig.recorded(lane(), A);
    let effects = rig.recorded(lane(), B);
    let record = set_aside(&effects, 3).expect("refused with its class");
    assert_eq!((sent(&effects), record.quarantined, record.diverged), (vec![], vec![], vec![]));
    assert_eq!(answers(&rig.recorded(lane(), B)), [(3, Verdict::Quarantined)]);
    assert_eq!(sent(&rig.recorded(lane(), B)), [(lane(), B, 4)]);
    assert_eq!(rig.board.refusal(lane(), CLASS), Some(Refusal::Quarantined { seq: Seq::new(2) }));
    assert_eq!(rig.board.quarantined().map(|(_, seq, _)| seq.get()).collect::<Vec<_>>(), [2, 3]);
    for seq in [2, 3].map(Seq::new) {
        let effects = rig.step(Input::Lift { lane: lane(), seq });
        assert_eq!(effects, [Effect::Persist(Persist::Lifted { seq })]);
        assert_eq!(rig.step(Input::Lift { lane: lane(), seq }), []);
    }
    assert_eq!(rig.board.refusal(lane(), CLASS), None);
    rig.applied(B);
    rig.recorded(lane(), B);
    assert_eq!(sent(&rig.risk(lane())), [(lane(), B, 5)]);
}

#[test]
fn r13_a_quarantined_copy_is_compared_when_an_operator_says_so() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Alone);
    rig.recorded(lane(), A);
    rig.recorded(lane(), B);
    rig.reach(A, Reach::Here);
    rig.quiesced(lane(), A);
    assert!(rig.board.comparisons().is_empty());
    rig.step(Input::Reconsider { lane: lane(), instance: A });
    assert!(rig.board.comparisons().is_empty(), "not before it has quiesced");
    rig.quiesced(lane(), A);
    let comparison = rig.board.comparisons().pop().expect("comparable");
    rig.step(Input::FoundEqual(comparison));
    assert_eq!(rig.state_of(A), LaneState::InStep);
}

#[test]
fn r13_a_read_for_a_delete_that_kills_leaves_nothing_behind() {
    let mut rig = Rig::new(2);
    let profile = Profile { vouching: Vouching::Unvouched, ..profile(Kind::DeleteLimited) };
    rig.submit(lane(), profile, Intent::Plain, AckPolicy::Durable);
    let resolved = Resolved::Died { company: Company::Alone };
    let effects = rig.step(Input::IdsRead { lane: lane(), instance: A, resolved });
    let record = set_aside(&effects, 2).expect("quarantined");
    assert_eq!((record.quarantined, record.diverged), (vec![], vec![]));
}

#[test]
fn r13_a_suspect_whose_instance_has_left_the_lane_is_quarantined() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    let effects = rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    assert!(set_aside(&effects, 2).is_some());
    rig.recorded(lane(), A);
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::Diverged, vec![B]));
}

#[test]
fn r13_a_suspect_goes_with_its_collection() {
    let mut rig = Rig::new(2);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    rig.delete_collection();
    rig.deleted(B);
    rig.recorded(LaneId::Catalog, B);
    let effects = rig.step(Input::VoidsRecorded { lane: lane(), seqs: vec![Seq::new(2)] });
    assert_eq!(answers(&effects), [(2, Verdict::Void)]);
    assert_eq!(rig.board.suspects().count(), 0);
}

#[test]
fn r13_what_a_quarantined_creation_may_have_left_is_undone_where_it_was_in_doubt() {
    let mut rig = Rig::new(2);
    let kind = Kind::CreateDatabase;
    let profile = Profile { vouching: Vouching::Unvouched, ..profile(kind) };
    rig.submit(LaneId::Catalog, profile, Intent::Plain, AckPolicy::Durable);
    let effects = rig.dies(LaneId::Catalog, A, Company::Alone);
    assert!(set_aside(&effects, 2).is_some());
    rig.recorded(LaneId::Catalog, A);
    rig.reach(A, Reach::Here);
    let effects = rig.quiesced(LaneId::Catalog, A);
    let undone = |effect: &Effect| {
        matches!(effect, Effect::Perform(Action::Send { instance: A, purpose: Purpose::ExpectRefusal, .. }))
    };
    assert!(effects.iter().any(undone), "{effects:?}");
    assert_eq!(rig.board.lanes[&LaneId::Catalog].head(B).map(|slot| slot.entry.seq), None, "the other never had it");
}

#[test]
fn r13_what_is_not_vouched_for_shares_no_request() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Upsert);
    for _ in 0..2 {
        let profile = Profile { vouching: Vouching::Unvouched, ..profile(Kind::Upsert) };
        rig.submit(lane(), profile, Intent::Plain, AckPolicy::Durable);
    }
    rig.applied(A);
    let effects = rig.recorded(lane(), A);
    assert!(
        matches!(&effects[..], [Effect::Perform(Action::Send { seqs, .. })] if *seqs == [Seq::new(3)]),
        "{effects:?}"
    );
}

#[test]
fn r13_what_is_like_a_suspect_does_not_wait_for_ever() {
    let mut rig = Rig::new(2);
    let second = with_another(&mut rig, 2);
    rig.step(Input::Missing { instance: B, collections: vec![collection()] });
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    assert_eq!(sent(&rig.risk(second)), []);
    rig.awaited(lane(), A);
    assert_eq!(sent(&rig.awaited(lane(), A)), []);
    assert_eq!(sent(&rig.awaited(lane(), A)), [(second, B, 3)], "no other instance could end it");
}
