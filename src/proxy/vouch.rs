//! Which requests are vouched for, and which reads are suspects: the rules of `order` and `chroma`, with the locks, the
//! clock and the registry that they lack (rule R13).
//!
//! Every lock here is held for a few instructions and never across an await. The board's lock may be taken while one is
//! held.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::failure::{Failure, Refused};
use crate::chroma::{Envelope, IndexShape, Likeness, Shape};
use crate::clock;
use crate::coordinator::{Core, Settlement};
use crate::current::Current;
use crate::ids::{CollectionId, InstanceId};
use crate::instance::{Observation, Phase};
use crate::journal::Draft;
use crate::order::{
    Case, CaseId, CaseState, Company, Conditions, Consistency, Permission, ReadSubject, ReadSuspects, Sight, Standing,
    Trial, Verdict, Vouching,
};
use crate::web::idempotency_key;

/// The most classes of reads that are suspect or quarantined. Beyond this, the oldest open one is forgotten.
const CASES: usize = 256;
/// After this many waits, other requests no longer wait for an open case.
const WAITS_OF_OTHERS: u32 = 3;
/// How many requests are remembered exactly.
const REMEMBERED: usize = 4096;

/// Identifies a request exactly.
type Fingerprint = [u8; 32];

/// What is known of requests since the start.
pub struct Vouch {
    core: Arc<Core>,
    wait: Current<Duration>,
    known: Mutex<Known>,
    suspects: Mutex<Suspects>,
}

struct Known {
    likeness: Likeness,
    /// Requests that were vouched for and killed two instances.
    condemned: Recent<Fingerprint, ()>,
}

struct Suspects {
    rules: ReadSuspects,
    /// When the wait for the case's instance, which is away, ends.
    waits: HashMap<CaseId, Instant>,
    /// When each case was first seen.
    since: HashMap<CaseId, Instant>,
}

/// A map that forgets its oldest entry.
struct Recent<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    fn new() -> Self {
        Recent { map: HashMap::new(), order: VecDeque::new() }
    }

    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }
}

impl Vouch {
    /// Nothing is known so far. A suspect waits this long for its instance.
    pub fn new(core: Arc<Core>, envelope: Envelope, wait: Current<Duration>) -> Arc<Vouch> {
        let known = Known { likeness: Likeness::new(envelope), condemned: Recent::new() };
        let suspects = Suspects { rules: ReadSuspects::new(CASES), waits: HashMap::new(), since: HashMap::new() };
        Arc::new(Vouch { core, wait, known: Mutex::new(known), suspects: Mutex::new(suspects) })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cases, updated with the state of their instances.
    fn suspects(&self) -> MutexGuard<'_, Suspects> {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if !suspects.rules.cases().is_empty() {
            self.look(&mut suspects);
        }
        suspects
    }

    fn look(&self, Suspects { rules, waits, since }: &mut Suspects) {
        let (board, registry, now) = (self.core.board(), self.core.registry(), clock::now());
        let serves = |case: &Case, instance: InstanceId| {
            registry.usable(instance) && board.serves(case.subject.collection, instance, Consistency::Any)
        };
        rules.look(|case| {
            // The instance became suspect when it died, so being up again means that it has answered since.
            if registry.phase(case.instance) == Phase::Up && serves(case, case.instance) {
                return Sight::Serves;
            }
            let waited = waits.get(&case.id).is_some_and(|until| now >= *until);
            let others = || registry.ids().any(|other| other != case.instance && serves(case, other));
            if waited && others() { Sight::Overdue } else { Sight::Away }
        });
        drop(board);
        let away: HashSet<CaseId> =
            rules.cases().iter().filter(|case| case.state == CaseState::Away).map(|case| case.id).collect();
        waits.retain(|id, _| away.contains(id));
        for id in away {
            waits.entry(id).or_insert(now + *self.wait.get());
        }
        let known: HashSet<CaseId> = rules.cases().iter().map(|case| case.id).collect();
        since.retain(|id, _| known.contains(id));
        for id in known {
            since.entry(id).or_insert(now);
        }
        let patience = *self.wait.get() * WAITS_OF_OTHERS;
        rules.let_others_go(|case| since.get(&case.id).is_some_and(|since| now >= *since + patience));
    }

    /// The classes of reads that are suspect or quarantined.
    pub fn cases(&self) -> Vec<Case> {
        self.suspects().rules.cases().to_vec()
    }

    /// Allows a class of reads again, for an operator. `None` if there is no such case.
    pub fn lift(&self, id: CaseId) -> Option<Case> {
        let lifted = self.suspects().rules.lift(id)?;
        tracing::info!(collection = %lifted.subject.collection, "a quarantined class of reads is allowed again");
        Some(lifted)
    }

    /// The shape of this collection's index.
    pub(super) fn index_of(&self, collection: CollectionId) -> IndexShape {
        self.core.discovery().indexes().of(collection)
    }

    fn vouching(&self, shape: &Shape, fingerprint: impl FnOnce() -> Fingerprint) -> Vouching {
        let known = self.known();
        let condemned = !known.condemned.map.is_empty() && known.condemned.map.contains_key(&fingerprint());
        if condemned { Vouching::Unvouched } else { known.likeness.of(shape) }
    }

    /// Returns whether the write is vouched for.
    pub(super) fn of_write(&self, shape: &Shape, fingerprint: &Fingerprint) -> Vouching {
        self.vouching(shape, || *fingerprint)
    }

    /// Tracks the write until it has ended.
    pub(super) fn watch(self: &Arc<Self>, shape: Shape, draft: &Draft) -> Executed {
        let fingerprint = draft.client_key.as_ref().map(|key| key.fingerprint);
        Executed { vouch: Arc::clone(self), shape, fingerprint }
    }

    /// Returns the case because of which such a write is refused: the write would wait for the verdict on a read, or
    /// would meet the same end.
    pub(super) fn refuses_write(&self, collection: CollectionId, conditions: Conditions) -> Option<(CaseId, Standing)> {
        self.suspects().rules.refuses_write(collection, conditions)
    }

    /// Returns what is at stake with a read of this shape. If an instance is returned, the read may be sent to that one
    /// alone.
    ///
    /// # Errors
    /// The read is a suspect, or its class is quarantined.
    pub(super) fn stake(
        self: &Arc<Self>,
        subject: ReadSubject,
        shape: Shape,
        body: &Bytes,
    ) -> Result<(Stake, Option<InstanceId>), Failure> {
        let vouching = self.vouching(&shape, || fingerprint(subject, body));
        let mut stake = Stake { vouch: Arc::clone(self), subject, shape, vouching, body: body.clone(), trial: None };
        if vouching == Vouching::Vouched {
            return Ok((stake, None));
        }
        // In a statement of its own, because dropping the stake takes the same lock.
        let permission = self.suspects().rules.ask(subject);
        match permission {
            Permission::Anywhere => Ok((stake, None)),
            Permission::Refused(case, standing) => Err(Failure::Quarantine(Refused::read(case, standing))),
            Permission::Alone(case, instance) => {
                stake.trial = Some(case);
                Ok((stake, Some(instance)))
            }
        }
    }
}

/// A write under way, until its outcome is known.
pub(super) struct Executed {
    vouch: Arc<Vouch>,
    shape: Shape,
    fingerprint: Option<Fingerprint>,
}

impl Executed {
    /// Learns from the write's outcome.
    pub fn ended(self, settlement: &Settlement) {
        let mut known = self.vouch.known();
        match settlement.verdict {
            Verdict::Applied => known.likeness.succeeded(&self.shape),
            Verdict::Quarantined => {
                known.likeness.died(&self.shape);
                if let Some(fingerprint) = self.fingerprint {
                    known.condemned.insert(fingerprint, ());
                }
            }
            Verdict::Rejected | Verdict::Void | Verdict::Abandoned => {}
        }
    }
}

fn fingerprint(subject: ReadSubject, body: &[u8]) -> Fingerprint {
    idempotency_key::fingerprint(subject.class.kind.as_str(), &subject.collection.to_string(), body)
}

/// What is at stake with one read.
pub(super) struct Stake {
    vouch: Arc<Vouch>,
    subject: ReadSubject,
    shape: Shape,
    vouching: Vouching,
    body: Bytes,
    /// The case for which the read was sent alone, as its trial.
    trial: Option<CaseId>,
}

impl Stake {
    pub fn vouching(&self) -> Vouching {
        self.vouching
    }

    /// Notes that the instance answered, so it is alive.
    pub fn answered(&self, status: u16) {
        if status == 200 {
            self.vouch.known().likeness.succeeded(&self.shape);
        }
        self.tried(Trial::Answered);
    }

    /// Notes that the instance died with this read under way.
    pub fn died(&self, instance: InstanceId, company: Company) {
        let registry = self.vouch.core.registry();
        if registry.phase(instance) == Phase::Up {
            registry.observe_because(instance, Observation::Unanswered, "gone while a read was under way");
        }
        {
            let mut known = self.vouch.known();
            known.likeness.died(&self.shape);
            if self.vouching == Vouching::Vouched {
                known.condemned.insert(fingerprint(self.subject, &self.body), ());
            }
        }
        self.tried(Trial::Died);
        let case = self.vouch.suspects().rules.died(self.subject, instance, company);
        let class = self.subject.class;
        tracing::warn!(
            collection = %self.subject.collection,
            instance = %registry.name(instance),
            read = class.kind.as_str(),
            conditions = class.conditions.as_str(),
            case = case.0,
            ?company,
            "an instance was lost while it executed a read: reads of the same class are held back (/admin/quarantine)"
        );
    }

    fn tried(&self, trial: Trial) {
        if let Some(case) = self.trial {
            self.vouch.suspects().rules.tried(case, trial);
        }
    }
}

impl Drop for Stake {
    /// The read ended without an answer: its client has gone, or the instance could not be asked.
    fn drop(&mut self) {
        self.tried(Trial::Unclear);
    }
}

impl std::fmt::Debug for Stake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stake")
            .field("subject", &self.subject)
            .field("vouching", &self.vouching)
            .finish_non_exhaustive()
    }
}
