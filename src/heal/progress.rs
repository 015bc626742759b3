//! The progress of the copies that are being made, for the pages.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::align::Aligned;
use super::way::HealWay;
use crate::clock;
use crate::ids::{CollectionId, InstanceId};
use crate::order::Rebuild;

/// One copy, as operators see it.
#[derive(Clone, Debug)]
pub struct HealView {
    pub collection: CollectionId,
    pub source: InstanceId,
    pub target: InstanceId,
    /// Whether it is being made now. Otherwise it was given up for the reason in `error`, and is tried again.
    pub stage: HealStage,
    /// How it is made whole; `None` if nothing was begun.
    pub way: Option<HealWay>,
    /// Records that are equal.
    pub records: u64,
    /// Records that were written or removed, over all comparisons.
    pub written: u64,
    pub total: u64,
    /// Records a second, since it began.
    pub rate: f64,
    /// How long ago it began, or was first given up.
    pub seconds: f64,
    pub error: Option<String>,
}

/// Whether a copy is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealStage {
    Copying,
    Waiting,
}

/// Whether an operator has paused the making of copies. Ends with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealPause {
    #[default]
    On,
    Paused,
}

struct State {
    source: InstanceId,
    stage: HealStage,
    way: Option<HealWay>,
    begun: Instant,
    records: u64,
    written: u64,
    total: u64,
    /// The last tenth that was logged.
    tenths: u64,
    error: Option<String>,
}

impl State {
    fn new(rebuild: Rebuild, way: Option<HealWay>, total: u64) -> State {
        let stage = if way.is_some() { HealStage::Copying } else { HealStage::Waiting };
        let (source, begun) = (rebuild.source, clock::now());
        State { source, stage, way, begun, records: 0, written: 0, total, tenths: 0, error: None }
    }
}

#[derive(Default)]
struct Inner {
    copies: BTreeMap<(CollectionId, InstanceId), State>,
    totals: HealTotals,
}

/// What has been done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealTotals {
    /// Copies that were made anew, and the records in them.
    pub made: u64,
    pub copied_records: u64,
    /// Copies that were repaired, the records in them, and those that were written or removed.
    pub repaired: u64,
    pub compared_records: u64,
    pub repaired_records: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// Shared by the healer and the pages.
#[derive(Default)]
pub struct HealProgress {
    inner: Mutex<Inner>,
    pause: watch::Sender<HealPause>,
}

impl HealProgress {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, (rebuild, way): (Rebuild, HealWay), total: u64) {
        let state = State::new(rebuild, Some(way), total);
        self.inner().copies.insert((rebuild.collection, rebuild.target), state);
    }

    /// Notes one more equal page. Returns the tenth of the whole that is reached for the first time, short of the end.
    pub(super) fn aligned(&self, rebuild: Rebuild, page: Aligned) -> Option<u64> {
        let mut inner = self.inner();
        let state = inner.copies.get_mut(&(rebuild.collection, rebuild.target))?;
        let records = page.equal;
        state.written += page.written;
        state.records = records;
        state.total = state.total.max(records);
        let tenths = (10 * records).checked_div(state.total)?.min(9);
        let reached = tenths > state.tenths;
        state.tenths = state.tenths.max(tenths);
        (reached && records < state.total).then_some(tenths)
    }

    /// Notes what was written or removed outside of pages.
    pub(super) fn wrote(&self, rebuild: Rebuild, records: u64) {
        if let Some(state) = self.inner().copies.get_mut(&(rebuild.collection, rebuild.target)) {
            state.written += records;
        }
    }

    /// Returns whether the making of copies is paused.
    pub fn pause(&self) -> HealPause {
        *self.pause.borrow()
    }

    /// Pauses or resumes the making of copies. Returns whether that is a change.
    pub fn set_pause(&self, pause: HealPause) -> bool {
        self.pause.send_if_modified(|before| std::mem::replace(before, pause) != pause)
    }

    /// Waits while the making of copies is paused.
    pub(super) async fn unpaused(&self) {
        let _ = self.pause.subscribe().wait_for(|pause| *pause == HealPause::On).await;
    }

    pub(super) fn made(&self, rebuild: Rebuild, records: u64) {
        let mut inner = self.inner();
        inner.copies.remove(&(rebuild.collection, rebuild.target));
        inner.totals.made += 1;
        inner.totals.copied_records += records;
    }

    /// Notes that the copy is repaired, and has this many records. Returns how many were written.
    pub(super) fn repaired(&self, rebuild: Rebuild, records: u64) -> u64 {
        let mut inner = self.inner();
        let written = inner.copies.remove(&(rebuild.collection, rebuild.target)).map_or(0, |state| state.written);
        inner.totals.repaired += 1;
        inner.totals.compared_records += records;
        inner.totals.repaired_records += written;
        written
    }

    pub(super) fn failed(&self, rebuild: Rebuild, error: &str) {
        self.inner().totals.failed += 1;
        self.refused(rebuild, error);
    }

    /// Notes why the copy is not made until something changes.
    pub(super) fn refused(&self, rebuild: Rebuild, why: &str) {
        let mut inner = self.inner();
        let state = inner.copies.entry((rebuild.collection, rebuild.target)).or_insert(State::new(rebuild, None, 0));
        state.stage = HealStage::Waiting;
        state.error = Some(why.to_owned());
    }

    /// Forgets copies that are no longer to be made.
    pub(super) fn keep(&self, still: impl Fn((CollectionId, InstanceId)) -> bool) {
        self.inner().copies.retain(|key, _| still(*key));
    }

    /// Returns the copies that are being made, or could not be.
    pub fn views(&self) -> Vec<HealView> {
        let view = |((collection, target), state): (&(CollectionId, InstanceId), &State)| {
            let seconds = state.begun.elapsed().as_secs_f64().max(0.001);
            HealView {
                collection: *collection,
                source: state.source,
                target: *target,
                stage: state.stage,
                way: state.way,
                records: state.records,
                written: state.written,
                total: state.total,
                rate: if state.stage == HealStage::Copying { state.records as f64 / seconds } else { 0.0 },
                seconds,
                error: state.error.clone(),
            }
        };
        self.inner().copies.iter().map(view).collect()
    }

    /// What has been done since the start.
    pub fn totals(&self) -> HealTotals {
        self.inner().totals
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::order::WaitId;

    #[test]
    fn each_tenth_is_told_once_and_the_end_is_not() {
        let rebuild = Rebuild {
            collection: CollectionId::new(Uuid::from_u128(1)),
            source: InstanceId(0),
            target: InstanceId(1),
            wait: WaitId::default(),
        };
        let progress = HealProgress::default();
        let page = |equal| Aligned { equal, more: 1, written: 2 };
        assert_eq!(progress.aligned(rebuild, page(5)), None, "it has not begun");
        progress.begin((rebuild, HealWay::Repair), 100);
        let told = [5, 10, 19, 35, 99, 100, 10].map(|records| progress.aligned(rebuild, page(records)));
        assert_eq!(told, [None, Some(1), None, Some(3), Some(9), None, None]);
        assert_eq!(progress.repaired(rebuild, 100), 14);
        let totals = HealTotals { repaired: 1, compared_records: 100, repaired_records: 14, ..HealTotals::default() };
        assert_eq!(progress.totals(), totals);
    }

    #[tokio::test]
    async fn a_pause_lasts_until_it_is_ended() {
        let progress = HealProgress::default();
        progress.unpaused().await;
        assert!(progress.set_pause(HealPause::Paused) && !progress.set_pause(HealPause::Paused));
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), progress.unpaused());
        assert!(waits.await.is_err() && progress.pause() == HealPause::Paused);
        assert!(progress.set_pause(HealPause::On));
        progress.unpaused().await;
    }
}
