//! A bounded memory of what was learned about recently used places. What is forgotten is learned again.
//!
//! It has two generations. A place that is used moves to the younger one. When that is full, it replaces the older one,
//! which is forgotten. So each use costs the same, however many places there are.

use std::collections::HashMap;
use std::hash::Hash;

pub(super) struct Remembered<K, V> {
    most: usize,
    younger: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K: Eq + Hash + Copy, V: Default> Remembered<K, V> {
    /// Remembers at least the `most` / 2 places that were used last, and no more than `most`.
    pub fn new(most: usize) -> Self {
        Remembered { most, younger: HashMap::new(), older: HashMap::new() }
    }

    /// Returns what is remembered of this place. Counts as a use of it.
    pub fn get(&mut self, place: &K) -> Option<&mut V> {
        if let Some(known) = self.older.remove(place) {
            self.put(*place, known);
        }
        self.younger.get_mut(place)
    }

    /// Like [`Remembered::get`], but remembers the place from now on.
    pub fn of(&mut self, place: K) -> &mut V {
        if self.get(&place).is_none() {
            self.put(place, V::default());
        }
        self.younger.entry(place).or_default()
    }

    fn put(&mut self, place: K, known: V) {
        if self.younger.len() >= (self.most / 2).max(1) {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(place, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let mut remembered: Remembered<u32, u32> = Remembered::new(100);
        for number in 0..10_000 {
            *remembered.of(number) = number;
            *remembered.of(0) += 1;
            assert!(remembered.younger.len() + remembered.older.len() <= 100);
        }
        assert_eq!(remembered.get(&0), Some(&mut 10_000), "used all the time");
        assert!((9_951..10_000).all(|number| remembered.get(&number) == Some(&mut number.clone())), "the last ones");
        assert_eq!(remembered.get(&1), None);
    }
}
