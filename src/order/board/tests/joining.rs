//! A new instance and a catalog lane whose beginning is gone.

use super::*;

/// The journal begins after the fifth entry. A has all of it, and B up to this position.
fn below_the_floor(durable: u64, state: LaneState) -> Rig {
    let mut lanes = vec![restored_catalog(2, Vec::new()), restored_lane(2, Vec::new())];
    for lane in &mut lanes {
        lane.floor = Seq::new(5);
        lane.replicas[0].durable = Seq::new(5);
        lane.replicas[1] = RestoredProgress { durable: Seq::new(durable), state };
    }
    let mut known = Catalog::new(names(2));
    created(Seq::new(1)).iter().for_each(|change| known.fold(Seq::new(1), change));
    known.fold(Seq::new(1), &mapped(A));
    let (board, _) = Board::restore(names(2), LIMITS, known, lanes, Seq::new(9));
    let mut rig = Rig::of(board, 9);
    rig.reach(A, Reach::Here);
    rig.reach(B, Reach::Here);
    rig
}

fn joins(effects: &[Effect]) -> Vec<Option<Seq>> {
    let joins = |effect: &Effect| match effect {
        Effect::Persist(Persist::Record { lane: LaneId::Catalog, instance: B, record, .. })
            if !record.admitted.is_empty() =>
        {
            Some(record.through)
        }
        _ => None,
    };
    effects.iter().filter_map(joins).collect()
}

#[test]
fn r11_a_new_instance_joins_the_catalog_lane_where_the_others_are_and_its_collections_are_made_anew() {
    let mut rig = below_the_floor(0, LaneState::InStep);
    let catalog_state = |rig: &Rig| rig.board.lanes[&LaneId::Catalog].progress(B).state;
    assert_eq!(catalog_state(&rig), LaneState::Diverged);
    rig.quiesced(lane(), B);
    let effects = rig.quiesced(LaneId::Catalog, B);
    assert_eq!(joins(&effects), [Some(Seq::new(5))]);
    assert_eq!(catalog_state(&rig), LaneState::Diverged, "not before that is durable");
    assert_eq!(rig.state_of(B), LaneState::Diverged, "it holds nothing of what came before");
    assert_eq!(sends(&rig.delete_collection()), [(A, vec![10])]);
    let effects = [rig.recorded(LaneId::Catalog, B), rig.deleted(A), rig.recorded(LaneId::Catalog, A)].concat();
    assert_eq!(catalog_state(&rig), LaneState::InStep);
    assert_eq!(sends(&effects), [(B, vec![10])], "it follows from there on");
}

#[test]
fn r11_an_instance_that_had_a_part_of_the_lane_stays_out() {
    let mut rig = below_the_floor(3, LaneState::InStep);
    assert_eq!(joins(&rig.quiesced(LaneId::Catalog, B)), []);
    let mut rig = below_the_floor(0, LaneState::Diverged);
    assert_eq!(joins(&rig.quiesced(LaneId::Catalog, B)).len(), 1, "it was found out at an earlier start");
    let mut rig = below_the_floor(9, LaneState::InStep);
    assert_eq!(joins(&rig.quiesced(LaneId::Catalog, B)), [], "it is in the lane");
}
