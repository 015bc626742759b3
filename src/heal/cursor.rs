//! The position of a comparison on either side.
//!
//! Records are read by position while clients go on deleting. When a record is deleted from the source, those behind it
//! move up in the source, but not in the copy. This file decides where to continue in the source then, before anything
//! counts as missing or misplaced. A deleted record stays in the copy until the next comparison, or the cutover, finds
//! it.
//!
//! A position that is wrong all the same costs writes, but no records: the cursor passes only compared records in the
//! copy, and the lists of ids are compared in full before the copy serves.

use std::collections::HashSet;

use super::error::HealError;
use super::records::Record;

/// How many ids before the position are searched first: clients seldom delete more while a page is read.
const LOOKED_BACK: usize = 250;
/// The factor by which the search grows each time that these are not enough.
const FURTHER: usize = 8;
/// The search is given up before it reaches this many ids. Holding more ids costs memory; giving up costs the time of
/// writing records again.
const FURTHEST: usize = 20_000;
/// How many times as many ids of the copy are searched: it still has the records that have been deleted in the source.
const WIDER: usize = 4;

/// How far both sides are compared. The records before it are equal, or have been deleted in the source since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub source: usize,
    pub copy: usize,
    /// The source's record before the position. `None`: there is none, or nothing moves the source.
    last: Option<String>,
}

/// The lists of ids of both sides.
pub(super) trait Lists {
    /// Returns this many ids of the source from this offset on, or as many as there are.
    async fn source(&self, offset: usize, count: usize) -> Result<Vec<String>, HealError>;
    async fn copy(&self, offset: usize, count: usize) -> Result<Vec<String>, HealError>;
}

impl Cursor {
    /// Returns a cursor behind this many equal records.
    pub fn at(equal: usize) -> Cursor {
        Cursor { source: equal, copy: equal, last: None }
    }

    /// Moves past these records, which are equal on both sides.
    pub fn pass(&mut self, records: &[Record]) {
        self.source += records.len();
        self.copy += records.len();
        if let Some(last) = records.last() {
            self.last = Some(last.id.clone());
        }
    }

    /// Moves back in the source as far as the compared records have moved up. Returns whether the cursor moved.
    pub async fn follow(&mut self, lists: &impl Lists) -> Result<bool, HealError> {
        let Some(last) = &self.last else { return Ok(false) };
        // Only deletions move a record, and always up. If it has not moved, nothing before it was deleted.
        if self.source > 0 && lists.source(self.source - 1, 1).await?.first() == Some(last) {
            return Ok(false);
        }
        let mut back = LOOKED_BACK;
        while back < FURTHEST {
            let from = self.source.saturating_sub(back);
            let now = lists.source(from, self.source - from).await?;
            let theirs = self.copy.saturating_sub(WIDER * back);
            let compared = if now.is_empty() { Vec::new() } else { lists.copy(theirs, self.copy - theirs).await? };
            let still = still_there(&compared, &now);
            if still > 0 || (from == 0 && (now.is_empty() || theirs == 0)) {
                let has_moved = from + still < self.source;
                self.source = from + still;
                self.last = still.checked_sub(1).and_then(|last| now.into_iter().nth(last));
                return Ok(has_moved);
            }
            back *= FURTHER;
        }
        Ok(false)
    }
}

/// Returns how many of the source's ids, from the first one on, were compared. Records keep their order, and a record
/// that is written again comes last. So behind the first one that was not compared, none was.
fn still_there(compared: &[String], now: &[String]) -> usize {
    let compared: HashSet<&str> = compared.iter().map(String::as_str).collect();
    now.iter().take_while(|id| compared.contains(id.as_str())).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids of a source and of its copy, and how many were read.
    #[derive(Default)]
    struct Held {
        source: Vec<usize>,
        copy: Vec<usize>,
        read: std::cell::Cell<usize>,
    }

    impl Held {
        fn equal(count: usize) -> Held {
            Held { source: (0..count).collect(), copy: (0..count).collect(), ..Held::default() }
        }

        fn ids(&self, all: &[usize], offset: usize, count: usize) -> Vec<String> {
            let found: Vec<String> = all.iter().skip(offset).take(count).map(|id| format!("id-{id}")).collect();
            self.read.set(self.read.get() + found.len());
            found
        }

        fn deleted(&mut self, gone: impl Fn(usize) -> bool) {
            self.source.retain(|id| !gone(*id));
        }
    }

    impl Lists for Held {
        async fn source(&self, offset: usize, count: usize) -> Result<Vec<String>, HealError> {
            Ok(self.ids(&self.source, offset, count))
        }

        async fn copy(&self, offset: usize, count: usize) -> Result<Vec<String>, HealError> {
            Ok(self.ids(&self.copy, offset, count))
        }
    }

    fn behind(equal: usize) -> Cursor {
        Cursor { last: equal.checked_sub(1).map(|last| format!("id-{last}")), ..Cursor::at(equal) }
    }

    /// Returns where the cursor is afterwards, if it moves: the source's next record there is the copy's.
    async fn followed(held: &Held, mut cursor: Cursor) -> Option<[usize; 2]> {
        let before = cursor.copy;
        let has_moved = cursor.follow(held).await.unwrap();
        assert_eq!(cursor.copy, before, "it stays in the copy");
        has_moved.then_some([cursor.source, cursor.copy])
    }

    #[tokio::test]
    async fn what_was_not_moved_is_asked_for_one_id() {
        let mut held = Held::equal(1000);
        held.deleted(|id| id > 500);
        held.source.push(3000);
        assert_eq!(followed(&held, behind(500)).await, None);
        assert_eq!(held.read.get(), 1);
        assert_eq!(followed(&held, Cursor::at(500)).await, None, "nothing moves it");
        assert_eq!(held.read.get(), 1);
    }

    #[tokio::test]
    async fn it_goes_back_as_far_as_records_before_it_were_deleted() {
        let cases: [(&dyn Fn(usize) -> bool, usize); 6] = [
            (&|id| id == 0, 4999),
            (&|id| id == 4999, 4999),
            (&|id| (4000..5200).contains(&id), 4000),
            (&|id| id < 3000, 2000),
            (&|id| id % 2 == 0, 2500),
            (&|id| id < 5000, 0),
        ];
        for (case, (gone, expected)) in cases.into_iter().enumerate() {
            let mut held = Held::equal(6000);
            held.deleted(gone);
            assert_eq!(followed(&held, behind(5000)).await, Some([expected, 5000]), "case {case}");
        }
        let mut emptied = Held::equal(6000);
        emptied.deleted(|_| true);
        assert_eq!(followed(&emptied, behind(5000)).await, Some([0, 5000]));
    }

    /// Also if the copy still has what was deleted earlier.
    #[tokio::test]
    async fn it_goes_back_again_and_again() {
        let mut held = Held::equal(3000);
        let mut cursor = behind(1000);
        for round in 0..10 {
            held.deleted(|id| id < 50 * (round + 1));
            assert!(cursor.follow(&held).await.unwrap());
            assert_eq!((cursor.source, cursor.copy), (950 - 50 * round, 1000));
            assert!(!cursor.follow(&held).await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_was_written_again_comes_last_and_is_not_taken_for_what_was_compared() {
        let mut held = Held::equal(4);
        held.deleted(|id| id < 2);
        held.source.push(0);
        assert_eq!(followed(&held, behind(3)).await, Some([1, 3]), "3 was not compared yet");
    }

    #[tokio::test]
    async fn a_search_that_costs_too_much_is_given_up() {
        let mut held = Held::equal(200_000);
        held.deleted(|id| (100_000..150_000).contains(&id));
        assert_eq!(followed(&held, behind(150_000)).await, None);
        assert!(held.read.get() < 6 * FURTHEST, "{}", held.read.get());
    }
}
