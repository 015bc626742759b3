//! Compares what two instances hold of one collection, record by record, while clients write.
//!
//! A record may differ because an entry has reached it on one instance only. A difference counts if it remains when
//! both instances have executed everything up to one position, and no later entry touches the record. This file decides
//! what differs, never which copy is wrong.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use super::pace::Pace;
use crate::chroma;
use crate::clock;
use crate::coordinator::Core;
use crate::heal::{Embeddings, NAMED, PAGE_IDS, Place, Record, Shown};
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Seq};
use crate::order::{Kind, LaneState};

/// The most differing records that are examined again. A comparison that finds more ends there.
const MOST: usize = 1_000;
/// The most records written meanwhile that are examined again. If there are more, the collection is compared another
/// time.
const MOST_TOUCHED: usize = 100_000;
/// How many records are compared at once while clients use the instances.
const BESIDE_CLIENTS: usize = 100;
/// How many times differing records are examined again while the lane moves.
const ROUNDS: usize = 8;
/// How long both instances may take to execute everything up to a position.
const CATCH_UP: Duration = Duration::from_secs(30);
/// The pause between two checks of how far they are.
const MOMENT: Duration = Duration::from_millis(20);
/// How many entries are read from the journal at once.
const ENTRIES: u32 = 8;

/// One copy.
pub(super) struct Side<'a> {
    pub instance: InstanceId,
    /// The collection's id on the instance. Another id is another copy.
    pub mapped: InstanceCollectionId,
    pub place: Place<'a>,
}

/// Two copies of one collection.
pub(super) struct Pair<'a> {
    pub core: &'a Core,
    pub collection: CollectionId,
    pub sides: [Side<'a>; 2],
    pub embeddings: Embeddings,
}

/// A record that the two copies show differently.
#[derive(Debug)]
pub(super) struct Difference {
    pub id: String,
    pub shown: [Option<Record>; 2],
}

/// The result of a comparison.
#[derive(Debug)]
pub(super) enum Compared {
    Equal {
        records: u64,
    },
    /// These records differ at this position of the lane.
    Different(Vec<Difference>, Seq),
    /// More records seem to differ than can be examined one by one.
    TooMany,
    /// The same records, in another order.
    OrderDiffers,
    /// They could not be compared, for this reason.
    Unclear(String),
}

impl Pair<'_> {
    fn lane(&self) -> LaneId {
        LaneId::Records(self.collection)
    }

    /// Compares everything.
    pub async fn compare(&self, pace: Pace, compared: &(dyn Fn(u64) + Sync)) -> Compared {
        match self.compare_all(pace, compared).await {
            Ok(found) => found,
            Err(why) => Compared::Unclear(why),
        }
    }

    async fn compare_all(&self, pace: Pace, compared: &(dyn Fn(u64) + Sync)) -> Result<Compared, String> {
        let begun = self.executed_by_both();
        let mut suspects = BTreeSet::new();
        let (records, scanned) = self.scan(pace, compared, &mut suspects).await?;
        let truncated = scanned == Scanned::InPart;
        // Records written meanwhile may have been compared before they were written, or not at all.
        suspects.extend(self.touched_after(begun).await?.ids);
        let suspects: Vec<String> = suspects.into_iter().collect();
        for some in suspects.chunks(MOST) {
            let begun = clock::runtime_now();
            if let Some((differences, at)) = self.confirm(some.to_vec()).await? {
                return Ok(if truncated { Compared::TooMany } else { Compared::Different(differences, at) });
            }
            pace.rest(some.len(), begun.elapsed(), self.is_busy()).await;
        }
        if truncated {
            return Err("too much was changed meanwhile".to_owned());
        }
        if scanned == Scanned::OutOfOrder && self.order_differs().await? {
            return Ok(Compared::OrderDiffers);
        }
        Ok(Compared::Equal { records })
    }

    fn is_busy(&self) -> bool {
        self.sides.iter().any(|side| side.place.is_busy())
    }

    /// Returns the position up to which both instances have executed everything.
    fn executed_by_both(&self) -> Seq {
        let board = self.core.board();
        let covered = self.sides.iter().map(|side| board.covered(self.lane(), side.instance));
        covered.min().unwrap_or(Seq::ZERO)
    }

    /// Checks that both instances still follow the lane with the same copy.
    fn stands(&self) -> Result<(), String> {
        let in_use = self.sides.iter().all(|side| self.core.is_in_use(side.instance));
        let board = self.core.board();
        let follows = |side: &Side<'_>| {
            board.state_of(self.collection, side.instance) == LaneState::InStep
                && board.catalog().mapping(self.collection, side.instance) == Some(side.mapped)
        };
        if in_use && self.sides.iter().all(follows) { Ok(()) } else { Err("an instance has left meanwhile".to_owned()) }
    }

    /// Notes each record that seems to differ. Returns how many records were compared. Records added meanwhile count as
    /// touched, and are compared later.
    async fn scan(
        &self,
        pace: Pace,
        compared: &(dyn Fn(u64) + Sync),
        suspects: &mut BTreeSet<String>,
    ) -> Result<(u64, Scanned), String> {
        let [ours, theirs] = &self.sides;
        let held = ours.place.count().await?.unwrap_or_default();
        let enough = usize::try_from(held).unwrap_or(usize::MAX).saturating_add(PAGE_IDS);
        let (mut offset, mut scanned) = (0, Scanned::InOrder);
        loop {
            let (own, other) = tokio::join!(ours.place.ids(offset), theirs.place.ids(offset));
            let (own, other) = (own?, other?);
            let mut rest = own.as_slice();
            while !rest.is_empty() {
                // A client's request waits for one part at most.
                let part = if self.is_busy() { BESIDE_CLIENTS } else { NAMED };
                let (ids, others) = rest.split_at(part.min(rest.len()));
                rest = others;
                let begun = clock::runtime_now();
                self.stands()?;
                suspects.extend(self.differing(ids).await?.into_iter().map(|difference| difference.id));
                offset += ids.len();
                compared(offset as u64);
                if suspects.len() > MOST {
                    return Ok((offset as u64, Scanned::InPart));
                }
                pace.rest(ids.len(), begun.elapsed(), self.is_busy()).await;
            }
            if own != other {
                scanned = Scanned::OutOfOrder;
                suspects.extend(self.missing_in_ours(&other).await?);
            }
            if (own.len() < PAGE_IDS && other.len() < PAGE_IDS) || offset > enough {
                return Ok((offset as u64, scanned));
            }
            // The other copy has more: its next ids are examined as well.
            offset += if own.is_empty() { other.len() } else { 0 };
        }
    }

    /// Returns those of these records that the two copies show differently now.
    async fn differing(&self, ids: &[String]) -> Result<Vec<Difference>, String> {
        let [ours, theirs] = &self.sides;
        let (own, other) = tokio::join!(shown(&ours.place, ids), shown(&theirs.place, ids));
        let (own, other) = (own?, other?);
        // Two servers of one version show equal records in equal bytes. The ids are read all the same: two equal bodies
        // may both be invalid.
        if own == other {
            return own.iter().try_for_each(|part| part.ids().map(drop)).map(|()| Vec::new());
        }
        let (mut own, mut other) = (by_id(&own)?, by_id(&other)?);
        let mut found = Vec::new();
        for id in ids {
            let shown = [own.remove(id), other.remove(id)];
            let same = match &shown {
                [Some(one), Some(other)] => one.same(other, self.embeddings),
                [one, other] => one.is_none() && other.is_none(),
            };
            if !same {
                found.push(Difference { id: id.clone(), shown });
            }
        }
        Ok(found)
    }

    async fn missing_in_ours(&self, ids: &[String]) -> Result<Vec<String>, String> {
        let existing: HashSet<String> = self.sides[0].place.existing(ids).await?.into_iter().collect();
        Ok(ids.iter().filter(|id| !existing.contains(*id)).take(MOST + 1).cloned().collect())
    }

    /// Returns the suspects that differ at one position, and that position, or `None` if none does.
    async fn confirm(&self, suspects: Vec<String>) -> Result<Option<(Vec<Difference>, Seq)>, String> {
        let mut left = suspects;
        for _ in 0..ROUNDS {
            if left.is_empty() {
                return Ok(None);
            }
            let at = self.caught_up().await?;
            let differences = self.differing(&left).await?;
            self.stands()?;
            let touched = self.touched_after(at).await?;
            left = differences.iter().map(|difference| difference.id.clone()).collect();
            if touched.anything {
                continue;
            }
            let certain = |difference: &Difference| !touched.ids.contains(&difference.id);
            let certain: Vec<Difference> = differences.into_iter().filter(certain).collect();
            if !certain.is_empty() {
                return Ok(Some((certain, at)));
            }
        }
        if left.is_empty() { Ok(None) } else { Err("it changes faster than it can be compared".to_owned()) }
    }

    /// Waits until both have executed everything that is in the lane now. Returns the position of its last entry.
    async fn caught_up(&self) -> Result<Seq, String> {
        let (end, begun) = (self.core.board().lane_end(self.lane()), clock::now());
        while self.executed_by_both() < end {
            self.stands()?;
            if is_over(begun) {
                return Err("an instance is too far behind".to_owned());
            }
            tokio::time::sleep(MOMENT).await;
        }
        Ok(end)
    }

    /// Returns the records that entries after this position may have changed.
    async fn touched_after(&self, at: Seq) -> Result<Touched, String> {
        let mut touched = Touched::default();
        let mut after = at;
        while self.core.board().lane_end(self.lane()) > after {
            let history = self.core.store().history(self.lane(), after, ENTRIES).await;
            let history = history.map_err(|error| error.to_string())?;
            // Retention has removed entries that every instance has: which records they touched is no longer known.
            touched.anything |= history.floor > at;
            let Some((last, _)) = history.entries.last() else { break };
            after = last.seq;
            for (request, _) in &history.entries {
                touched.note(request.profile.kind, &request.body);
            }
            if touched.ids.len() > MOST_TOUCHED {
                return Err("too much was written meanwhile".to_owned());
            }
        }
        Ok(touched)
    }

    /// Returns whether the ids come in another order while neither copy changes. An order seen amid writes proves
    /// nothing.
    async fn order_differs(&self) -> Result<bool, String> {
        let at = self.caught_up().await?;
        let [ours, theirs] = &self.sides;
        let mut offset = 0;
        loop {
            let (own, other) = tokio::join!(ours.place.ids(offset), theirs.place.ids(offset));
            let (own, other) = (own?, other?);
            if own != other {
                self.stands()?;
                return Ok(self.core.board().lane_end(self.lane()) == at);
            }
            if own.len() < PAGE_IDS {
                return Ok(false);
            }
            offset += own.len();
        }
    }
}

fn is_over(begun: Instant) -> bool {
    clock::now().duration_since(begun) > CATCH_UP
}

/// How far the lists of ids were read, and how they compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scanned {
    InOrder,
    OutOfOrder,
    /// So many records seem to differ that the rest was skipped.
    InPart,
}

/// Reads these records from an instance, in smaller parts if it cannot show so many at once.
async fn shown(place: &Place<'_>, ids: &[String]) -> Result<Vec<Shown>, String> {
    let mut found = Vec::new();
    let mut parts: Vec<&[String]> = ids.chunks(NAMED).rev().collect();
    while let Some(part) = parts.pop() {
        match place.shown(part).await {
            Ok(shown) => found.push(shown),
            Err(_) if part.len() > 1 => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([right, left]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn by_id(shown: &[Shown]) -> Result<BTreeMap<String, Record>, String> {
    let mut records = BTreeMap::new();
    for part in shown {
        records.extend(part.records()?.into_iter().map(|record| (record.id.clone(), record)));
    }
    Ok(records)
}

/// The records that some entries may have changed.
#[derive(Debug, Default)]
struct Touched {
    ids: HashSet<String>,
    /// Whether some entry names no records: a delete by a condition, or a body in another form.
    anything: bool,
}

impl Touched {
    fn note(&mut self, kind: Kind, body: &[u8]) {
        let object = body.trim_ascii_start().starts_with(b"{");
        let ids = if object { chroma::ids_in(body) } else { Vec::new() };
        self.anything |= ids.is_empty() && kind.is_record();
        self.ids.extend(ids);
    }
}
