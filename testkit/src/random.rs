//! A small seeded generator (SplitMix64), so that a failed run can be repeated by its seed.

/// Returns this run's seed: `E2E_SEED`, a number or `random`. By default it is always the same, so that a failure is
/// due to the change under test. The seed is printed, and shown when the test fails.
pub fn seed() -> u64 {
    let wanted = std::env::var("E2E_SEED").unwrap_or_default();
    let seed = if wanted == "random" { fresh() } else { wanted.parse().unwrap_or(1) };
    println!("E2E_SEED={seed}");
    seed
}

/// Returns a number from the clock, different for each run.
pub fn fresh() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}

/// The increment of the state for each number.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Creates a generator for one of many consecutive seeds. Plain neighbors would share most of their numbers.
    pub fn scattered(seed: u64) -> Random {
        Random(seed.wrapping_mul(GAMMA) ^ 0xD1B5_4A32_D192_ED03)
    }

    /// Returns an independent generator, for example for one worker.
    pub fn fork(&mut self) -> Random {
        Random(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns an index below `bound`.
    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("an index")
    }

    /// Returns true in `per_mille` of 1000 cases.
    pub fn per_mille(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Returns true in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// Returns a float between -1 and 1 with a full mantissa, so that a lost bit shows.
    pub fn float(&mut self) -> f32 {
        (self.below(1 << 24) as f32 / (1 << 23) as f32) - 1.0
    }

    pub fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.float()).collect()
    }
}
