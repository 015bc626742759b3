//! The conclusions that an inspection of an instance may draw, and when (R8).

use super::*;

fn create(rig: &mut Rig) -> Vec<Effect> {
    rig.submit(LaneId::Catalog, profile(Kind::CreateDatabase), Intent::Plain, AckPolicy::Durable)
}

/// Otherwise both would wait for each other: the entry may wait for the adoption of what is there.
#[test]
fn r8_an_entry_that_was_never_sent_keeps_nobody_from_adopting() {
    let mut rig = Rig::new(2);
    rig.reach(A, Reach::Away);
    rig.reach(B, Reach::Away);
    create(&mut rig);
    let here = Some(Seq::new(1));
    assert_eq!((rig.board.catalog_quiescent(A), rig.board.catalog_quiescent(B)), (here, here));
    assert_eq!(sends(&rig.reach(A, Reach::Here)), [(A, vec![2])]);
    assert_eq!(rig.board.catalog_quiescent(A), None, "what is found may be its doing");
    rig.outcome(LaneId::Catalog, A, Outcome::NotSent { retry: Retry::AfterBackoff });
    assert_eq!(rig.board.catalog_quiescent(A), here, "nothing happened there");
    rig.quiesced(LaneId::Catalog, A);
    rig.outcome(LaneId::Catalog, A, Outcome::InDoubt { instance_was: Health::Healthy });
    assert_eq!(rig.board.catalog_quiescent(A), None);
    rig.quiesced(LaneId::Catalog, A);
    rig.outcome(LaneId::Catalog, A, Outcome::Applied(Consequences::default()));
    rig.recorded(LaneId::Catalog, A);
    assert_eq!(rig.board.catalog_quiescent(A), Some(Seq::new(2)));
    assert_eq!(
        rig.board.catalog_quiescent(B),
        None,
        "the catalog has what B lacks, and lacks what B has yet to delete"
    );
}

#[test]
fn r8_nothing_is_created_again_that_may_be_about_to_be_deleted() {
    let mut rig = Rig::new(2);
    let other = Scope::new(DEFAULT_TENANT, "other");
    assert!(!rig.board.may_be_deleting(&scope()));
    let deletion = Intent::Deletes(Deletion::Database { scope: scope() });
    rig.submit(LaneId::Catalog, profile(Kind::DeleteDatabase), deletion, AckPolicy::Durable);
    assert!(rig.board.may_be_deleting(&scope()) && !rig.board.may_be_deleting(&other));
    rig.submit(LaneId::Catalog, profile(Kind::Reset), Intent::Deletes(Deletion::Everything), AckPolicy::Durable);
    assert!(rig.board.may_be_deleting(&other));
}

#[test]
fn a_collection_that_one_instance_alone_holds_is_reported() {
    let mut rig = Rig::new(3);
    assert_eq!(rig.board.without_second_copy(9), (0, vec![]));
    rig.step(Input::Missing { instance: B, collections: vec![collection()] });
    assert_eq!(rig.board.without_second_copy(9), (0, vec![]), "two of three have it");
    rig.step(Input::Missing { instance: A, collections: vec![collection()] });
    assert_eq!(rig.board.without_second_copy(9), (1, vec![collection()]));
    assert_eq!(rig.board.without_second_copy(0), (1, vec![]));
    assert_eq!(Rig::new(1).board.without_second_copy(9), (1, vec![collection()]), "nothing is kept twice");
}
