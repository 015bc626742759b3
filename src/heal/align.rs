//! Makes a copy equal to its source, page by page, in the source's order.
//!
//! The source may be written to meanwhile: then the copy is nearly equal afterwards. This file decides what is deleted
//! and written in the copy, and only reads from the source. [`super::cursor`] decides where a comparison stands on
//! either side when a record before it is deleted in the source.

use std::ops::ControlFlow;
use std::time::Duration;

use futures::future::BoxFuture;
use http::Method;

use super::cursor::{Cursor, Lists};
use super::error::HealError;
use super::place::{PAGE_IDS, Page, Place, WriteError};
use super::records::{Embeddings, End, Record, misplaced, repair, upsert_body};
use crate::clock;
use crate::proof::{self, CrashPoint};

/// How many records the first page asks for. Its answer shows how many fit.
const FIRST_PAGE: usize = 100;
/// How many records are written at once.
const BATCH: usize = 1_000;
/// How many rounds in a row may pass no record before the copy is given up.
const ROUNDS: usize = 10_000;
/// The most records that are removed at once while writers wait. From there on everything is compared.
const MOST_GONE: usize = 5_000;
/// The longest pause for clients after a page.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// A source and its copy.
pub(super) struct Sides<'a> {
    pub source: &'a Place<'a>,
    pub copy: &'a Place<'a>,
    pub embeddings: Embeddings,
    /// The most records that one comparison may write or remove. Beyond this, a new copy is cheaper.
    pub worth: Worth,
}

impl Lists for Sides<'_> {
    async fn source(&self, offset: usize, count: usize) -> Result<Vec<String>, HealError> {
        self.source.some_ids(offset, count).await.map_err(HealError::Source)
    }

    async fn copy(&self, offset: usize, count: usize) -> Result<Vec<String>, HealError> {
        self.copy.some_ids(offset, count).await.map_err(HealError::Target)
    }
}

/// How much of a copy is written before that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// A new copy: all of it.
    Everything,
    /// A copy that is repaired in place: at most this many records.
    AtMost(u64),
}

impl Worth {
    fn check(self, fixed: Fixed, compared: usize) -> Result<(), HealError> {
        match self {
            Worth::AtMost(most) if fixed.differing() as u64 > most => {
                Err(HealError::TooDifferent { differing: fixed.differing() as u64, total: compared as u64 })
            }
            Worth::AtMost(_) | Worth::Everything => Ok(()),
        }
    }
}

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fixed {
    /// Records that were written.
    pub written: usize,
    /// Records that were removed: some of them were written again behind the others.
    pub removed: usize,
    /// Records that the source had.
    pub total: u64,
}

impl Fixed {
    /// A record that is moved is removed and written: it counts twice.
    pub fn records(self) -> usize {
        self.written + self.removed
    }

    /// Returns how many records differed: one that is moved counts once.
    fn differing(self) -> usize {
        self.written.max(self.removed)
    }
}

/// Converts the error of a write to the copy. A new copy is thrown away, and one that is repaired rests: a request
/// without an answer may still be executed there.
pub(super) fn target(error: WriteError) -> HealError {
    match error {
        WriteError::Refused(why) => HealError::Target(why),
        WriteError::Unanswered(why) => HealError::Unanswered(why),
    }
}

/// How a comparison goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Clients come first: while there are any, half of the time is theirs.
    Yielding,
    /// Writers wait for it.
    Hurried,
}

impl Pace {
    /// Returns whether clients use either side now, and come first.
    fn yields(self, sides: &Sides<'_>) -> bool {
        self == Pace::Yielding && (sides.source.is_busy() || sides.copy.is_busy())
    }
}

/// One more page of a copy is equal to its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aligned {
    /// Records that are equal, from the first one on.
    pub equal: u64,
    /// Those of this page.
    pub more: u64,
    /// Those of them that were written or removed.
    pub written: u64,
}

/// Called after each page. The comparison waits for the returned future, which is how it is throttled.
pub(super) type Heard<'a> = &'a (dyn Fn(Aligned) -> BoxFuture<'a, ()> + Sync);

/// Compares everything, and repairs what differs.
pub(super) async fn contents(sides: &Sides<'_>, heard: Heard<'_>) -> Result<Fixed, HealError> {
    from(sides, 0, Pace::Yielding, heard).await
}

/// Compares everything from this record on, and repairs what differs. Those before it are equal.
async fn from(sides: &Sides<'_>, equal: usize, pace: Pace, heard: Heard<'_>) -> Result<Fixed, HealError> {
    let (mut cursor, mut source) = (Cursor::at(equal), Ahead::of(sides.source));
    let (mut fixed, mut rounds, mut in_step) = (Fixed::default(), 0, true);
    loop {
        let begun = clock::runtime_now();
        let page = source.page(cursor.source).await.map_err(HealError::Source)?;
        let before = fixed.records();
        // Beside clients the source is not read while the copy is written: they would wait longer.
        let ahead = page.end == End::Beyond && in_step && !pace.yields(sides);
        let behind = ahead.then_some(cursor.source + page.records.len());
        let (aligned, ()) = tokio::join!(one_page(sides, &mut cursor, &page, &mut fixed), source.read_ahead(behind));
        let (moved, end) = aligned?;
        proof::pass(CrashPoint::AfterCopyPage);
        in_step = moved == page.records.len();
        rounds = if moved == 0 { rounds + 1 } else { 0 };
        cursor.pass(&page.records[..moved]);
        sides.worth.check(fixed, cursor.source)?;
        let written = (fixed.records() - before) as u64;
        heard(Aligned { equal: cursor.source as u64, more: moved as u64, written }).await;
        if end == End::Reached {
            fixed.total = cursor.source as u64;
            return Ok(fixed);
        }
        if rounds > ROUNDS {
            return Err(HealError::TooBusy);
        }
        if pace.yields(sides) {
            tokio::time::sleep(begun.elapsed().min(LONGEST_REST)).await;
        }
    }
}

/// Reads the source one page ahead, so that it answers while the copy is written.
///
/// A page read ahead is used only if the comparison continues exactly behind the page before it. Clients may have changed the
/// source since; that is true of any page, and the next comparison finds it.
struct Ahead<'a> {
    place: &'a Place<'a>,
    /// How many records the next page asks for.
    size: usize,
    read: Option<(usize, Page)>,
}

impl<'a> Ahead<'a> {
    fn of(place: &'a Place<'a>) -> Self {
        Ahead { place, size: FIRST_PAGE.min(place.most_records()), read: None }
    }

    /// Returns the page at this offset.
    async fn page(&mut self, offset: usize) -> Result<Page, String> {
        match self.read.take() {
            Some((at, page)) if at == offset => Ok(page),
            _ => self.place.page(offset, &mut self.size).await,
        }
    }

    /// Reads the page at this offset, if any. Drops an error: [`Ahead::page`] reads again, and returns it.
    async fn read_ahead(&mut self, offset: Option<usize>) {
        let Some(offset) = offset else { return };
        self.read = self.place.page(offset, &mut self.size).await.ok().map(|page| (offset, page));
    }
}

/// Makes one page equal. Returns how many records are equal from here on, and whether neither side has more.
async fn one_page(
    sides: &Sides<'_>,
    cursor: &mut Cursor,
    page: &Page,
    fixed: &mut Fixed,
) -> Result<(usize, End), HealError> {
    // One more, to show whether the copy goes on beyond the source's end.
    let mut size = page.records.len() + 1;
    let theirs = sides.copy.page(cursor.copy, &mut size).await.map_err(HealError::Target)?;
    let found = repair(&page.records, &theirs.records, sides.embeddings);
    write(sides.copy, &found.patch).await?;
    fixed.written += found.patch.len();
    let (missing, extra) = (&page.records[found.common..], &theirs.records[found.common..]);
    if missing.is_empty() && (extra.is_empty() || page.end == End::Beyond) {
        return Ok((found.common, page.end));
    }
    // A page whose first records are equal began where it should.
    if found.common == 0 && cursor.follow(sides).await? {
        return Ok((0, End::Beyond));
    }
    if !extra.is_empty() {
        let gone = misplaced(missing, extra, page.end);
        sides.copy.delete(&gone).await.map_err(target)?;
        fixed.removed += gone.len();
        return Ok((found.common, End::Beyond));
    }
    if theirs.end == End::Beyond {
        return Ok((found.common, End::Beyond));
    }
    write(sides.copy, missing).await?;
    fixed.written += missing.len();
    Ok((page.records.len(), page.end))
}

/// Writes these records over what the copy has of them, or behind it.
pub(super) async fn write(copy: &Place<'_>, records: &[Record]) -> Result<(), HealError> {
    for some in records.chunks(BATCH) {
        copy.write(Method::POST, format!("{}/upsert", copy.path), upsert_body(some)).await.map_err(target)?;
    }
    Ok(())
}

/// Compares only the lists of ids. Removes from the copy what the source lacks or has elsewhere, and writes what is
/// then missing behind the copy's last record. What both have in the same order was compared before.
pub(super) async fn order(sides: &Sides<'_>) -> Result<Fixed, HealError> {
    let mut gone = Vec::new();
    let found = walk(sides, |id| {
        gone.push(id);
        if gone.len() < MOST_GONE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let order = found.await?;
    if gone.is_empty() && order.missing == 0 {
        return Ok(Fixed { total: order.total, ..Fixed::default() });
    }
    sides.copy.delete(&gone).await.map_err(target)?;
    let fixed = tail(sides, order.total - order.missing).await?;
    Ok(Fixed { removed: fixed.removed + gone.len(), ..fixed })
}

/// Compares everything from this record on, and repairs what differs. Both sides are equal before it.
pub(super) async fn tail(sides: &Sides<'_>, equal: u64) -> Result<Fixed, HealError> {
    let equal = usize::try_from(equal).unwrap_or(usize::MAX);
    from(sides, equal, Pace::Hurried, &|_| Box::pin(std::future::ready(()))).await
}

/// What it takes to give a copy the source's order: it can lose records, and gain others behind its last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// Records that must be removed, since the source lacks them or has them elsewhere.
    pub misplaced: u64,
    /// Records that must be written behind the others.
    pub missing: u64,
    /// Records that the source has.
    pub total: u64,
}

impl Order {
    /// Returns how many records differ. One that the source has elsewhere is misplaced and missing, and counts once.
    pub fn differing(self) -> u64 {
        self.misplaced.max(self.missing)
    }
}

/// Compares the lists of ids, and changes nothing. While clients write, the result is only nearly right.
pub(super) async fn order_differs_by(sides: &Sides<'_>) -> Result<Order, HealError> {
    walk(sides, |_| ControlFlow::Continue(())).await
}

/// Walks through both lists of ids, and calls `misplaced` for each misplaced one. The walk ends there if the call
/// breaks.
async fn walk(sides: &Sides<'_>, mut misplaced: impl FnMut(String) -> ControlFlow<()>) -> Result<Order, HealError> {
    let (mut ours, mut theirs) = (Ids::of(sides.source), Ids::of(sides.copy));
    let mut order = Order::default();
    let mut wanted = None;
    loop {
        // Both servers read at the same time, since writers may be waiting.
        let (source, copy) = tokio::join!(ours.load(), theirs.load());
        source.map_err(HealError::Source)?;
        copy.map_err(HealError::Target)?;
        wanted = wanted.or_else(|| ours.page.next());
        let Some(id) = theirs.page.next() else { break };
        if wanted.as_ref() == Some(&id) {
            order.total += 1;
            wanted = None;
            continue;
        }
        order.misplaced += 1;
        if misplaced(id).is_break() {
            return Ok(order);
        }
    }
    while wanted.is_some() {
        order.total += 1;
        order.missing += 1;
        ours.load().await.map_err(HealError::Source)?;
        wanted = ours.page.next();
    }
    Ok(order)
}

/// The ids of a place in its order, read in pages.
struct Ids<'a> {
    place: &'a Place<'a>,
    page: std::vec::IntoIter<String>,
    offset: usize,
    end: End,
}

impl<'a> Ids<'a> {
    fn of(place: &'a Place<'a>) -> Self {
        Ids { place, page: Vec::new().into_iter(), offset: 0, end: End::Beyond }
    }

    /// Reads the next page, if the last one is used up and there is another one.
    async fn load(&mut self) -> Result<(), String> {
        if self.page.len() == 0 && self.end == End::Beyond {
            let page = self.place.ids(self.offset).await?;
            self.offset += page.len();
            self.end = if page.len() < PAGE_IDS { End::Reached } else { End::Beyond };
            self.page = page.into_iter();
        }
        Ok(())
    }
}
