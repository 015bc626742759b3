//! R18: an operator decides which copy is kept.

use super::*;

/// Two adopted copies: B's differs from the one that A serves.
pub fn adopted() -> Rig {
    let mut restored = restored_lane(2, Vec::new());
    for (index, state) in [LaneState::InStep, LaneState::Diverged].into_iter().enumerate() {
        restored.replicas[index] = RestoredProgress { durable: Seq::ZERO, state };
    }
    let mut rig = Rig::restored(2, Dimension::Known, vec![restored]);
    for instance in [A, B] {
        rig.quiesced(lane(), instance);
        rig.quiesced(LaneId::Catalog, instance);
    }
    rig
}

fn keep(rig: &mut Rig, instance: InstanceId) -> Vec<Effect> {
    rig.step(Input::Keep { collection: collection(), instance, evidence: Evidence::OperatorsWord })
}

fn can_keep(rig: &Rig, instance: InstanceId) -> Result<Keeping, Obstacle> {
    rig.board.can_keep(collection(), instance)
}

#[test]
fn r18_the_copy_that_is_served_is_kept_and_the_one_that_differs_is_made_anew() {
    let mut rig = adopted();
    let effects = rig.write(Kind::Upsert);
    rig.settle(effects);
    assert_eq!(can_keep(&rig, A), Ok(Keeping::Serves));
    keep(&mut rig, A);
    assert_eq!((rig.state_of(A), rig.state_of(B)), (LaneState::InStep, LaneState::Condemned));
    assert!(rig.board.comparisons().is_empty() && rig.board.rebuilds().len() == 1);
    assert_eq!(can_keep(&rig, A), Err(Obstacle::NothingDiffers));
}

#[test]
fn r18_a_copy_takes_over_and_the_others_are_condemned_in_one_record() {
    let mut rig = adopted();
    assert_eq!(can_keep(&rig, B), Ok(Keeping::TakesOver));
    let effects = keep(&mut rig, B);
    let record = Record {
        admitted: vec![(lane(), B)],
        condemned: vec![((lane(), A), Evidence::OperatorsWord)],
        ..Record::default()
    };
    assert_eq!(
        effects,
        [Effect::Persist(Persist::Record { lane: lane(), instance: B, record, urgency: Urgency::Now })]
    );
    assert_eq!((rig.state_of(A), rig.fresh()), (LaneState::Condemned, vec![B]));
    rig.recorded(lane(), B);
    let rebuilds = rig.board.rebuilds();
    assert_eq!(rebuilds.iter().map(|one| (one.source, one.target)).collect::<Vec<_>>(), [(B, A)]);
    assert_eq!(sends(&rig.write(Kind::Upsert)), [(B, vec![2])]);
}

#[test]
fn r18_what_was_acknowledged_keeps_a_copy_that_lacks_it_from_taking_over() {
    let mut rig = adopted();
    let effects = rig.write(Kind::Upsert);
    let lacks = |rig: &Rig| matches!(can_keep(rig, B), Err(Obstacle::Lacks { through, .. }) if through == Seq::new(2));
    assert!(lacks(&rig), "it is being executed: {:?}", can_keep(&rig, B));
    rig.settle(effects);
    assert!(lacks(&rig), "{:?}", can_keep(&rig, B));
    assert!(keep(&mut rig, B).is_empty());
    assert_eq!((rig.state_of(A), rig.state_of(B)), (LaneState::InStep, LaneState::Diverged));
    // B had the write once, and has come back older.
    let comparison = rig.board.comparisons().remove(0);
    let effects = rig.step(Input::FoundEqual(comparison));
    rig.settle(effects);
    rig.step(Input::Older { instance: B, through: Seq::ZERO });
    assert_eq!(rig.state_of(B), LaneState::Diverged);
    assert!(lacks(&rig), "{:?}", can_keep(&rig, B));
}

#[test]
fn r18_what_is_not_there_or_is_known_to_be_wrong_is_not_kept() {
    let mut rig = adopted();
    rig.reach(B, Reach::Away);
    assert_eq!(can_keep(&rig, B), Err(Obstacle::Away));
    rig.reach(B, Reach::Here);
    rig.delete_collection();
    assert_eq!(can_keep(&rig, B), Err(Obstacle::Busy), "it may be gone in a moment");
    let mut rig = adopted();
    rig.step(Input::Condemn { collection: collection(), instance: B, evidence: Evidence::FailsQueries });
    assert_eq!(can_keep(&rig, B), Err(Obstacle::NothingDiffers));
    let nobody = CollectionId::new(Uuid::from_u128(99));
    assert_eq!(rig.board.can_keep(nobody, A), Err(Obstacle::NoCollection));
}
