//! Bringing a copy to its source's content, page by page, in the source's order.
//!
//! The source may be written to meanwhile: then the copy is nearly equal afterwards. It decides what is deleted and
//! written in the copy, and touches the source by reads alone.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::BoxFuture;
use http::Method;

use super::error::HealError;
use super::place::{End, PAGE_IDS, Page, Place, WriteError};
use super::records::{Embeddings, Record, repair, upsert_body};
use crate::clock;
use crate::proof::{self, CrashPoint};

/// The first page asks for so many records; how many fit shows then.
const FIRST_PAGE: usize = 100;
/// Records that are written at once.
const BATCH: usize = 1_000;
/// So many times in a row records of one page may be removed before the copy is given up.
const ROUNDS: usize = 10_000;
/// The longest pause for clients after a page.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// A source and its copy.
pub(super) struct Sides<'a> {
    pub source: &'a Place<'a>,
    pub copy: &'a Place<'a>,
    pub embeddings: Embeddings,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fixed {
    /// Records that were written or removed.
    pub records: usize,
    /// Records that the source had.
    pub total: u64,
}

/// A write to the copy that failed. The copy is thrown away: a request without an answer may still be executed there.
pub(super) fn target(error: WriteError) -> HealError {
    match error {
        WriteError::Refused(why) => HealError::Target(why),
        WriteError::Unanswered(why) => HealError::Unanswered(why),
    }
}

/// How a comparison goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Clients come first: while there are some, half of the time is theirs.
    Yielding,
    /// Writers wait for it.
    Hurried,
}

/// Hears how many records are equal, and how many more these are, and may have the copying wait.
pub(super) type Copied<'a> = &'a (dyn Fn(u64, u64) -> BoxFuture<'a, ()> + Sync);

/// Compares everything, and repairs what differs.
pub(super) async fn contents(sides: &Sides<'_>, copied: Copied<'_>) -> Result<Fixed, HealError> {
    from(sides, 0, Pace::Yielding, copied).await
}

/// Compares everything from this offset on, and repairs what differs.
async fn from(sides: &Sides<'_>, offset: usize, pace: Pace, copied: Copied<'_>) -> Result<Fixed, HealError> {
    let (mut offset, mut size, mut fixed, mut rounds) =
        (offset, FIRST_PAGE.min(sides.source.most_records()), Fixed::default(), 0);
    loop {
        let begun = clock::runtime_now();
        let page = sides.source.page(offset, &mut size).await.map_err(HealError::Source)?;
        let (moved, end) = one_page(sides, offset, &page, &mut fixed).await?;
        proof::pass(CrashPoint::AfterCopyPage);
        rounds = if moved == 0 { rounds + 1 } else { 0 };
        offset += moved;
        copied(offset as u64, moved as u64).await;
        if end == End::Reached {
            fixed.total = offset as u64;
            return Ok(fixed);
        }
        if rounds > ROUNDS {
            return Err(HealError::TooBusy);
        }
        if pace == Pace::Yielding && (sides.source.is_busy() || sides.copy.is_busy()) {
            tokio::time::sleep(begun.elapsed().min(LONGEST_REST)).await;
        }
    }
}

/// How many records are equal from here on now, and whether neither has more.
async fn one_page(sides: &Sides<'_>, offset: usize, page: &Page, fixed: &mut Fixed) -> Result<(usize, End), HealError> {
    // One more, so that what the copy has beyond the source's end shows.
    let mut size = page.records.len() + 1;
    let theirs = sides.copy.page(offset, &mut size).await.map_err(HealError::Target)?;
    let found = repair(&page.records, &theirs.records, sides.embeddings);
    write(sides.copy, &found.patch).await?;
    fixed.records += found.patch.len();
    let (missing, extra) = (&page.records[found.common..], &theirs.records[found.common..]);
    if missing.is_empty() && (extra.is_empty() || page.end == End::Beyond) {
        return Ok((found.common, page.end));
    }
    if !extra.is_empty() {
        let ids: Vec<String> = extra.iter().map(|record| record.id.clone()).collect();
        fixed.records += remove(sides, ids).await?;
        return Ok((found.common, End::Beyond));
    }
    if theirs.end == End::Beyond {
        return Ok((found.common, End::Beyond));
    }
    write(sides.copy, missing).await?;
    fixed.records += missing.len();
    Ok((page.records.len(), page.end))
}

/// Removes what the source does not have from these, or all of them: then the order differs.
async fn remove(sides: &Sides<'_>, ids: Vec<String>) -> Result<usize, HealError> {
    let existing = sides.source.existing(&ids).await.map_err(HealError::Source)?;
    let existing: HashSet<String> = existing.into_iter().collect();
    let gone: Vec<String> = ids.iter().filter(|id| !existing.contains(*id)).cloned().collect();
    let removed = if gone.is_empty() { ids } else { gone };
    sides.copy.delete(&removed).await.map_err(target)?;
    Ok(removed.len())
}

/// Writes these records over what the copy has of them, or behind it.
pub(super) async fn write(copy: &Place<'_>, records: &[Record]) -> Result<(), HealError> {
    for some in records.chunks(BATCH) {
        copy.write(Method::POST, format!("{}/upsert", copy.path), upsert_body(some)).await.map_err(target)?;
    }
    Ok(())
}

/// Compares the lists of ids alone, and repairs the records from the first difference on.
pub(super) async fn order(sides: &Sides<'_>) -> Result<Fixed, HealError> {
    let mut offset = 0;
    loop {
        let ours = sides.source.ids(offset).await.map_err(HealError::Source)?;
        let theirs = sides.copy.ids(offset).await.map_err(HealError::Target)?;
        if ours == theirs {
            offset += ours.len();
            if ours.len() < PAGE_IDS {
                return Ok(Fixed { records: 0, total: offset as u64 });
            }
            continue;
        }
        offset += ours.iter().zip(&theirs).take_while(|(ours, theirs)| ours == theirs).count();
        return from(sides, offset, Pace::Hurried, &|_, _| Box::pin(std::future::ready(()))).await;
    }
}
