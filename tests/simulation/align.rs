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

/// How far both sides are compared: the model of `heal/cursor.rs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    source: usize,
    copy: usize,
    /// The source's record before it.
    last: Option<u8>,
}

impl Cursor {
    pub fn is_at_the_beginning(self) -> bool {
        self.copy == 0
    }

    fn behind(self, equal: &[Record]) -> Cursor {
        let last = equal.last().map(|record| record.id).or(self.last);
        Cursor { source: self.source + equal.len(), copy: self.copy + equal.len(), last }
    }

    /// Where the first record is that was not compared yet, if records before it were deleted since. Whether they were.
    fn followed(self, ours: &[Record], theirs: &[Record]) -> Option<Cursor> {
        let before = self.source.checked_sub(1)?;
        if self.last.is_none() || ours.get(before).map(|record| record.id) == self.last {
            return None;
        }
        let compared: Vec<u8> = theirs.iter().take(self.copy).map(|record| record.id).collect();
        let source =
            ours[..self.source.min(ours.len())].iter().take_while(|record| compared.contains(&record.id)).count();
        let last = source.checked_sub(1).map(|last| ours[last].id);
        (source < self.source).then_some(Cursor { source, last, ..self })
    }
}

/// What to write so that the copy follows the source from this record on, for so many records; and where to go on, if anywhere.
pub fn page(ours: &[Record], theirs: &[Record], cursor: Cursor, most: usize) -> (Written, Option<Cursor>) {
    let page: Vec<Record> = ours.iter().skip(cursor.source).take(most).cloned().collect();
    let end = ours.len() < cursor.source + most;
    let held: Vec<Record> = theirs.iter().skip(cursor.copy).take(page.len() + 1).cloned().collect();
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
    let next = Some(cursor.behind(&page[..common]));
    if missing.is_empty() && (extra.is_empty() || !end) {
        return (written, if end { None } else { next });
    }
    if common == 0
        && let Some(followed) = cursor.followed(ours, theirs)
    {
        return (written, Some(followed));
    }
    if !extra.is_empty() {
        written.removed = misplaced(missing, extra, end);
        return (written, next);
    }
    written.put.extend(missing.iter().cloned());
    (written, if end { None } else { Some(cursor.behind(&page)) })
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

/// While the lane stands still: records that were written to are patched, those that were deleted are removed. Then the lists of ids
/// show what else goes, and what is written behind the last record.
pub fn touched(copy: &mut Stored, now: &Stored, written: &BTreeSet<u8>, deleted: &BTreeSet<u8>) {
    copy.records.retain(|record| !deleted.contains(&record.id));
    for id in written.difference(deleted) {
        let Some(at) = copy.records.iter().position(|record| record.id == *id) else { continue };
        match now.records.iter().find(|record| record.id == *id) {
            Some(wanted) if can_be_patched(wanted, &copy.records[at]) => copy.records[at] = wanted.clone(),
            Some(_) | None => drop(copy.records.remove(at)),
        }
    }
    let mut wanted = now.records.iter().map(|record| record.id).peekable();
    copy.records.retain(|record| wanted.next_if_eq(&record.id).is_some());
    let equal = copy.records.len();
    copy.records.extend(now.records[equal..].iter().cloned());
}
