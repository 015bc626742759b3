//! Decides which collections are compared and when, and acts on what is found.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::contents::{Compared, Difference, Pair, Side};
use super::judge::{WhichCopy, wrong_copy};
use super::pace::Pace;
use super::report::{AuditRequest, Differing, Finding, More, Repair};
use super::{AuditOptions, Auditor};
use crate::chroma::{self, IndexShape};
use crate::clock;
use crate::heal::Embeddings;
use crate::ids::{CollectionId, InstanceId, LaneId, shown};
use crate::order::{Evidence, Input, LaneState};

/// The first audit begins this long after the start, or after the interval if that is shorter.
const FIRST: Duration = Duration::from_secs(300);
/// The pause between two searches for collections that are due: a hundredth of the interval, within these limits. Each
/// search looks at every collection.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);
const LONGEST_LOOK: Duration = FIRST;
/// The pause between two collections that are due, so that many small ones do not take what the rate leaves to large
/// ones.
const BETWEEN: Duration = Duration::from_millis(50);
/// How many ids are named when records differ.
const NAMED: usize = 10;

impl Auditor {
    /// Runs requested audits first, and the due ones in between.
    pub(super) async fn compare_contents(&self) {
        let begun = clock::now();
        loop {
            let request = tokio::select! {
                request = self.report.asked() => request,
                () = self.compare_what_is_due(begun) => continue,
            };
            self.answer(&request).await;
        }
    }

    async fn answer(&self, request: &AuditRequest) {
        for collection in self.oldest_first() {
            if request.collection.is_none_or(|asked| asked == collection) {
                self.audit(collection, Pace::Hurried, request.repair).await;
            }
        }
        self.report.ended(request.number);
    }

    /// Compares the collections that are due, the one compared longest ago first. Never ends.
    async fn compare_what_is_due(&self, begun: Instant) {
        loop {
            let options = *self.options.get();
            let AuditOptions { interval, rate } = options;
            let first = begun + FIRST.min(interval);
            let due = |collection: &CollectionId| match self.report.last(*collection) {
                _ if interval.is_zero() => false,
                Some(last) => last.elapsed() >= interval,
                None => clock::now() >= first,
            };
            for collection in self.oldest_first().into_iter().filter(due) {
                self.audit(collection, Pace::Rate(rate), Repair::Yes).await;
                tokio::time::sleep(BETWEEN).await;
            }
            let next = clock::now() + (interval / 100).clamp(SHORTEST_LOOK, LONGEST_LOOK);
            while (clock::now() < next || interval.is_zero()) && *self.options.get() == options {
                tokio::time::sleep(SHORTEST_LOOK).await;
            }
        }
    }

    fn oldest_first(&self) -> Vec<CollectionId> {
        let mut known: Vec<CollectionId> = self.core.board().catalog().collections().map(|known| known.id).collect();
        let there: HashSet<CollectionId> = known.iter().copied().collect();
        self.report.keep(|collection| there.contains(&collection));
        known.sort_by_cached_key(|collection| (self.report.last(*collection), *collection));
        known
    }

    async fn audit(&self, collection: CollectionId, pace: Pace, repair: Repair) {
        let is_there = |instance: &InstanceId| self.copy(collection, *instance, &[LaneState::InStep]).is_some();
        let (copies, left_out): (Vec<_>, Vec<_>) = self.core.registry().ids().partition(is_there);
        let mut finding = Finding::NothingToCompare;
        let mut records = 0;
        if let Some((first, others)) = copies.split_first() {
            for other in others {
                finding = match self.compare_pair(collection, [*first, *other], pace, repair).await {
                    Ok((found, compared)) => {
                        records = records.max(compared);
                        found
                    }
                    Err(why) => Finding::Unclear { why },
                };
                if finding != Finding::Equal {
                    break;
                }
            }
        }
        self.tell(collection, &finding);
        self.report.found(collection, finding, records, left_out);
    }

    async fn compare_pair(
        &self,
        collection: CollectionId,
        instances: [InstanceId; 2],
        pace: Pace,
        repair: Repair,
    ) -> Result<(Finding, u64), String> {
        // A read of an unusual index can crash its server.
        if self.core.discovery().indexes().of(collection) != IndexShape::ORDINARY {
            return Err("its index is out of the ordinary".to_owned());
        }
        if self.core.board().is_halted(LaneId::Records(collection)) {
            return Err("its lane is halted".to_owned());
        }
        let generations = instances.map(|instance| self.core.registry().generation(instance));
        let pair = self.pair(collection, instances).await?;
        let compared = pair.compare(pace, &|records| self.report.compared(collection, records)).await;
        if matches!(compared, Compared::Unclear(_)) {
            for (instance, generation) in instances.into_iter().zip(generations) {
                self.note_departure(collection, instance, generation).await;
            }
        }
        let differing = |differences: &[Difference], more| Differing {
            records: differences.len(),
            first: differences.iter().take(NAMED).map(|difference| shown(&difference.id).into_owned()).collect(),
            instances: instances.to_vec(),
            more,
        };
        Ok(match compared {
            Compared::Equal { records } => (Finding::Equal, records),
            Compared::OrderDiffers => (Finding::Undecided { differing: differing(&[], More::No) }, 0),
            Compared::TooMany => (Finding::Undecided { differing: differing(&[], More::Yes) }, 0),
            Compared::Unclear(why) => (Finding::Unclear { why }, 0),
            Compared::Different(differences, at) => {
                let differing = differing(&differences, More::No);
                let wrong = wrong_copy(&self.core, collection, (&differences, at), pair.embeddings).await?;
                let finding = match wrong.map(|which| match which {
                    WhichCopy::First => instances[0],
                    WhichCopy::Second => instances[1],
                }) {
                    Some(instance) => Finding::Wrong { instance, repair, differing },
                    None => Finding::Undecided { differing },
                };
                (finding, 0)
            }
        })
    }

    async fn pair(&self, collection: CollectionId, instances: [InstanceId; 2]) -> Result<Pair<'_>, String> {
        let side = |instance| {
            let mapped = self.core.board().catalog().mapping(collection, instance)?;
            let place = self.copy(collection, instance, &[LaneState::InStep])?;
            Some(Side { instance, mapped, place })
        };
        let [Some(one), Some(other)] = instances.map(side) else { return Err("an instance has left".to_owned()) };
        let named = {
            let board = self.core.board();
            let known = board.catalog().get(collection).ok_or("it is gone")?;
            chroma::collection_path(&known.scope, &known.name)
        };
        let definition = one.place.at(named).definition().await?.ok_or("an instance has no such collection")?;
        Ok(Pair { core: &self.core, collection, sides: [one, other], embeddings: Embeddings::of(&definition) })
    }

    /// Logs what was found, and condemns a wrong copy if it is to be repaired.
    fn tell(&self, collection: CollectionId, finding: &Finding) {
        let name = |instance: InstanceId| self.core.registry().name(instance).to_string();
        if !matches!(finding, Finding::Undecided { .. } | Finding::Unclear { .. })
            && let Some(lasted) = self.undecided.ended(&collection, clock::now())
        {
            info!(%collection, seconds = lasted.time.as_secs(), "it is no longer undecided which copy of this collection is right");
        }
        match finding {
            Finding::Wrong { instance, repair, differing } => {
                let (records, first) = (differing.records, differing.first.first());
                let instance_name = name(*instance);
                match repair {
                    Repair::Yes => {
                        warn!(%collection, instance = instance_name, records, first, "this copy is not what was written: it is made whole");
                        let evidence = Evidence::ContradictsJournal;
                        self.core.step(Input::Condemn { collection, instance: *instance, evidence });
                    }
                    Repair::No => {
                        warn!(%collection, instance = instance_name, records, first, "this copy is not what was written");
                    }
                }
            }
            Finding::Undecided { differing } => {
                if let Some(times) = self.undecided.seen(collection, clock::now()).times() {
                    let instances: Vec<String> = differing.instances.iter().map(|instance| name(*instance)).collect();
                    let (records, first) = (differing.records, differing.first.first());
                    error!(%collection, ?instances, records, first, times, "these copies differ, and the journal does not show which one is wrong: an operator decides");
                }
            }
            Finding::Equal | Finding::NothingToCompare | Finding::Unclear { .. } => {}
        }
    }
}
