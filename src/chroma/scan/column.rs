//! One array in the body of a record write: the number and types of its items.

use serde::de::{MapAccess, SeqAccess};

use super::metadata::{Findings, Holds, Metadata, Owner};
use super::refusal::Refusal;
use super::visit::{Look, Looking, skip_map, skip_seq};
use crate::chroma::limit_table::Limit;

/// The findings about one array.
#[derive(Clone, Copy, Default)]
pub(super) struct Column {
    pub(super) state: ColumnState,
    pub(super) items: usize,
    pub(super) nulls: usize,
    /// Embeddings that are arrays of numbers.
    pub(super) arrays: usize,
    /// Embeddings that are base64 text.
    pub(super) texts: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ColumnState {
    /// Missing, or null.
    #[default]
    Absent,
    Present,
    /// Chroma refuses it: an item, or the whole value, has the wrong type.
    Wrong,
}

/// The expected type of an array's items.
#[derive(Clone, Copy)]
pub(super) enum Item {
    Id,
    Embedding,
    /// A document or a uri.
    Text,
    Metadata,
}

/// Looks at one array.
pub(super) struct Items<'a> {
    pub(super) item: Item,
    pub(super) findings: &'a mut Findings,
}

const WRONG: Column = Column { state: ColumnState::Wrong, items: 0, nulls: 0, arrays: 0, texts: 0 };

impl<'de> Look<'de> for Items<'_> {
    type Output = Column;
    fn on_null(self) -> Column {
        // Chroma refuses null ids; the other arrays may be null.
        if matches!(self.item, Item::Id) { WRONG } else { Column::default() }
    }
    fn on_text(self, _: &str) -> Column {
        WRONG
    }
    fn on_other(self) -> Column {
        WRONG
    }
    fn on_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Column, A::Error> {
        let mut column = Column { state: ColumnState::Present, ..Column::default() };
        loop {
            let found = match self.item {
                Item::Metadata => {
                    let metadata = Metadata { owner: Owner::Record, findings: &mut *self.findings };
                    seq.next_element_seed(Looking(metadata))?.map(|holds| match holds {
                        Holds::Object { .. } => Value::Object,
                        Holds::Null => Value::Null,
                        Holds::Wrong => Value::Other,
                    })
                }
                _ => seq.next_element_seed(Looking(AnyValue))?,
            };
            let Some(value) = found else { return Ok(column) };
            column.count(self.item, value, self.findings);
        }
    }
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<Column, A::Error> {
        skip_map(map).map(|()| WRONG)
    }
}

impl Column {
    fn count(&mut self, item: Item, value: Value, findings: &mut Findings) {
        self.items += 1;
        match (item, value) {
            (Item::Id, Value::Text(bytes)) => findings.measured.note(Limit::IdBytes, bytes),
            (Item::Text, Value::Text(bytes)) => findings.measured.note(Limit::DocumentBytes, bytes),
            (Item::Embedding, Value::Array(numbers)) => findings.measured.sizes_mut().note_dimension(numbers),
            // Four bytes each, in base64.
            (Item::Embedding, Value::Text(bytes)) => findings.measured.sizes_mut().note_dimension(bytes / 16 * 3),
            _ => {}
        }
        match (item, value) {
            (Item::Id, Value::Text(_)) | (Item::Text, Value::Text(_)) | (Item::Metadata, Value::Object) => {}
            (Item::Id, Value::EmptyText) => {
                findings.refusal.get_or_insert(Refusal::EmptyId);
            }
            (Item::Text, Value::EmptyText) => {}
            (Item::Text | Item::Metadata | Item::Embedding, Value::Null) => self.nulls += 1,
            (Item::Embedding, Value::Array(_)) => self.arrays += 1,
            (Item::Embedding, Value::Text(_) | Value::EmptyText) => self.texts += 1,
            _ => self.state = ColumnState::Wrong,
        }
    }
}

#[derive(Clone, Copy)]
enum Value {
    Null,
    /// With its length in bytes.
    Text(usize),
    EmptyText,
    /// With the number of its items.
    Array(usize),
    Object,
    Other,
}

struct AnyValue;

impl<'de> Look<'de> for AnyValue {
    type Output = Value;
    fn on_null(self) -> Value {
        Value::Null
    }
    fn on_text(self, text: &str) -> Value {
        if text.is_empty() { Value::EmptyText } else { Value::Text(text.len()) }
    }
    fn on_other(self) -> Value {
        Value::Other
    }
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
        skip_seq(seq).map(Value::Array)
    }
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        skip_map(map).map(|()| Value::Object)
    }
}
