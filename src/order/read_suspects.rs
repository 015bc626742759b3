//! Reads that may have killed an instance (rule R13, for reads): which reads may still be sent, where, and which are refused.
//!
//! A read that is not vouched for and whose instance dies is a suspect, and with it all of its class on its collection.
//! If it was alone at the death, it is quarantined. In company, the next read of its class goes alone, to the same
//! instance, once that is back. An answer clears it. A second death quarantines it, and so does an instance that does
//! not come back while others are reachable. Until then nothing that is not vouched for is sent to its collection, nor
//! anything of its class to another one. This ends after a while even without a verdict, since the client may never ask
//! again. Reads change nothing, so all of this is forgotten when the process ends.
//!
//! No clock: the caller first reports the state of the instances ([`ReadSuspects::look`]).

use super::vouching::{Company, Conditions};
use crate::ids::{CollectionId, InstanceId};

/// The reads that can be suspects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadKind {
    Get,
    Query,
    /// A read with neither conditions nor vectors.
    Other,
}

impl ReadKind {
    /// The name, as shown.
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

/// The reads that a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadSubject {
    pub collection: CollectionId,
    pub class: ReadClass,
}

/// Identifies a case for the lifetime of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseId(pub u64);

/// The state of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseState {
    /// The instance has died and is not back.
    Away,
    /// The instance is back. The next read of the class goes there, alone.
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
    pub holds: Holds,
}

/// What an open case holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Requests that are not vouched for on its collection, and its class on other collections.
    Others,
    /// Only its class on its collection: the others have waited long enough.
    Itself,
}

/// Whether a read that is not vouched for may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Anywhere,
    /// To this instance and no other. The caller must report the outcome to [`ReadSuspects::tried`].
    Alone(CaseId, InstanceId),
    Refused(CaseId, Standing),
}

/// Why a class is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The verdict is pending.
    Suspect,
    /// Until an operator lifts it.
    Quarantined,
}

/// How the read that went alone ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    Answered,
    Died,
    /// Not sent, or not answered by an instance that is alive.
    Unclear,
}

/// The current state of a case's instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It died and is not back.
    Away,
    /// It has not come back within the allowed time, and another instance is reachable.
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
    /// Starts without cases; never holds more than `most` at once.
    pub const fn new(most: usize) -> ReadSuspects {
        ReadSuspects { cases: Vec::new(), most, next: 1 }
    }

    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Updates every case with the current state of its instance.
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

    /// Lets other requests go on where they have waited long enough for a verdict. The read that would bring the
    /// verdict may never be asked again.
    pub fn let_others_go(&mut self, have_waited: impl Fn(&Case) -> bool) {
        for case in &mut self.cases {
            if have_waited(case) {
                case.holds = Holds::Itself;
            }
        }
    }

    /// Returns whether a read that is not vouched for may be sent now.
    pub fn ask(&mut self, subject: ReadSubject) -> Permission {
        let Some(at) = self.cases.iter().position(|case| case.subject == subject) else {
            // The same class on another collection could kill another instance, and so could another class on this collection.
            let held = |case: &&Case| {
                case.holds_others()
                    && (case.subject.collection == subject.collection || case.subject.class == subject.class)
            };
            return match self.cases.iter().find(held) {
                Some(case) => Permission::Refused(case.id, Standing::Suspect),
                None => Permission::Anywhere,
            };
        };
        let Case { id, instance, state, .. } = self.cases[at];
        match state {
            CaseState::Quarantined => Permission::Refused(id, Standing::Quarantined),
            CaseState::Away | CaseState::Trying => Permission::Refused(id, Standing::Suspect),
            // Two at once would not be alone.
            CaseState::Back if self.is_trying(instance) => Permission::Refused(id, Standing::Suspect),
            CaseState::Back => {
                self.cases[at].state = CaseState::Trying;
                Permission::Alone(id, instance)
            }
        }
    }

    fn is_trying(&self, instance: InstanceId) -> bool {
        self.cases.iter().any(|case| case.instance == instance && case.state == CaseState::Trying)
    }

    /// Returns why a write to this collection that is not vouched for must not be sent: it waits for the verdict on a
    /// read, or resembles a quarantined read. Only requests that search have something in common across operations.
    pub fn refuses_write(&self, collection: CollectionId, conditions: Conditions) -> Option<(CaseId, Standing)> {
        let here = |case: &Case| case.subject.collection == collection;
        let alike = |case: &Case| case.subject.class.conditions == conditions && conditions.is_searching();
        let convicted = |case: &&Case| case.state == CaseState::Quarantined && here(case) && alike(case);
        let suspected = |case: &&Case| {
            case.is_open() && here(case) && alike(case) && case.state != CaseState::Back
                || case.holds_others() && (here(case) || alike(case))
        };
        let found = self.cases.iter().find(convicted).map(|case| (case.id, Standing::Quarantined));
        found.or_else(|| self.cases.iter().find(suspected).map(|case| (case.id, Standing::Suspect)))
    }

    /// Notes that the instance died with this read under way.
    pub fn died(&mut self, subject: ReadSubject, instance: InstanceId, company: Company) -> CaseId {
        if let Some(case) = self.cases.iter().find(|case| case.subject == subject) {
            // Another read of the class, sent before the class was refused, or lost in the same death.
            return case.id;
        }
        if self.cases.len() >= self.most {
            // Forgetting an open case is better than forgetting a verdict.
            let open = self.cases.iter().position(|case| case.state != CaseState::Quarantined);
            self.cases.remove(open.unwrap_or(0));
        }
        let id = CaseId(self.next);
        self.next += 1;
        let state = match company {
            Company::Alone => CaseState::Quarantined,
            Company::Others => CaseState::Away,
        };
        self.cases.push(Case { id, subject, instance, state, deaths: 1, holds: Holds::Others });
        id
    }

    /// Notes how the read that went alone ended.
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

    /// Allows the class again, for an operator. `None` if there is no such case.
    pub fn lift(&mut self, id: CaseId) -> Option<Case> {
        let at = self.cases.iter().position(|case| case.id == id)?;
        Some(self.cases.remove(at))
    }
}

impl Case {
    /// Returns whether the case has no verdict yet.
    fn is_open(&self) -> bool {
        self.state != CaseState::Quarantined
    }

    fn holds_others(&self) -> bool {
        self.is_open() && self.holds == Holds::Others
    }
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
        assert_eq!(suspects.ask(subject(1, Conditions::Document)), refused, "its collection");
        assert_eq!(suspects.ask(subject(2, Conditions::Document)), Permission::Anywhere);
        suspects.look(|_| Sight::Serves);
        assert_eq!(suspects.ask(subject(2, Conditions::Metadata)), refused, "it is back, and not tried yet");
        assert_eq!(suspects.ask(one()), Permission::Alone(id, HERE));
        assert_eq!(suspects.ask(one()), refused, "one at a time");
        assert_eq!(suspects.ask(subject(2, Conditions::Metadata)), refused, "until the verdict");
        suspects.tried(id, Trial::Unclear);
        assert_eq!(suspects.ask(one()), Permission::Alone(id, HERE));
        suspects.tried(id, Trial::Answered);
        assert_eq!((suspects.ask(one()), suspects.cases().len()), (Permission::Anywhere, 0));
    }

    #[test]
    fn r13_nobody_waits_without_end_for_a_read_that_is_not_asked_for_again() {
        let (mut suspects, id) = after(Company::Others);
        let others = [subject(2, Conditions::Metadata), subject(1, Conditions::Document)];
        for sight in [Sight::Away, Sight::Serves] {
            suspects.look(|_| sight);
            suspects.let_others_go(|_| false);
            assert!(others.into_iter().all(|other| suspects.ask(other) == Permission::Refused(id, Standing::Suspect)));
        }
        suspects.let_others_go(|case| case.id == id);
        assert!(others.into_iter().all(|other| suspects.ask(other) == Permission::Anywhere));
        assert_eq!(suspects.refuses_write(one().collection, Conditions::None), None);
        assert_eq!(suspects.ask(one()), Permission::Alone(id, HERE), "itself, still there alone");
    }

    #[test]
    fn r13_suspect_reads_of_one_instance_are_tried_one_after_the_other() {
        let (mut suspects, id) = after(Company::Others);
        let second = suspects.died(subject(2, Conditions::Document), HERE, Company::Others);
        let elsewhere = suspects.died(subject(3, Conditions::Both), InstanceId(1), Company::Others);
        suspects.look(|_| Sight::Serves);
        assert_eq!(suspects.ask(one()), Permission::Alone(id, HERE));
        assert_eq!(
            suspects.ask(subject(2, Conditions::Document)),
            Permission::Refused(second, Standing::Suspect),
            "alone is alone"
        );
        assert_eq!(suspects.ask(subject(3, Conditions::Both)), Permission::Alone(elsewhere, InstanceId(1)));
        suspects.tried(id, Trial::Answered);
        assert_eq!(suspects.ask(subject(2, Conditions::Document)), Permission::Alone(second, HERE));
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
        let asked = |suspects: &ReadSuspects, collection, conditions| {
            suspects.refuses_write(subject(collection, conditions).collection, conditions)
        };
        let suspect = Some((id, Standing::Suspect));
        for sight in [Sight::Away, Sight::Serves] {
            suspects.look(|_| sight);
            assert_eq!(asked(&suspects, 1, Conditions::Metadata), suspect);
            assert_eq!(asked(&suspects, 1, Conditions::None), suspect, "its collection");
            assert_eq!(asked(&suspects, 2, Conditions::Metadata), suspect, "its conditions elsewhere");
            assert_eq!(asked(&suspects, 2, Conditions::Document), None);
        }
        suspects.look(|_| Sight::Away);
        suspects.let_others_go(|_| true);
        assert_eq!(asked(&suspects, 1, Conditions::Metadata), suspect);
        let others = [(1, Conditions::None), (2, Conditions::Metadata)];
        assert!(others.into_iter().all(|(collection, conditions)| asked(&suspects, collection, conditions).is_none()));
        let mut plain = ReadSuspects::new(1);
        let id = plain.died(subject(1, Conditions::Both), HERE, Company::Alone);
        assert_eq!(asked(&plain, 1, Conditions::Both), Some((id, Standing::Quarantined)));
        assert_eq!(
            [asked(&plain, 1, Conditions::None), asked(&plain, 2, Conditions::Both)],
            [None; 2],
            "for that alone"
        );
        let mut plain = ReadSuspects::new(1);
        plain.died(subject(1, Conditions::None), HERE, Company::Alone);
        assert_eq!(asked(&plain, 1, Conditions::None), None, "an add has nothing in common with it");
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
                        let before_all = suspects.cases().to_vec();
                        let before = before_all.iter().find(|case| case.subject == subject).copied();
                        let permission = suspects.ask(subject);
                        if let Some(before) = before {
                            let alone = matches!(permission, Permission::Alone(..));
                            let trying = |case: &Case| case.state == CaseState::Trying && before.instance == case.instance;
                            let tried = before_all.iter().any(trying);
                            prop_assert_eq!(alone, before.state == CaseState::Back && !tried);
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
