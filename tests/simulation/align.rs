//! How the shell processes a page of a copy under repair: the model of `heal/align.rs`.

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

/// Returns whether the copy has the source's name and definition, as far as the source has a dimension.
pub fn same_definition(ours: &Stored, theirs: &Stored) -> bool {
    (&ours.scope, &ours.name, ours.metadata) == (&theirs.scope, &theirs.name, theirs.metadata)
        && (theirs.dimension.is_none() || theirs.dimension == ours.dimension)
}

/// An upsert cannot remove a document.
fn can_be_patched(ours: &Record, theirs: &Record) -> bool {
    ours.document.is_some() || theirs.document.is_none()
}

/// Executes an upsert with nulls for the keys to remove, and then a delete.
pub fn write(records: &mut Vec<Record>, written: &Written) {
    for put in &written.put {
        match records.iter_mut().find(|record| record.id == put.id) {
            Some(record) => *record = Record { document: put.document.or(record.document), ..put.clone() },
            None => records.push(put.clone()),
        }
    }
    records.retain(|record| !written.removed.contains(&record.id));
}

/// How far both sides have been compared: the model of `heal/cursor.rs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    source: usize,
    copy: usize,
    /// The source's record before the cursor.
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

    /// Returns the position of the first uncompared record if records before it have been deleted since, otherwise
    /// `None`.
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

/// Returns what to write so that the copy follows the source from this record on, for this many records, and the cursor
/// at which to continue, if there is more.
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

/// Brings the copy up to date while the lane stands still: patches written records and removes deleted ones. The lists
/// of ids then show what else to remove, and what to write after the last record.
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
