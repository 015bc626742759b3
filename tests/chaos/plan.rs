//! What one run is asked to be: seed, length, store, faults, and a rule to break if the proof itself is to be proved.

use std::fmt;
use std::time::Duration;

use super::requests::Mix;
use super::schedule::Step;
use testkit::random::Random;

/// Long enough for any backlog of a run, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// One edge.
    Sqlite,
    /// Two edges: one active, one standing by.
    Postgres,
}

impl Store {
    pub fn as_str(self) -> &'static str {
        match self {
            Store::Sqlite => "sqlite",
            Store::Postgres => "postgres",
        }
    }

    /// What the environment asks for: `CHAOS_STORE` (sqlite).
    pub fn told() -> Store {
        match told("CHAOS_STORE").as_deref() {
            None | Some("sqlite") => Store::Sqlite,
            Some("postgres") => Store::Postgres,
            Some(other) => panic!("CHAOS_STORE is sqlite or postgres, not {other}"),
        }
    }

    pub fn edges(self) -> usize {
        match self {
            Store::Sqlite => 1,
            Store::Postgres => 2,
        }
    }
}

fn told(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the faults come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Faults {
    /// From the seed: every kind, for each minute. A run in which one did not happen fails.
    Drawn,
    /// These, to this many instances.
    Given { instances: usize, steps: Vec<Step> },
}

/// Whether instances lose data. A run with losses takes many minutes: `CHAOS_LOSSES=1 make chaos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    None,
    Drawn,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// How long faults are made, at least.
    pub lasting: Duration,
    pub store: Store,
    pub faults: Faults,
    pub losses: Losses,
    /// A value for `CHROMA_EDGE_BREAK_RULE`.
    pub rule: Option<String>,
    /// Clients at once.
    pub workers: usize,
    pub mix: Mix,
    /// How long the edge may take, when all is over, to say that nothing is left to do.
    pub patience: Duration,
}

impl Plan {
    pub fn new(seed: u64, lasting: Duration, store: Store) -> Plan {
        Plan {
            seed,
            lasting,
            store,
            faults: Faults::Drawn,
            losses: Losses::None,
            rule: None,
            workers: 12,
            mix: Mix::default(),
            patience: PATIENCE,
        }
    }

    /// What the environment asks for: `CHAOS_SEED` (random without), `CHAOS_SECONDS` (60), `CHAOS_STORE` (sqlite),
    /// `CHAOS_RULE` (none).
    pub fn told() -> Plan {
        let number = |name: &str| told(name).map(|text| text.parse().expect("a number"));
        let store = Store::told();
        let seed = number("CHAOS_SEED").unwrap_or_else(testkit::random::fresh);
        let lasting = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(60));
        let losses = if told("CHAOS_LOSSES").is_some() { Losses::Drawn } else { Losses::None };
        Plan { rule: told("CHAOS_RULE"), losses, ..Plan::new(seed, lasting, store) }
    }

    /// Whether instances lose data, too.
    pub fn loses_data(&self) -> bool {
        self.losses == Losses::Drawn
    }

    /// How many decks of faults that makes: one for each minute begun.
    pub fn minutes(&self) -> u64 {
        self.lasting.as_secs().div_ceil(60).max(1)
    }

    /// Two Chroma servers or three: by the seed, unless the plan says.
    pub fn instances(&self) -> usize {
        if let Faults::Given { instances, .. } = &self.faults {
            return *instances;
        }
        if Random::new(self.seed ^ 0x1457).percent(50) { 2 } else { 3 }
    }

    /// What repeats it, for people.
    pub fn again(&self) -> String {
        let Plan { seed, store, .. } = self;
        match self.faults {
            Faults::Drawn => format!("make chaos SEED={seed} STORE={store} SECONDS={}", self.lasting.as_secs()),
            Faults::Given { .. } => format!("make proof-of-proof STORE={store}"),
        }
    }
}
