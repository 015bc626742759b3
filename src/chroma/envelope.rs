//! Which requests are vouched for: those inside a conservative envelope, and those like one that has succeeded.
//!
//! A request that is vouched for fails over at once when its instance dies. One that is not becomes a suspect (rule
//! R13). Nothing is refused here.

use std::collections::{HashMap, VecDeque};

use super::shape::{Numbers, Shape, Verb};
use super::sizes::IndexShape;
use crate::order::{Conditions, Vouching};

/// The most kinds of requests that are remembered.
const KEYS: usize = 512;
/// The most shapes that are remembered of one kind. None of them has all its numbers within another's.
const SHAPES: usize = 8;
/// For an index out of the ordinary, no number is known to be harmless. There, numbers up to this many times those of a
/// request that has succeeded count as like it.
const LIKE: u64 = 2;

/// The requests that are vouched for before any has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope(Numbers);

impl Default for Envelope {
    fn default() -> Self {
        Envelope(Numbers::from_fn(|number| number.setting().default))
    }
}

impl Envelope {
    /// Creates an envelope with these numbers as the highest.
    pub const fn new(most: Numbers) -> Envelope {
        Envelope(most)
    }

    /// Returns whether the shape is an ordinary one.
    pub fn holds(&self, shape: &Shape) -> bool {
        shape.index == IndexShape::ORDINARY && shape.numbers.within(&self.0)
    }

    /// Returns the highest numbers that count as like these, with which a request has succeeded.
    fn like(&self, index: IndexShape, succeeded: &Numbers) -> Numbers {
        Numbers::from_fn(|number| {
            let (succeeded, ordinary) = (succeeded.get(number), self.0.get(number));
            let known = match index {
                IndexShape::ORDINARY => ordinary,
                _ => ordinary.min(succeeded.saturating_mul(LIKE)),
            };
            succeeded.max(known)
        })
    }
}

/// The kind of a request that has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    verb: Verb,
    conditions: Conditions,
    index: IndexShape,
}

impl Key {
    const fn of(shape: &Shape) -> Key {
        Key { verb: shape.verb, conditions: shape.conditions, index: shape.index }
    }
}

/// The envelope, and the largest few requests of each kind that have succeeded since the start.
#[derive(Clone, Debug)]
pub struct Likeness {
    envelope: Envelope,
    succeeded: HashMap<Key, VecDeque<Numbers>>,
    /// The oldest first.
    keys: VecDeque<Key>,
}

impl Likeness {
    /// Starts with nothing that has succeeded.
    pub fn new(envelope: Envelope) -> Likeness {
        Likeness { envelope, succeeded: HashMap::new(), keys: VecDeque::new() }
    }

    /// Returns whether the request is inside the envelope or like one that has succeeded.
    pub fn of(&self, shape: &Shape) -> Vouching {
        let like = |succeeded: &Numbers| shape.numbers.within(&self.envelope.like(shape.index, succeeded));
        let seen = || self.succeeded.get(&Key::of(shape)).is_some_and(|shapes| shapes.iter().any(like));
        if self.envelope.holds(shape) || seen() { Vouching::Vouched } else { Vouching::Unvouched }
    }

    /// Records that an instance has executed such a request.
    pub fn succeeded(&mut self, shape: &Shape) {
        if self.envelope.holds(shape) {
            return;
        }
        let key = Key::of(shape);
        if !self.succeeded.contains_key(&key) {
            if self.keys.len() >= KEYS
                && let Some(oldest) = self.keys.pop_front()
            {
                self.succeeded.remove(&oldest);
            }
            self.keys.push_back(key);
        }
        let shapes = self.succeeded.entry(key).or_default();
        if shapes.iter().any(|known| shape.numbers.within(known)) {
            return;
        }
        shapes.retain(|known| !known.within(&shape.numbers));
        if shapes.len() >= SHAPES {
            shapes.pop_front();
        }
        shapes.push_back(shape.numbers);
    }

    /// Records that an instance died of such a request, as far as can be told. Earlier successes of its kind no longer
    /// prove anything.
    pub fn died(&mut self, shape: &Shape) {
        let key = Key::of(shape);
        self.succeeded.remove(&key);
        self.keys.retain(|known| *known != key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chroma::{Number, RecordReadKind};
    use crate::order::Kind;

    fn shape(verb: Verb, index: IndexShape, value: impl Fn(Number) -> u64) -> Shape {
        Shape { verb, conditions: Conditions::Metadata, index, numbers: Numbers::from_fn(value) }
    }

    fn ordinary(verb: Verb, high: Number, value: u64) -> Shape {
        shape(verb, IndexShape::ORDINARY, |number| if number == high { value } else { 0 })
    }

    const DELETE: Verb = Verb::Write(Kind::Delete);
    const GET: Verb = Verb::Read(RecordReadKind::Get);

    #[test]
    fn what_is_inside_is_vouched_for_and_one_more_is_not() {
        let likeness = Likeness::new(Envelope::default());
        for number in Number::ALL {
            let most = number.setting().default;
            assert_eq!(likeness.of(&ordinary(GET, number, most)), Vouching::Vouched, "{number:?}");
            assert_eq!(likeness.of(&ordinary(GET, number, most + 1)), Vouching::Unvouched, "{number:?}");
        }
    }

    #[test]
    fn success_vouches_for_what_is_like_it_and_for_nothing_else() {
        let mut likeness = Likeness::new(Envelope::default());
        likeness.succeeded(&ordinary(DELETE, Number::ConditionTerms, 500));
        for (verb, terms, vouching) in [
            (DELETE, 500, Vouching::Vouched),
            (DELETE, 501, Vouching::Unvouched),
            (GET, 500, Vouching::Unvouched),
            (Verb::Write(Kind::DeleteLimited), 500, Vouching::Unvouched),
        ] {
            assert_eq!(likeness.of(&ordinary(verb, Number::ConditionTerms, terms)), vouching, "{verb:?} {terms}");
        }
        // Two that have succeeded prove nothing about one that is as large as both.
        likeness.succeeded(&ordinary(DELETE, Number::ConditionDepth, 50));
        let both = shape(DELETE, IndexShape::ORDINARY, |number| match number {
            Number::ConditionTerms => 500,
            Number::ConditionDepth => 50,
            _ => 0,
        });
        assert_eq!(likeness.of(&both), Vouching::Unvouched);
        likeness.died(&both);
        assert_eq!(likeness.of(&ordinary(DELETE, Number::ConditionTerms, 500)), Vouching::Unvouched);
    }

    #[test]
    fn the_first_write_into_an_index_out_of_the_ordinary_is_not_vouched_for() {
        let mut likeness = Likeness::new(Envelope::default());
        let odd = IndexShape::ORDINARY.and("max_neighbors", "1");
        let add = |documents, index| {
            let value = move |number| if number == Number::Documents { documents } else { 0 };
            shape(Verb::Write(Kind::Add), index, value)
        };
        assert_eq!(likeness.of(&add(1, odd)), Vouching::Unvouched);
        likeness.succeeded(&add(1, odd));
        assert_eq!(likeness.of(&add(2, odd)), Vouching::Vouched);
        assert_eq!(likeness.of(&add(5, odd)), Vouching::Unvouched);
        assert_eq!(likeness.of(&add(1, odd.and("ef_search", "0"))), Vouching::Unvouched);
        assert_eq!(likeness.of(&add(5, IndexShape::ORDINARY)), Vouching::Vouched);
    }

    fn any_shape() -> impl Strategy<Value = Shape> {
        let verb = prop_oneof![Just(DELETE), Just(GET), Just(Verb::Write(Kind::Add))];
        let index = prop_oneof![
            Just(IndexShape::ORDINARY),
            (0..9u64).prop_map(|n| IndexShape::ORDINARY.and("m", &n.to_string()))
        ];
        let conditions = prop::sample::select(Conditions::ALL.to_vec());
        let numbers = prop::collection::vec(0..40_000u64, Number::ALL.len());
        (verb, conditions, index, numbers).prop_map(|(verb, conditions, index, numbers)| {
            let numbers = Numbers::from_fn(|number| numbers[number as usize]);
            Shape { verb, conditions, index, numbers }
        })
    }

    proptest! {
        /// A shape that is vouched for is inside the envelope, or below twice what one request of its kind has succeeded with.
        #[test]
        fn nothing_else_is_vouched_for(succeeded in prop::collection::vec(any_shape(), 0..60), asked in any_shape()) {
            let mut likeness = Likeness::new(Envelope::default());
            for shape in &succeeded {
                likeness.succeeded(shape);
                prop_assert_eq!(likeness.of(shape), Vouching::Vouched, "it has just succeeded");
            }
            prop_assert!(likeness.keys.len() == likeness.succeeded.len() && likeness.keys.len() <= KEYS);
            prop_assert!(likeness.succeeded.values().all(|shapes| !shapes.is_empty() && shapes.len() <= SHAPES));
            let inside = Envelope::default().holds(&asked);
            let like = |shape: &&Shape| Number::ALL.into_iter().all(|number| {
                let (has, most) = (asked.numbers.get(number), shape.numbers.get(number));
                let ordinary = if asked.index == IndexShape::ORDINARY { number.setting().default } else { 0 };
                has <= (most * LIKE).max(ordinary)
            });
            let same = |shape: &&Shape| Key::of(shape) == Key::of(&asked);
            let reason = inside || succeeded.iter().filter(same).any(|shape| like(&shape));
            prop_assert!(reason || likeness.of(&asked) == Vouching::Unvouched);
        }

        #[test]
        fn memory_is_bounded(kinds in 0..3000u64) {
            let mut likeness = Likeness::new(Envelope::default());
            for kind in 0..kinds {
                likeness.succeeded(&shape(GET, IndexShape::ORDINARY.and("m", &kind.to_string()), |_| kind));
            }
            prop_assert!(likeness.keys.len() <= KEYS && likeness.succeeded.len() == likeness.keys.len());
        }
    }
}
