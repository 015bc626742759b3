//! How much one merged request may hold while memory is short (decision 0046). The size is halved each time memory is found
//! short, down to one entry. It is doubled each time memory has been plentiful for a while, up to the configured limit.
//!
//! Pure: the caller measures the memory at regular intervals. [`super::board`] decides what is merged within the size.

use super::merging::MergeLimits;

/// Memory is short from this percentage on.
const SHORT: f64 = 80.0;
/// Memory is plentiful up to this percentage. Between the two, nothing changes.
const PLENTIFUL: f64 = 65.0;
/// How many looks in a row must find memory plentiful before the size grows.
const LOOKS: u32 = 4;

/// Whether memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    Enough,
    Short,
}

/// How a look changed the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resized {
    No,
    Reduced,
    Grown,
}

/// How much one merged request may hold.
#[derive(Clone, Debug)]
pub struct BatchSize {
    most: MergeLimits,
    halved: u32,
    memory: Memory,
    plentiful: u32,
}

impl BatchSize {
    /// Starts with the configured limits.
    pub const fn new(most: MergeLimits) -> BatchSize {
        BatchSize { most, halved: 0, memory: Memory::Enough, plentiful: 0 }
    }

    /// Adjusts the size to the memory usage, in percent.
    pub fn looked(&mut self, percent: f64) -> Resized {
        if percent >= SHORT {
            (self.memory, self.plentiful) = (Memory::Short, 0);
            if self.limits().documents <= 1 {
                return Resized::No;
            }
            self.halved += 1;
            return Resized::Reduced;
        }
        if percent > PLENTIFUL {
            self.plentiful = 0;
            return Resized::No;
        }
        (self.memory, self.plentiful) = (Memory::Enough, self.plentiful + 1);
        if self.halved == 0 || self.plentiful < LOOKS {
            return Resized::No;
        }
        (self.halved, self.plentiful) = (self.halved - 1, 0);
        Resized::Grown
    }

    /// Returns the current limits of one merged request. Once the size is down to one document, every request holds a
    /// single entry.
    pub fn limits(&self) -> MergeLimits {
        let documents = self.most.documents.checked_shr(self.halved).unwrap_or(0).max(1);
        if documents == 1 && self.halved > 0 {
            return MergeLimits::SINGLE;
        }
        MergeLimits { documents, bytes: self.most.bytes.checked_shr(self.halved).unwrap_or(0).max(1) }
    }

    /// Returns whether memory is short, as of the last look.
    pub const fn memory(&self) -> Memory {
        self.memory
    }

    /// Returns whether the size is at its configured limit.
    pub const fn is_whole(&self) -> bool {
        self.halved == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: MergeLimits = MergeLimits { documents: 500, bytes: 8 << 20 };

    fn looks(size: &mut BatchSize, count: u32, percent: f64) -> Vec<Resized> {
        (0..count).map(|_| size.looked(percent)).filter(|resized| *resized != Resized::No).collect()
    }

    #[test]
    fn it_is_halved_down_to_one_entry_and_doubled_up_to_what_is_configured() {
        let mut size = BatchSize::new(MOST);
        assert_eq!(size.looked(85.0), Resized::Reduced);
        assert_eq!(size.limits(), MergeLimits { documents: 250, bytes: 4 << 20 });
        assert_eq!(looks(&mut size, 100, 99.0).len(), 7, "250 to 1");
        assert_eq!((size.limits(), size.memory()), (MergeLimits::SINGLE, Memory::Short));
        assert_eq!(looks(&mut size, LOOKS - 1, 10.0), []);
        assert_eq!(size.looked(10.0), Resized::Grown);
        assert_eq!((size.limits().documents, size.memory(), size.is_whole()), (3, Memory::Enough, false));
        assert_eq!(looks(&mut size, 100, 10.0).len(), 7);
        assert_eq!((size.limits(), size.is_whole()), (MOST, true));
    }

    #[test]
    fn between_short_and_plentiful_it_stays_and_a_moment_of_plenty_is_not_enough() {
        let mut size = BatchSize::new(MOST);
        assert_eq!(looks(&mut size, 2, 80.0).len(), 2);
        assert_eq!(looks(&mut size, 100, 70.0), []);
        assert_eq!(size.memory(), Memory::Short, "it has not been plentiful since");
        for _ in 0..20 {
            assert_eq!(looks(&mut size, LOOKS - 1, 30.0), []);
            assert_eq!(looks(&mut size, 1, 70.0), []);
        }
    }

    #[test]
    fn what_is_one_document_cannot_be_less() {
        let mut size = BatchSize::new(MergeLimits { documents: 1, ..MOST });
        assert_eq!(looks(&mut size, 100, 99.0), []);
        assert_eq!(size.limits(), MergeLimits { documents: 1, ..MOST });
    }

    proptest! {
        #[test]
        fn whatever_memory_does(
            documents in 1u32..6000, bytes in 1u64..30_000_000, looks in proptest::collection::vec(0.0f64..120.0, 1..300)
        ) {
            let most = MergeLimits { documents, bytes };
            let mut size = BatchSize::new(most);
            for percent in looks {
                let before = size.limits();
                let resized = size.looked(percent);
                let now = size.limits();
                prop_assert!((1..=documents).contains(&now.documents) && (1..=bytes).contains(&now.bytes));
                match resized {
                    Resized::No => prop_assert_eq!(before, now),
                    Resized::Reduced => prop_assert!(percent >= SHORT && now.documents < before.documents && now.bytes <= before.bytes),
                    Resized::Grown => {
                        prop_assert!(percent <= PLENTIFUL && now.documents > before.documents && now.bytes >= before.bytes);
                    }
                }
                prop_assert_eq!(size.is_whole(), now == most);
            }
            for _ in 0..LOOKS * 20 {
                size.looked(0.0);
            }
            prop_assert_eq!(size.limits(), most, "it grows back");
        }
    }
}
