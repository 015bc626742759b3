//! The condition of a get, query or delete: its size, by every measure at which SQLite or Chroma gives up.
//!
//! Chroma turns a condition into one SQL expression, in which `$or` and `$and` of n terms nest n deep. SQLite refuses
//! from about a thousand levels, and from about 4,500 the process dies. Chroma decides whether a condition is valid.

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::regex;
use super::visit::{Key, Look, Looking, skip_map};
use crate::chroma::limit_table::Limit;
use crate::chroma::limits::Measured;
use crate::order;

/// The totals of a request's conditions, both fields together.
#[derive(Default)]
pub(super) struct Conditions {
    /// The nesting of the SQL expression of each field that has a condition.
    terms: Vec<usize>,
    /// Whether there is a condition on metadata, and one on documents.
    on: [bool; 2],
    /// Each is a separate step for the server. The time for all of them grows with the square of their number.
    comparisons: usize,
    depth: usize,
    bytes: usize,
    /// SQL variables: values to compare with.
    values: usize,
    pattern_bytes: usize,
    regex_bytes: usize,
    /// The sum over all of them: each is compiled.
    regex_work: u64,
}

impl Conditions {
    /// Returns whether there is any condition.
    pub(super) fn any(&self) -> bool {
        !self.terms.is_empty()
    }

    fn push(&mut self, field: Field, terms: usize) {
        self.on[usize::from(field == Field::WhereDocument)] = true;
        self.terms.push(terms);
    }

    /// Adds the counts; `ids` is the number of ids that the request names beside its conditions.
    pub(super) fn measure(&self, ids: usize, measured: &mut Measured) {
        measured.sizes_mut().conditions = match self.on {
            [true, true] => order::Conditions::Both,
            [true, false] => order::Conditions::Metadata,
            [false, true] => order::Conditions::Document,
            [false, false] if ids > 0 => order::Conditions::Ids,
            [false, false] => order::Conditions::None,
        };
        measured.note(Limit::ConditionTerms, chain(&self.terms));
        measured.note(Limit::ConditionComparisons, self.comparisons);
        measured.note(Limit::ConditionDepth, self.depth);
        measured.note(Limit::ConditionBytes, self.bytes);
        measured.note(Limit::ConditionValues, self.values.saturating_add(ids));
        measured.note(Limit::ConditionPatternBytes, self.pattern_bytes);
        measured.note(Limit::ConditionRegexBytes, self.regex_bytes);
        measured.note(Limit::ConditionRegexWork, usize::try_from(self.regex_work).unwrap_or(usize::MAX));
    }
}

/// Returns how deep `a OR b OR c ...` nests, read from the left: the first two terms are the deepest.
fn chain(terms: &[usize]) -> usize {
    let of = |(at, term): (usize, &usize)| term + terms.len() - at.max(1);
    terms.iter().enumerate().map(of).max().unwrap_or(0)
}

/// The field that contains a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Where,
    WhereDocument,
}

/// Looks at the whole condition of one field.
pub(super) struct Condition<'a> {
    pub(super) field: Field,
    pub(super) found: &'a mut Conditions,
}

impl<'de> Look<'de> for Condition<'_> {
    type Output = ();
    fn on_null(self) {}
    fn on_text(self, _: &str) {
        self.found.push(self.field, 1);
    }
    fn on_other(self) {
        self.found.push(self.field, 1);
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let Condition { field, found } = self;
        Terms { field, found: &mut *found, depth: 1 }.on_seq(seq).map(|terms| found.push(field, terms))
    }
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Condition { field, found } = self;
        Term { field, found: &mut *found, depth: 0 }.on_map(map).map(|terms| found.push(field, terms))
    }
}

/// One term: `{"$or": [...]}` or a comparison. The output is the nesting depth of its expression.
struct Term<'a> {
    field: Field,
    found: &'a mut Conditions,
    depth: usize,
}

impl<'de> Look<'de> for Term<'_> {
    type Output = usize;
    fn on_null(self) -> usize {
        1
    }
    fn on_text(self, text: &str) -> usize {
        self.found.bytes += text.len();
        1
    }
    fn on_other(self) -> usize {
        1
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<usize, A::Error> {
        Terms { field: self.field, found: self.found, depth: self.depth }.on_seq(seq)
    }
    fn on_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let Term { field, found, depth } = self;
        let mut deepest = 1;
        while let Some(Key(key)) = map.next_key()? {
            found.bytes += key.len();
            let terms = match key.as_ref() {
                "$and" | "$or" => {
                    map.next_value_seed(Looking(Terms { field, found: &mut *found, depth: depth + 1 }))?
                }
                key => {
                    let matches = if field == Field::WhereDocument { Matches::of(key) } else { Matches::Value };
                    let document = field == Field::WhereDocument || key == "#document";
                    found.comparisons += 1;
                    map.next_value_seed(Looking(Operand { matches, document, found: &mut *found }))?;
                    1
                }
            };
            deepest = deepest.max(terms);
        }
        Ok(deepest)
    }
}

/// The terms of one `$and` or `$or`.
struct Terms<'a> {
    field: Field,
    found: &'a mut Conditions,
    depth: usize,
}

impl<'de> Look<'de> for Terms<'_> {
    type Output = usize;
    fn on_null(self) -> usize {
        1
    }
    fn on_text(self, _: &str) -> usize {
        1
    }
    fn on_other(self) -> usize {
        1
    }
    fn on_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
        let Terms { field, found, depth } = self;
        found.depth = found.depth.max(depth);
        let mut terms = Vec::new();
        while let Some(term) = seq.next_element_seed(Looking(Term { field, found: &mut *found, depth }))? {
            terms.push(term);
        }
        Ok(chain(&terms))
    }
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<usize, A::Error> {
        skip_map(map).map(|()| 1)
    }
}

/// How an operator uses its operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Matches {
    Value,
    Contains,
    Regex,
}

impl Matches {
    fn of(operator: &str) -> Matches {
        match operator {
            "$contains" | "$not_contains" => Matches::Contains,
            "$regex" | "$not_regex" => Matches::Regex,
            _ => Matches::Value,
        }
    }
}

/// The operand of a term: a value, or an operator with a value.
struct Operand<'a> {
    matches: Matches,
    /// Whether the document is compared: only then is `$contains` a pattern.
    document: bool,
    found: &'a mut Conditions,
}

impl<'de> Look<'de> for Operand<'_> {
    type Output = ();
    fn on_null(self) {}
    fn on_text(self, text: &str) {
        self.found.values += 1;
        self.found.bytes += text.len();
        let longest = match self.matches {
            Matches::Contains if self.document => &mut self.found.pattern_bytes,
            Matches::Regex => {
                self.found.regex_work = self.found.regex_work.saturating_add(regex::cost(text));
                &mut self.found.regex_bytes
            }
            Matches::Contains | Matches::Value => return,
        };
        *longest = text.len().max(*longest);
    }
    fn on_other(self) {
        self.found.values += 1;
    }
    fn on_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Operand { matches, document, found } = self;
        while seq.next_element_seed(Looking(Operand { matches, document, found: &mut *found }))?.is_some() {}
        Ok(())
    }
    fn on_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Operand { document, found, .. } = self;
        while let Some(Key(key)) = map.next_key()? {
            found.bytes += key.len();
            let matches = Matches::of(&key);
            map.next_value_seed(Looking(Operand { matches, document, found: &mut *found }))?;
        }
        Ok(())
    }
}

/// Counts the items of an array of ids; anything else counts as none.
pub(super) struct Items;

impl<'de> Look<'de> for Items {
    type Output = usize;
    fn on_null(self) -> usize {
        0
    }
    fn on_text(self, _: &str) -> usize {
        0
    }
    fn on_other(self) -> usize {
        0
    }
    fn on_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
        let mut items = 0;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            items += 1;
        }
        Ok(items)
    }
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<usize, A::Error> {
        skip_map(map).map(|()| 0)
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
