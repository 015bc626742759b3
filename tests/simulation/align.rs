//! What the shell makes of a page of a copy that is repaired: the model of `heal/align.rs`.

use std::collections::BTreeSet;

use crate::instance::{Record, Stored};

/// One request to a copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    put: Vec<Record>,
    removed: Vec<u8>,
}

impl Written {
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty()
    }
}

/// Whether the copy is called and defined as the source is, as far as it has a dimension.
pub fn same_definition(ours: &Stored, theirs: &Stored) -> bool {
    (&ours.scope, &ours.name, ours.metadata) == (&theirs.scope, &theirs.name, theirs.metadata)
        && (theirs.dimension.is_none() || theirs.dimension == ours.dimension)
}

/// An upsert takes no document away.
fn can_be_patched(ours: &Record, theirs: &Record) -> bool {
    ours.document.is_some() || theirs.document.is_none()
}

/// An upsert with nulls for the keys that are to go; then a delete.
pub fn write(records: &mut Vec<Record>, written: &Written) {
    for put in &written.put {
        match records.iter_mut().find(|record| record.id == put.id) {
            Some(record) => *record = Record { document: put.document.or(record.document), ..put.clone() },
            None => records.push(put.clone()),
        }
    }
    records.retain(|record| !written.removed.contains(&record.id));
}

/// What to write so that the copy follows the source from this record on, for so many records; and where to go on, if anywhere.
pub fn page(ours: &[Record], theirs: &[Record], offset: usize, most: usize) -> (Written, Option<usize>) {
    let from = |records: &[Record], most: usize| records.iter().skip(offset).take(most).cloned().collect::<Vec<_>>();
    let page = from(ours, most);
    let end = ours.len() < offset + most;
    let held = from(theirs, page.len() + 1);
    let mut written = Written::default();
    let mut common = 0;
    for (one, other) in page.iter().zip(&held).take_while(|(one, other)| one.id == other.id) {
        if one != other {
            if !can_be_patched(one, other) {
                break;
            }
            written.put.push(one.clone());
        }
        common += 1;
    }
    let (missing, extra) = (&page[common..], &held[common..]);
    let next = Some(offset + common);
    if missing.is_empty() && (extra.is_empty() || !end) {
        return (written, if end { None } else { next });
    }
    if !extra.is_empty() {
        written.removed = misplaced(missing, extra, end);
        return (written, next);
    }
    written.put.extend(missing.iter().cloned());
    (written, if end { None } else { Some(offset + page.len()) })
}

fn misplaced(ours: &[Record], theirs: &[Record], end: bool) -> Vec<u8> {
    if ours.first().zip(theirs.first()).is_some_and(|(one, other)| one.id == other.id) {
        return theirs.iter().map(|record| record.id).collect();
    }
    let mut wanted = ours.iter().map(|record| record.id).peekable();
    let mut gone = Vec::new();
    for record in theirs {
        match wanted.peek() {
            Some(id) if *id == record.id => drop(wanted.next()),
            None if !end => break,
            Some(_) | None => gone.push(record.id),
        }
    }
    gone
}

/// While the lane stands still: records that were written to are patched, those that were deleted are removed; from the first id on
/// that differs then, everything is written again.
pub fn touched(copy: &mut Stored, now: &Stored, written: &BTreeSet<u8>, deleted: &BTreeSet<u8>) {
    copy.records.retain(|record| !deleted.contains(&record.id));
    for id in written.difference(deleted) {
        let Some(at) = copy.records.iter().position(|record| record.id == *id) else { continue };
        match now.records.iter().find(|record| record.id == *id) {
            Some(wanted) if can_be_patched(wanted, &copy.records[at]) => copy.records[at] = wanted.clone(),
            Some(_) | None => drop(copy.records.remove(at)),
        }
    }
    let pairs = copy.records.iter().zip(&now.records);
    let same = pairs.take_while(|(one, other)| one.id == other.id).count();
    copy.records.truncate(same);
    copy.records.extend(now.records[same..].iter().cloned());
}
