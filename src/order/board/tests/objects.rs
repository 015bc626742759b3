//! When a collection object that was read earlier is still what a fresh instance shows.

use super::*;

impl Rig {
    fn version(&self) -> ObjectVersion {
        self.board.object_version(collection()).expect("there is a collection")
    }

    fn shown_by(&self) -> Vec<InstanceId> {
        self.board.instances().filter(|instance| self.board.shows_version(collection(), *instance)).collect()
    }

    fn change(&mut self) -> Vec<Effect> {
        self.submit(LaneId::Catalog, profile(Kind::UpdateCollection), Intent::Plain, AckPolicy::Durable)
    }

    /// Applies the change of the collection on the instance, durably.
    fn changed(&mut self, instance: InstanceId) {
        let changes = vec![CatalogChange::CollectionRenamed { collection: collection(), name: "docs".to_owned() }];
        self.outcome(LaneId::Catalog, instance, Outcome::Applied(Consequences { changes, diverged: Vec::new() }));
        self.recorded(LaneId::Catalog, instance);
    }
}

#[test]
fn a_write_that_enters_ends_an_objects_version_whatever_becomes_of_it() {
    for rejected in [false, true] {
        let mut rig = Rig::new(2);
        let before = rig.version();
        assert_eq!(rig.shown_by(), [A, B]);
        rig.write(Kind::Add);
        let entered = rig.version();
        assert_ne!(entered, before);
        assert_eq!(rig.shown_by(), [], "it is under way on one, and the other lacks it");
        match rejected {
            true => rig.rejected(A),
            false => rig.applied(A),
        };
        assert_eq!(rig.version(), entered);
        rig.recorded(lane(), A);
        let has = if rejected { vec![A, B] } else { vec![A] };
        assert_eq!(rig.shown_by(), has, "a rejected one is skipped elsewhere");
    }
}

#[test]
fn what_is_in_doubt_shows_no_version() {
    let mut rig = Rig::new(1);
    rig.write(Kind::Add);
    rig.in_doubt(A);
    assert_eq!(rig.shown_by(), []);
    rig.quiesced(lane(), A);
    assert_eq!(rig.shown_by(), [], "it is sent again");
    rig.applied(A);
    assert_eq!(rig.shown_by(), [A]);
}

#[test]
fn a_change_of_the_collection_ends_its_objects_version() {
    let mut rig = Rig::new(2);
    let before = rig.version();
    rig.change();
    assert_eq!(rig.version(), before, "nobody can rely on it yet");
    assert_eq!(rig.shown_by(), [], "it may show already");
    rig.changed(A);
    assert_ne!(rig.version(), before);
    assert_eq!(rig.shown_by(), [A]);
    rig.changed(B);
    assert_eq!(rig.shown_by(), [A, B]);
}

/// An agreement rejects what every instance failed and may have executed.
#[test]
fn a_change_that_is_rejected_ends_the_version_too() {
    let mut rig = Rig::new(1);
    let before = rig.version();
    rig.change();
    rig.outcome(LaneId::Catalog, A, Outcome::Rejected { about: None });
    rig.recorded(LaneId::Catalog, A);
    assert_ne!(rig.version(), before);
    assert_eq!(rig.shown_by(), [A]);
}

#[test]
fn a_change_of_another_collection_leaves_the_version_as_it_is() {
    let other = CollectionId::new(Uuid::from_u128(8));
    for renames in [false, true] {
        for (changed, is_about_it) in [(Some(other), false), (Some(collection()), true), (None, true)] {
            let mut rig = Rig::new(1);
            let change = CatalogChange::CollectionCreated {
                collection: other,
                scope: scope(),
                name: "other".to_owned(),
                created: Seq::new(1),
                origin: Origin::Created,
            };
            rig.board.catalog.fold(Seq::new(1), &change);
            let before = rig.version();
            let intent = match changed {
                _ if renames => Intent::Renames(changed, None),
                Some(changed) => Intent::Changes(changed),
                None => Intent::Plain,
            };
            rig.submit(LaneId::Catalog, profile(Kind::UpdateCollection), intent, AckPolicy::Durable);
            assert_eq!(rig.shown_by().is_empty(), is_about_it, "{changed:?} is under way");
            rig.outcome(LaneId::Catalog, A, Outcome::Rejected { about: None });
            rig.recorded(LaneId::Catalog, A);
            assert_eq!(rig.version() != before, is_about_it, "{changed:?} was refused");
            assert_eq!(rig.shown_by(), [A]);
        }
    }
}

/// Also after a restart, and for an id that no collection in the catalog has.
#[test]
fn a_change_of_what_is_not_known_ends_every_version() {
    let unknown = Intent::Changes(CollectionId::new(Uuid::from_u128(9)));
    let entry = RestoredEntry { intent: unknown, ..restored_entry(2, Kind::UpdateCollection, None) };
    let mut rig = Rig::restored(1, Dimension::Known, vec![restored_catalog(1, vec![entry])]);
    let before = rig.version();
    assert_eq!(rig.shown_by(), []);
    rig.quiesced(LaneId::Catalog, A);
    rig.outcome(LaneId::Catalog, A, Outcome::Rejected { about: None });
    rig.recorded(LaneId::Catalog, A);
    assert_ne!(rig.version(), before);
}

#[test]
fn an_instance_that_is_away_shows_no_version() {
    let mut rig = Rig::new(2);
    rig.reach(A, Reach::Away);
    assert_eq!(rig.shown_by(), [B]);
}

#[test]
fn a_copy_that_is_no_longer_trusted_ends_the_version_even_if_it_is_trusted_again() {
    let mut rig = Rig::new(2);
    let before = rig.version();
    rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    let diverged = rig.version();
    assert_ne!(diverged, before);
    assert_eq!(rig.shown_by(), [B]);
    let comparison = rig.board.comparisons().pop().expect("a copy to be compared");
    let effects = rig.step(Input::FoundEqual(comparison));
    rig.settle(effects);
    assert_eq!((rig.version(), rig.shown_by()), (diverged, vec![A, B]));
}

#[test]
fn a_deleted_collection_has_no_version() {
    let mut rig = Rig::new(1);
    rig.delete_collection();
    rig.deleted(A);
    rig.recorded(LaneId::Catalog, A);
    assert_eq!(rig.board.object_version(collection()), None);
    assert_eq!(rig.shown_by(), []);
}
