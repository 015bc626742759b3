//! R13: which reads wait for the verdict on a write.

use super::*;

#[test]
fn r13_reads_of_its_collection_and_of_its_conditions_wait_for_a_suspect() {
    let mut rig = Rig::new(2);
    with_another(&mut rig, 2);
    assert_eq!(rig.board.holds_back(collection(), Conditions::Metadata), None);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    let suspect = Some(Refusal::Suspect { seq: Seq::new(2) });
    for conditions in Conditions::ALL {
        assert_eq!(rig.board.holds_back(collection(), conditions), suspect, "its collection");
        let alike = suspect.filter(|_| conditions == CLASS.conditions);
        assert_eq!(rig.board.holds_back(other(), conditions), alike, "{conditions:?} elsewhere");
    }
    rig.returns(lane(), A);
    rig.applied(A);
    assert_eq!(rig.board.holds_back(collection(), CLASS.conditions), None, "its verdict");
}

#[test]
fn r13_reads_elsewhere_do_not_wait_for_a_suspect_for_ever() {
    let mut rig = Rig::new(1);
    with_another(&mut rig, 1);
    rig.risk(lane());
    rig.dies(lane(), A, Company::Others);
    for _ in 0..3 {
        assert!(rig.board.holds_back(other(), CLASS.conditions).is_some());
        rig.awaited(lane(), A);
    }
    assert_eq!(rig.board.holds_back(other(), CLASS.conditions), None);
    assert!(rig.board.holds_back(collection(), CLASS.conditions).is_some(), "nobody else has its collection");
}
