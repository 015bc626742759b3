//! Reads that may have cost an instance its life (rule R13, for reads): who may still be sent, where, and who is refused.
//!
//! A read that is not vouched for and whose instance dies is a suspect: with it all of its class on its collection.
//! Alone at the death it is quarantined; in company the next of its class goes alone, to the same instance, when that
//! is back. An answer clears it, a second death quarantines it, and so does an instance that does not come back while
//! others are there. Reads change nothing, so all of this is forgotten with the process.
//!
//! No clock: whoever asks says first what has become of the instances ([`ReadSuspects::look`]).

use super::vouching::{Company, Conditions};
use crate::ids::{CollectionId, InstanceId};

/// The reads that can be suspects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadKind {
    Get,
    Query,
    /// What has neither conditions nor vectors.
    Other,
}

impl ReadKind {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReadKind::Get => "get",
            ReadKind::Query => "query",
            ReadKind::Other => "read",
        }
    }
}

/// Operation and condition class of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadClass {
    pub kind: ReadKind,
    pub conditions: Conditions,
}

/// Which reads are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadSubject {
    pub collection: CollectionId,
    pub class: ReadClass,
}

/// Names one case while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseId(pub u64);

/// How far a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseState {
    /// The instance has died and is not back.
    Away,
    /// The instance is back: the next read of the class goes there, alone.
    Back,
    /// That read is under way.
    Trying,
    Quarantined,
}

/// One class of reads on one collection, and the instance that died of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub id: CaseId,
    pub subject: ReadSubject,
    pub instance: InstanceId,
    pub state: CaseState,
    pub deaths: u32,
}

/// Whether a read that is not vouched for may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Anywhere,
    /// To this instance and no other; [`ReadSuspects::tried`] is owed.
    Alone(CaseId, InstanceId),
    Refused(CaseId, Standing),
}

/// Why a class is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It will be known soon.
    Suspect,
    /// Until an operator lifts it.
    Quarantined,
}

/// How the read that went alone ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    Answered,
    Died,
    /// Not sent, or without an answer from an instance that lives.
    Unclear,
}

/// What has become of a case's instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It died and is not back.
    Away,
    /// It has not been back in time, and another instance is there.
    Overdue,
    /// It serves the collection.
    Serves,
}

/// All cases.
#[derive(Clone, Debug)]
pub struct ReadSuspects {
    /// The oldest first.
    cases: Vec<Case>,
    most: usize,
    next: u64,
}

impl ReadSuspects {
    /// None; never more than `most` at once.
    pub const fn new(most: usize) -> ReadSuspects {
        ReadSuspects { cases: Vec::new(), most, next: 1 }
    }

    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// What is seen of the instances now, case by case.
    pub fn look(&mut self, sight: impl Fn(&Case) -> Sight) {
        for case in &mut self.cases {
            case.state = match (case.state, sight(case)) {
                (CaseState::Away, Sight::Serves) => CaseState::Back,
                (CaseState::Away | CaseState::Back, Sight::Overdue) => CaseState::Quarantined,
                (CaseState::Back, Sight::Away) => CaseState::Away,
                (state, _) => state,
            };
        }
    }

    /// Whether a read that is not vouched for may be sent now.
    pub fn ask(&mut self, subject: ReadSubject) -> Permission {
        if let Some(case) = self.cases.iter_mut().find(|case| case.subject == subject) {
            return match case.state {
                CaseState::Quarantined => Permission::Refused(case.id, Standing::Quarantined),
                CaseState::Away | CaseState::Trying => Permission::Refused(case.id, Standing::Suspect),
                CaseState::Back => {
                    case.state = CaseState::Trying;
                    Permission::Alone(case.id, case.instance)
                }
            };
        }
        // The same on another collection could cost another instance its life.
        let alike = |case: &&Case| case.state == CaseState::Away && case.subject.class == subject.class;
        match self.cases.iter().find(alike) {
            Some(case) => Permission::Refused(case.id, Standing::Suspect),
            None => Permission::Anywhere,
        }
    }

    /// Whether a write of this condition class would meet what a read is suspected or convicted of.
    pub fn refuses_conditions(&self, collection: CollectionId, conditions: Conditions) -> Option<(CaseId, Standing)> {
        let about = |case: &&Case| case.subject.collection == collection && case.subject.class.conditions == conditions;
        let case = self.cases.iter().find(about).filter(|_| is_searching(conditions))?;
        match case.state {
            CaseState::Quarantined => Some((case.id, Standing::Quarantined)),
            CaseState::Away | CaseState::Trying => Some((case.id, Standing::Suspect)),
            CaseState::Back => None,
        }
    }

    /// The instance died with this read under way.
    pub fn died(&mut self, subject: ReadSubject, instance: InstanceId, company: Company) -> CaseId {
        if let Some(case) = self.cases.iter().find(|case| case.subject == subject) {
            // Another of the class, at the same death or before it was refused.
            return case.id;
        }
        if self.cases.len() >= self.most {
            // Rather an open question is forgotten than a verdict.
            let open = self.cases.iter().position(|case| case.state != CaseState::Quarantined);
            self.cases.remove(open.unwrap_or(0));
        }
        let id = CaseId(self.next);
        self.next += 1;
        let state = match company {
            Company::Alone => CaseState::Quarantined,
            Company::Others => CaseState::Away,
        };
        self.cases.push(Case { id, subject, instance, state, deaths: 1 });
        id
    }

    /// The read that went alone has ended.
    pub fn tried(&mut self, id: CaseId, trial: Trial) {
        let Some(at) = self.cases.iter().position(|case| case.id == id && case.state == CaseState::Trying) else {
            return;
        };
        match trial {
            Trial::Answered => {
                self.cases.remove(at);
            }
            Trial::Died => {
                self.cases[at].state = CaseState::Quarantined;
                self.cases[at].deaths += 1;
            }
            Trial::Unclear => self.cases[at].state = CaseState::Back,
        }
    }

    /// An operator allows the class again. `None`: there is no such case.
    pub fn lift(&mut self, id: CaseId) -> Option<Case> {
        let at = self.cases.iter().position(|case| case.id == id)?;
        Some(self.cases.remove(at))
    }
}

/// Whether requests of the class search: only those have something in common across operations.
const fn is_searching(conditions: Conditions) -> bool {
    matches!(conditions, Conditions::Metadata | Conditions::Document | Conditions::Both)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const HERE: InstanceId = InstanceId(0);

    fn subject(collection: u128, conditions: Conditions) -> ReadSubject {
        let class = ReadClass { kind: ReadKind::Get, conditions };
        ReadSubject { collection: CollectionId::new(Uuid::from_u128(collection)), class }
    }

    fn one() -> ReadSubject {
        subject(1, Conditions::Metadata)
    }

    fn after(company: Company) -> (ReadSuspects, CaseId) {
        let mut suspects = ReadSuspects::new(4);
        assert_eq!(suspects.ask(one()), Permission::Anywhere);
        let id = suspects.died(one(), HERE, company);
        (suspects, id)
    }

    #[test]
    fn r13_a_read_that_was_alone_at_the_death_is_quarantined() {
        let (mut suspects, id) = after(Company::Alone);
        suspects.look(|_| Sight::Serves);
        assert_eq!(suspects.ask(one()), Permission::Refused(id, Standing::Quarantined));
        assert_eq!(suspects.ask(subject(2, Conditions::Metadata)), Permission::Anywhere, "another collection");
        assert_eq!(suspects.ask(subject(1, Conditions::None)), Permission::Anywhere, "another class");
        assert!(suspects.lift(id).is_some() && suspects.lift(id).is_none());
        assert_eq!(suspects.ask(one()), Permission::Anywhere);
    }

    #[test]
    fn r13_in_company_the_next_one_goes_alone_to_the_same_instance() {
        let (mut suspects, id) = after(Company::Others);
        let refused = Permission::Refused(id, Standing::Suspect);
        assert_eq!(suspects.ask(one()), refused);
        assert_eq!(suspects.ask(subject(2, Conditions::Metadata)), refused, "its class elsewhere");
        assert_eq!(suspects.ask(subject(2, Conditions::Document)), Permission::Anywhere);
        suspects.look(|_| Sight::Serves);
        assert_eq!(suspects.ask(one()), Permission::Alone(id, HERE));
        assert_eq!(suspects.ask(one()), refused, "one at a time");
        assert_eq!(suspects.ask(subject(2, Conditions::Metadata)), Permission::Anywhere);
        suspects.tried(id, Trial::Unclear);
        assert_eq!(suspects.ask(one()), Permission::Alone(id, HERE));
        suspects.tried(id, Trial::Answered);
        assert_eq!((suspects.ask(one()), suspects.cases().len()), (Permission::Anywhere, 0));
    }

    #[test]
    fn r13_a_second_death_of_a_read_quarantines_it() {
        let (mut suspects, id) = after(Company::Others);
        suspects.look(|_| Sight::Serves);
        suspects.ask(one());
        suspects.died(one(), HERE, Company::Others);
        suspects.tried(id, Trial::Died);
        suspects.look(|_| Sight::Serves);
        assert_eq!(suspects.ask(one()), Permission::Refused(id, Standing::Quarantined));
        assert_eq!(suspects.cases()[0].deaths, 2);
    }

    #[test]
    fn r13_a_read_whose_instance_stays_away_is_quarantined_when_another_is_there() {
        let (mut suspects, id) = after(Company::Others);
        suspects.look(|_| Sight::Away);
        assert_eq!(suspects.ask(one()), Permission::Refused(id, Standing::Suspect));
        suspects.look(|_| Sight::Overdue);
        suspects.look(|_| Sight::Serves);
        assert_eq!(suspects.ask(one()), Permission::Refused(id, Standing::Quarantined), "for good");
        let (mut suspects, id) = after(Company::Others);
        suspects.look(|_| Sight::Serves);
        suspects.look(|_| Sight::Away);
        assert_eq!(suspects.ask(one()), Permission::Refused(id, Standing::Suspect), "it has gone again, untried");
    }

    #[test]
    fn r13_a_suspect_read_speaks_for_writes_with_such_conditions() {
        let (mut suspects, id) = after(Company::Others);
        let collection = one().collection;
        let asked = |suspects: &ReadSuspects, conditions| suspects.refuses_conditions(collection, conditions);
        assert_eq!(asked(&suspects, Conditions::Metadata), Some((id, Standing::Suspect)));
        assert_eq!(asked(&suspects, Conditions::Document), None);
        suspects.look(|_| Sight::Serves);
        assert_eq!(asked(&suspects, Conditions::Metadata), None);
        let mut plain = ReadSuspects::new(1);
        plain.died(subject(1, Conditions::None), HERE, Company::Alone);
        assert_eq!(asked(&plain, Conditions::None), None, "an add has nothing in common with it");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(u128),
        Die(u128, Company),
        End(Trial),
        Look(Sight),
    }

    fn step() -> impl Strategy<Value = Step> {
        let company = prop_oneof![Just(Company::Alone), Just(Company::Others)];
        let trial = prop_oneof![Just(Trial::Answered), Just(Trial::Died), Just(Trial::Unclear)];
        let sight = prop_oneof![Just(Sight::Away), Just(Sight::Overdue), Just(Sight::Serves)];
        prop_oneof![
            (1..7u128).prop_map(Step::Ask),
            (1..7u128, company).prop_map(|(on, company)| Step::Die(on, company)),
            trial.prop_map(Step::End),
            sight.prop_map(Step::Look),
        ]
    }

    proptest! {
        /// Whatever happens: a quarantined class is never sent, one read at a time goes alone, the list is bounded, and
        /// every case that is open can end.
        #[test]
        fn r13_no_sequence_sends_what_is_quarantined(steps in prop::collection::vec(step(), 0..80)) {
            let mut suspects = ReadSuspects::new(4);
            let mut under_way = Vec::new();
            for step in steps {
                match step {
                    Step::Ask(on) => {
                        let subject = subject(on, Conditions::Metadata);
                        let before = suspects.cases().iter().find(|case| case.subject == subject).copied();
                        let permission = suspects.ask(subject);
                        if let Some(before) = before {
                            let alone = matches!(permission, Permission::Alone(..));
                            prop_assert_eq!(alone, before.state == CaseState::Back);
                            prop_assert!(permission != Permission::Anywhere);
                        }
                        if let Permission::Alone(id, _) = permission {
                            prop_assert!(!under_way.contains(&id));
                            under_way.push(id);
                        }
                    }
                    Step::Die(on, company) => {
                        suspects.died(subject(on, Conditions::Metadata), HERE, company);
                    }
                    Step::End(trial) => {
                        if let Some(id) = under_way.pop() {
                            suspects.tried(id, trial);
                        }
                    }
                    Step::Look(sight) => suspects.look(|_| sight),
                }
                prop_assert!(suspects.cases().len() <= 4);
                let mut subjects: Vec<_> = suspects.cases().iter().map(|case| case.subject.collection).collect();
                subjects.sort();
                subjects.dedup();
                prop_assert_eq!(subjects.len(), suspects.cases().len(), "one case each");
            }
        }
    }
}
