//! One lane: its entries in `seq` order and every instance's place in it.
//!
//! Decides what may be sent next to one instance (rules R1, R3, R4, R9) and what an instance has covered
//! (rule R5). It knows nothing of other lanes: what crosses lanes is in [`super::gate`].

use std::collections::{BTreeSet, VecDeque};

use super::catalog_change::CatalogChange;
use super::entry::{Acknowledge, Attendance, Entry, Kind, Merge, Profile, Told, Verdict};
use super::precedence::{Precedence, Priority};
use crate::ids::{CollectionId, InstanceId, Seq};
use crate::proof::{self, Rule};

/// How much one merged request may carry.
#[derive(Clone, Copy, Debug)]
pub struct MergeLimits {
    pub documents: u32,
    pub bytes: u64,
}

/// What has become of the one request that an instance may have in this lane (rule R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flight {
    /// Nothing is under way.
    None,
    /// The ids of a limited delete are being read there.
    Resolving { seq: Seq },
    /// Sent, no answer yet.
    Sent { first: Seq, last: Seq },
    /// Executed or skipped there; becoming durable. A new request waits for that (rule R2).
    Recording { through: Seq },
    /// Sent, and the outcome unknown. Re-sent first, once the instance is calm (rule R2).
    InDoubt,
    /// Nothing happened; not again before the pause is over.
    Paused,
}

/// Whether another edge may have sent something to a place behind the board's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    None,
    /// The place rests as soon as what is under way there has ended.
    RestDue,
    /// It rests for that.
    Resting,
}

/// An instance's standing in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    In,
    /// Neither sent to nor served from (G9).
    Diverged,
}

/// An instance's place in a lane.
#[derive(Clone, Debug)]
pub struct Place {
    /// The last entry known durably to be applied or skipped there.
    pub marked: Seq,
    /// Everything up to here is applied durably or left out: where the search for the next entry starts, so that
    /// a long row of skipped entries is walked once.
    pub passed: Seq,
    pub flight: Flight,
    /// Entries up to here may have been executed there without an answer.
    pub doubt: Seq,
    pub step: Step,
    /// The entry that this instance gave no verdict on (`Unfit`), until the pause is over.
    pub declined: Option<Seq>,
    /// Requests that it left without an answer, though it was there, since the last one with an answer.
    pub unanswered: u32,
    /// Requests in a row that came to nothing though it was there, since the last answer or its last return.
    pub pauses: u32,
    /// How many rests have begun here.
    pub rest: u64,
    pub(super) suspicion: Suspicion,
    /// What takes effect when the record under way is durable.
    pub(super) pending: Pending,
}

/// What an instance's record holds back until it is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub verdicts: Vec<(Seq, Verdict)>,
    pub changes: Vec<CatalogChange>,
    pub diverged: Vec<(CollectionId, InstanceId)>,
    pub answers: Vec<Seq>,
}

impl Place {
    pub(super) fn new(marked: Seq, step: Step) -> Self {
        Place {
            marked,
            passed: marked,
            flight: Flight::None,
            doubt: Seq::ZERO,
            step,
            declined: None,
            unanswered: 0,
            pauses: 0,
            rest: 0,
            suspicion: Suspicion::None,
            pending: Pending::default(),
        }
    }

    fn behind_us(&self) -> Seq {
        self.marked.max(self.passed)
    }

    /// Whether a request (or a read for one) is under way there.
    pub(super) fn busy(&self) -> bool {
        matches!(self.flight, Flight::Sent { .. } | Flight::Resolving { .. })
    }

    /// A request there got a definite answer.
    pub(super) fn answered(&mut self) {
        self.unanswered = 0;
        self.pauses = 0;
    }

    /// A rest begins: only the end of this very rest ends it.
    pub(super) fn begin_rest(&mut self, flight: Flight) -> u64 {
        if self.suspicion == Suspicion::RestDue && flight == Flight::InDoubt {
            self.suspicion = Suspicion::Resting;
        }
        self.flight = flight;
        self.rest += 1;
        self.rest
    }
}

/// An entry with what the lane remembers about running it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub entry: Entry,
    pub acknowledge: Acknowledge,
    pub attendance: Attendance,
    pub told: Told,
    /// Its answer has been given: never twice.
    pub answer_given: bool,
    /// Never again part of a merged request: one that contained it was refused or not answered.
    pub solo: bool,
    /// A limited delete's ids are durable.
    pub resolved: bool,
    /// Single requests that healthy instances left without an answer, per instance.
    pub unanswered: Vec<u32>,
    /// Being examined for rule R10.
    pub examined: bool,
}

/// Whether the collection is known to have a dimension (rule R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    Unknown,
    Known,
}

/// One order domain.
#[derive(Clone, Debug)]
pub struct Lane {
    pub(super) slots: VecDeque<Slot>,
    pub(super) places: Vec<Place>,
    /// Entries that a client waits for, the most urgent first.
    pub(super) waiting: BTreeSet<(Priority, Seq)>,
    /// The last entry whose effect a client may rely on (rule R5).
    pub(super) answered: Seq,
    pub(super) dimension: Dimension,
    /// The collection was deleted by this entry: everything unsettled here is void (rule R7).
    pub(super) closed_by: Option<Seq>,
}

impl Lane {
    pub(super) fn new(places: Vec<Place>, dimension: Dimension) -> Self {
        Lane {
            slots: VecDeque::new(),
            places,
            waiting: BTreeSet::new(),
            answered: Seq::ZERO,
            dimension,
            closed_by: None,
        }
    }

    pub(super) fn push(&mut self, entry: Entry, acknowledge: Acknowledge, attendance: Attendance) {
        assert!(self.slots.back().is_none_or(|last| last.entry.seq < entry.seq), "a lane is in seq order");
        if attendance == Attendance::Attended && entry.verdict.is_none() {
            self.waiting.insert((entry.profile.priority, entry.seq));
        }
        self.slots.push_back(Slot {
            answer_given: entry.verdict.is_some(),
            entry,
            acknowledge,
            attendance,
            told: Told::Nothing,
            solo: false,
            resolved: false,
            unanswered: vec![0; self.places.len()],
            examined: false,
        });
    }

    /// The entry's client has its answer, or waits no more.
    pub(super) fn stops_waiting(&mut self, seq: Seq) {
        if let Some(priority) = self.slot(seq).map(|slot| slot.entry.profile.priority) {
            self.waiting.remove(&(priority, seq));
        }
    }

    /// Where a request for these entries stands among those of other lanes. Whoever waits in the lane waits for it too.
    pub(super) fn precedence(&self, seqs: &[Seq]) -> Precedence {
        let awaited = self.waiting.first().map(|(priority, _)| *priority);
        let own = seqs.iter().filter_map(|seq| self.slot(*seq)).map(|slot| slot.entry.profile.priority);
        Precedence {
            attendance: if awaited.is_some() { Attendance::Attended } else { Attendance::Unattended },
            priority: own.chain(awaited).min().unwrap_or_default(),
            seq: seqs.first().copied().unwrap_or(Seq::ZERO),
        }
    }

    pub(super) fn place(&self, instance: InstanceId) -> &Place {
        &self.places[instance.0]
    }

    pub(super) fn place_mut(&mut self, instance: InstanceId) -> &mut Place {
        &mut self.places[instance.0]
    }

    fn index_after(&self, seq: Seq) -> usize {
        self.slots.partition_point(|slot| slot.entry.seq <= seq)
    }

    pub(super) fn slot(&self, seq: Seq) -> Option<&Slot> {
        self.slots.get(self.slots.partition_point(|slot| slot.entry.seq < seq)).filter(|slot| slot.entry.seq == seq)
    }

    pub(super) fn slot_mut(&mut self, seq: Seq) -> Option<&mut Slot> {
        let at = self.slots.partition_point(|slot| slot.entry.seq < seq);
        self.slots.get_mut(at).filter(|slot| slot.entry.seq == seq)
    }

    /// Slots in `(after, through]`.
    pub(super) fn between_mut(&mut self, after: Seq, through: Seq) -> impl Iterator<Item = &mut Slot> {
        let from = self.index_after(after);
        self.slots.range_mut(from..).take_while(move |slot| slot.entry.seq <= through)
    }

    /// Whether an instance leaves this entry out (rule R4). A refusal may have set the collection's dimension, so
    /// while none is known it goes to every instance. Where it may have been executed, it is sent to see it refused.
    pub(super) fn skipped(&self, slot: &Slot, place: &Place) -> bool {
        match slot.entry.verdict {
            None | Some(Verdict::Applied) => false,
            Some(Verdict::Void | Verdict::Abandoned) => true,
            Some(Verdict::Rejected) => {
                let traceless = self.dimension == Dimension::Known || !is_record(slot.entry.profile.kind);
                traceless && place.doubt < slot.entry.seq
            }
        }
    }

    /// The first entry that the instance has yet to execute.
    pub(super) fn head(&self, instance: InstanceId) -> Option<&Slot> {
        let place = self.place(instance);
        let from = self.index_after(place.behind_us());
        self.slots.range(from..).find(|slot| !self.skipped(slot, place))
    }

    /// Walks every place past the entries it skips. An entry once skipped stays skipped, so each is walked once.
    pub(super) fn pass_skipped(&mut self) {
        for index in 0..self.places.len() {
            let place = &self.places[index];
            let mut passed = place.behind_us();
            for slot in self.slots.range(self.index_after(passed)..) {
                if !self.skipped(slot, place) {
                    break;
                }
                passed = slot.entry.seq;
            }
            self.places[index].passed = passed;
        }
    }

    /// Everything up to here is applied or skipped on the instance (rule R5).
    pub(super) fn covered(&self, instance: InstanceId) -> Seq {
        let place = self.place(instance);
        let mut covered = match place.flight {
            Flight::Recording { through } => through.max(place.behind_us()),
            Flight::None | Flight::Resolving { .. } | Flight::Sent { .. } | Flight::InDoubt | Flight::Paused => {
                place.behind_us()
            }
        };
        for slot in self.slots.range(self.index_after(covered)..) {
            if !self.skipped(slot, place) {
                break;
            }
            covered = slot.entry.seq;
        }
        covered
    }

    /// Everything up to here is durably known to be applied or skipped on the instance: what operators are told.
    pub(super) fn durable(&self, instance: InstanceId) -> Seq {
        let place = self.place(instance);
        match place.flight {
            Flight::Recording { .. } => place.behind_us(),
            Flight::None | Flight::Resolving { .. } | Flight::Sent { .. } | Flight::InDoubt | Flight::Paused => {
                self.covered(instance)
            }
        }
    }

    /// Whether something may have been executed there that is not known to be, and will be re-sent (rule R2).
    /// A diverged place is never re-sent anything: nothing may wait for that.
    pub(super) fn doubtful(&self, instance: InstanceId) -> bool {
        let place = self.place(instance);
        place.step == Step::In && place.doubt > self.covered(instance)
    }

    /// Entries that the instance is not durably known to have applied.
    pub(super) fn behind(&self, instance: InstanceId) -> u64 {
        let from = self.index_after(self.durable(instance));
        self.slots.range(from..).filter(|slot| !self.skipped(slot, self.place(instance))).count() as u64
    }

    /// Whether the instance is not durably known to have applied some entry up to this one.
    pub(super) fn is_behind(&self, instance: InstanceId, up_to: Seq) -> bool {
        let from = self.index_after(self.durable(instance));
        let mut entries = self.slots.range(from..).take_while(|slot| slot.entry.seq <= up_to);
        entries.any(|slot| !self.skipped(slot, self.place(instance)))
    }

    /// The run of neighbours that starts at `first` and may share one request on `instance` (rules R1, R9).
    ///
    /// `before`: the run ends there, since a deletion without a verdict stands there (rule R7).
    pub(super) fn run_from(&self, instance: InstanceId, first: Seq, before: Seq, limits: MergeLimits) -> Vec<Seq> {
        let Some(head) = self.slot(first) else { return Vec::new() };
        let mut run = vec![first];
        let (Some(merge), false) = (head.entry.profile.merge, head.solo) else { return run };
        let doubt = self.place(instance).doubt;
        let mut room = Room { documents: merge.docs, bytes: head.entry.profile.bytes };
        for slot in self.slots.range(self.index_after(first)..) {
            let inside_doubt = first > doubt || slot.entry.seq <= doubt;
            let alike = slot.entry.verdict == head.entry.verdict && !slot.solo && inside_doubt;
            if !alike
                || slot.entry.seq > before
                || !mergeable(&head.entry.profile, &slot.entry.profile)
                || !room.take(&slot.entry.profile, limits)
            {
                break;
            }
            run.push(slot.entry.seq);
        }
        run
    }

    /// The end of what may have been under way on the instance before a crash, whatever is known of the entries
    /// now: everything up to there counts as in doubt (rule R2). `None`: nothing was. Since skips are marked before
    /// anything newer is sent, it began right after the mark.
    ///
    /// Beyond an unsettled deletion at `before` nothing was sent, and nothing may be in doubt: the deletion would
    /// wait for it, and it for the deletion (rule R7).
    pub(super) fn doubtful_end(&self, instance: InstanceId, before: Seq, limits: MergeLimits) -> Option<Seq> {
        let first = self.slots.get(self.index_after(self.place(instance).marked))?;
        let (seq, open) = (first.entry.seq, first.entry.verdict.is_none());
        (!open || seq < before).then(|| self.doubtful_run_end(seq, before, limits))
    }

    /// The end of the longest run that may have been sent from `first`.
    fn doubtful_run_end(&self, first: Seq, before: Seq, limits: MergeLimits) -> Seq {
        let Some(head) = self.slot(first) else { return first };
        let mut room =
            Room { documents: head.entry.profile.merge.map_or(0, |m| m.docs), bytes: head.entry.profile.bytes };
        let mut end = first;
        for slot in self.slots.range(self.index_after(first)..) {
            if slot.entry.seq > before
                || !mergeable(&head.entry.profile, &slot.entry.profile)
                || !room.take(&slot.entry.profile, limits)
            {
                break;
            }
            end = slot.entry.seq;
        }
        end
    }

    /// Forgets entries that every in-step instance has durably.
    pub(super) fn trim(&mut self) {
        let low = self.places.iter().filter(|p| p.step == Step::In).map(Place::behind_us).min().unwrap_or(Seq::ZERO);
        let kept = if proof::broken(Rule::ReplayOne) { KEPT } else { 0 };
        while self.slots.len() > kept
            && self.slots.front().is_some_and(|slot| slot.entry.seq <= low && slot.answer_given)
        {
            self.slots.pop_front();
        }
    }

    /// Whether nothing is under way on any instance.
    pub(super) fn idle(&self) -> bool {
        self.places.iter().all(|place| place.flight == Flight::None)
    }

    /// Whether any instance but `except` has a request for this entry under way.
    pub(super) fn under_way_elsewhere(&self, seq: Seq, except: InstanceId) -> bool {
        self.places.iter().enumerate().any(|(index, place)| {
            index != except.0
                && match place.flight {
                    Flight::Sent { first, last } => first <= seq && seq <= last,
                    Flight::Resolving { seq: other } => other == seq,
                    // Its verdict is on its way into the journal.
                    Flight::Recording { through } => place.marked < seq && seq <= through,
                    Flight::None | Flight::InDoubt | Flight::Paused => false,
                }
        })
    }
}

/// How many entries stay, where a range is replayed on purpose.
const KEPT: usize = 64;

struct Room {
    documents: u32,
    bytes: u64,
}

impl Room {
    fn take(&mut self, profile: &Profile, limits: MergeLimits) -> bool {
        self.documents = self.documents.saturating_add(profile.merge.map_or(0, |merge| merge.docs));
        self.bytes = self.bytes.saturating_add(profile.bytes);
        self.documents <= limits.documents && self.bytes <= limits.bytes
    }
}

/// Record writes live in a collection's lane, everything else in the catalog lane.
pub(super) fn is_record(kind: Kind) -> bool {
    matches!(kind, Kind::Add | Kind::Update | Kind::Upsert | Kind::Delete | Kind::DeleteLimited)
}

fn mergeable(head: &Profile, next: &Profile) -> bool {
    let same = |a: Option<Merge>, b: Option<Merge>| match (a, b) {
        (Some(a), Some(b)) => a.encoding == b.encoding,
        _ => false,
    };
    head.kind == next.kind && same(head.merge, next.merge)
}
