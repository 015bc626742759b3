//! Which instance keeps a journal over its byte limit, and which ones to leave behind (rule R11). Pure.
//!
//! Everything that can be removed is removed first. The rest is kept for instances that lack it, or because fewer than
//! two instances hold it. No instance is left behind unless two others have more, and never in the catalog lane: an
//! instance without the catalog is useless.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::{HeldLane, HeldProgress};
use crate::order::LaneState;

/// How full the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// The bytes of its transactions that count for the limit.
    pub used: u64,
    pub limit: u64,
    /// The instance for which most is kept, while the journal is over the limit and nothing may be removed.
    pub held_back_by: Option<InstanceName>,
}

/// What to do about a journal from which nothing more can be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// The instance for which most is kept.
    pub holder: Option<InstanceName>,
    /// The instances to leave behind, by lane.
    pub leave: Vec<(LaneId, InstanceName)>,
}

/// Decides for a journal that is `excess` bytes over its limit.
pub(super) fn judge(lanes: &[HeldLane], excess: u64) -> Judgement {
    let mut kept: BTreeMap<&InstanceName, u64> = BTreeMap::new();
    for (instance, bytes) in lanes.iter().flat_map(kept_for) {
        *kept.entry(instance).or_default() += bytes;
    }
    let most = kept.into_iter().filter(|(_, bytes)| *bytes > 0).max_by_key(|(_, bytes)| *bytes);
    Judgement { holder: most.map(|(instance, _)| instance.clone()), leave: leave(lanes, excess) }
}

/// Returns for which instances how many bytes of the lane are kept.
fn kept_for(lane: &HeldLane) -> Vec<(&InstanceName, u64)> {
    let (in_step, diverged): (Vec<_>, Vec<_>) = lane.places.iter().partition(|place| place.state == LaneState::InStep);
    if in_step.len() >= 2 {
        return match behind(&in_step) {
            Some(Behind { last, gap, .. }) => last.into_iter().map(|place| (&place.instance, gap)).collect(),
            None => Vec::new(),
        };
    }
    // With one copy or none in step, all of it is kept until another instance has it too.
    let all = in_step.iter().map(|place| place.bytes_through).max().unwrap_or(0);
    diverged.into_iter().map(|place| (&place.instance, all)).collect()
}

/// The replicas that are furthest behind, all at the same entry, and how many bytes can be removed if nothing waits for
/// them.
struct Behind<'a> {
    last: Vec<&'a HeldProgress>,
    others: usize,
    gap: u64,
}

fn behind<'a>(places: &[&'a HeldProgress]) -> Option<Behind<'a>> {
    let lowest = places.iter().map(|place| place.through).min()?;
    let (last, others): (Vec<&HeldProgress>, Vec<&HeldProgress>) =
        places.iter().partition(|place| place.through == lowest);
    let next = others.iter().min_by_key(|place| place.through)?;
    let gap = next.bytes_through.saturating_sub(last.first()?.bytes_through);
    Some(Behind { last, others: others.len(), gap })
}

/// Picks as few replicas as free enough, starting with those that free most.
fn leave(lanes: &[HeldLane], excess: u64) -> Vec<(LaneId, InstanceName)> {
    let records = lanes.iter().filter(|lane| lane.lane != LaneId::Catalog);
    let in_step = |lane: &'_ HeldLane| -> Vec<usize> {
        (0..lane.places.len()).filter(|at| lane.places[*at].state == LaneState::InStep).collect()
    };
    let mut open: Vec<(&HeldLane, Vec<usize>)> = records.map(|lane| (lane, in_step(lane))).collect();
    let (mut left, mut freed) = (Vec::new(), 0_u64);
    while freed < excess {
        let gain = |(at, (lane, waited_for)): (usize, &(&HeldLane, Vec<usize>))| {
            let places: Vec<&HeldProgress> = waited_for.iter().map(|index| &lane.places[*index]).collect();
            let behind = behind(&places)?;
            let through: Seq = behind.last.first()?.through;
            (behind.others >= 2 && behind.gap > 0).then_some((behind.gap, at, through))
        };
        let Some((gap, at, through)) = open.iter().enumerate().filter_map(gain).max_by_key(|(gap, ..)| *gap) else {
            break;
        };
        let (lane, waited_for) = &mut open[at];
        let gone = waited_for.iter().map(|index| &lane.places[*index]).filter(|place| place.through == through);
        left.extend(gone.map(|place| (lane.lane, place.instance.clone())));
        waited_for.retain(|index| lane.places[*index].through != through);
        freed = freed.saturating_add(gap);
    }
    left
}

/// Returns the ages for early removal, from high to low, so that the oldest transactions are removed first.
pub(super) fn ages(keep: Duration) -> impl Iterator<Item = Duration> {
    let halves = std::iter::successors(Some(keep / 2), |age| Some(*age / 2));
    halves.take_while(|age| *age >= Duration::from_secs(1)).chain([Duration::ZERO])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::ids::CollectionId;

    fn records(number: u128) -> LaneId {
        LaneId::Records(CollectionId::new(Uuid::from_u128(number)))
    }

    fn name(index: usize) -> InstanceName {
        InstanceName::new(&format!("i{index}"))
    }

    /// Builds a lane of ten-byte entries, given how far each instance is. `None` makes an instance diverged.
    fn lane(lane: LaneId, places: &[Option<u64>]) -> HeldLane {
        let place = |(index, through): (usize, &Option<u64>)| HeldProgress {
            instance: name(index),
            through: Seq::new(through.unwrap_or(0)),
            bytes_through: through.unwrap_or(0) * 10,
            state: if through.is_some() { LaneState::InStep } else { LaneState::Diverged },
        };
        HeldLane { lane, places: places.iter().enumerate().map(place).collect() }
    }

    #[test]
    fn of_two_instances_none_is_left_behind_and_the_last_is_named() {
        let judgement = judge(&[lane(records(1), &[Some(100), Some(3)])], u64::MAX);
        assert_eq!(judgement, Judgement { holder: Some(name(1)), leave: Vec::new() });
    }

    #[test]
    fn of_three_the_last_is_left_behind_if_two_others_have_more() {
        let judgement = judge(&[lane(records(1), &[Some(100), Some(3), Some(90)])], 1);
        assert_eq!(judgement, Judgement { holder: Some(name(1)), leave: vec![(records(1), name(1))] });
        assert!(judge(&[lane(records(1), &[Some(100), Some(3), Some(3)])], 1).leave.is_empty());
        assert!(judge(&[lane(records(1), &[Some(100), Some(3), None])], 1).leave.is_empty());
    }

    #[test]
    fn nobody_is_left_behind_in_the_catalog_lane() {
        let judgement = judge(&[lane(LaneId::Catalog, &[Some(100), Some(3), Some(100)])], u64::MAX);
        assert_eq!(judgement, Judgement { holder: Some(name(1)), leave: Vec::new() });
    }

    #[test]
    fn where_one_copy_is_left_the_diverged_one_is_named() {
        let judgement = judge(&[lane(records(1), &[Some(100), None])], u64::MAX);
        assert_eq!(judgement, Judgement { holder: Some(name(1)), leave: Vec::new() });
    }

    #[test]
    fn nobody_is_named_when_all_have_all() {
        assert_eq!(judge(&[lane(records(1), &[Some(9), Some(9), Some(9)])], u64::MAX), Judgement::default());
    }

    #[test]
    fn no_more_are_left_behind_than_needed() {
        let lanes = [lane(records(1), &[Some(9), Some(1), Some(9)]), lane(records(2), &[Some(9), Some(5), Some(9)])];
        assert_eq!(judge(&lanes, 80).leave, [(records(1), name(1))]);
        assert_eq!(judge(&lanes, 81).leave.len(), 2);
    }

    #[test]
    fn ages_shrink_to_nothing() {
        let ages: Vec<_> = ages(Duration::from_secs(5)).collect();
        assert_eq!(ages, [2500, 1250, 0].map(Duration::from_millis));
    }

    proptest! {
        #[test]
        fn two_instances_that_have_more_always_stay(
            lanes in proptest::collection::vec(proptest::collection::vec(proptest::option::of(0_u64..6), 2..6), 1..5),
            excess in 0_u64..200,
        ) {
            let id = |index: usize| if index == 0 { LaneId::Catalog } else { records(index as u128) };
            let lanes: Vec<_> = lanes.iter().enumerate().map(|(index, places)| lane(id(index), places)).collect();
            let Judgement { holder, leave } = judge(&lanes, excess);
            prop_assert!(excess > 0 || leave.is_empty());
            prop_assert!(leave.is_empty() || holder.is_some());
            for held in &lanes {
                let is_left = |place: &HeldProgress| leave.contains(&(held.lane, place.instance.clone()));
                let (left, rest): (Vec<&HeldProgress>, Vec<&HeldProgress>) = held.places.iter().partition(|place| is_left(place));
                let Some(most) = left.iter().map(|place| place.through).max() else { continue };
                prop_assert!(held.lane != LaneId::Catalog);
                prop_assert!(left.iter().all(|place| place.state == LaneState::InStep));
                let stay: Vec<_> = rest.iter().filter(|place| place.state == LaneState::InStep).collect();
                prop_assert!(stay.len() >= 2 && stay.iter().all(|place| place.through > most));
            }
        }
    }
}
