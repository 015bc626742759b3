//! The parameters of one run: seed, length, store, faults, and a rule to break for the proof of the proof.

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
    /// Two edges: one active, one standby.
    Postgres,
}

impl Store {
    pub fn as_str(self) -> &'static str {
        match self {
            Store::Sqlite => "sqlite",
            Store::Postgres => "postgres",
        }
    }

    /// Reads `CHAOS_STORE` from the environment (sqlite).
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
    /// From the seed: every kind in each minute. A run in which one did not happen fails.
    Drawn,
    /// These, with this many instances.
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
    /// The least time during which faults are made.
    pub lasting: Duration,
    pub store: Store,
    pub faults: Faults,
    pub losses: Losses,
    /// A value for `CHROMA_EDGE_BREAK_RULE`.
    pub rule: Option<String>,
    /// The number of concurrent clients.
    pub workers: usize,
    pub mix: Mix,
    /// How long the edge may take, at the end, to report that nothing is left to do.
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

    /// Reads the plan from the environment: `CHAOS_SEED` (random by default), `CHAOS_SECONDS` (60), `CHAOS_STORE`
    /// (sqlite), `CHAOS_RULE` (none).
    pub fn told() -> Plan {
        let number = |name: &str| told(name).map(|text| text.parse().expect("a number"));
        let store = Store::told();
        let seed = number("CHAOS_SEED").unwrap_or_else(testkit::random::fresh);
        let lasting = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(60));
        let losses = if told("CHAOS_LOSSES").is_some() { Losses::Drawn } else { Losses::None };
        Plan { rule: told("CHAOS_RULE"), losses, ..Plan::new(seed, lasting, store) }
    }

    /// Returns whether instances lose data, too.
    pub fn loses_data(&self) -> bool {
        self.losses == Losses::Drawn
    }

    /// Returns the number of decks of faults: one for each minute, rounded up.
    pub fn minutes(&self) -> u64 {
        self.lasting.as_secs().div_ceil(60).max(1)
    }

    /// Returns the number of Chroma servers, two or three, drawn from the seed unless the plan sets it.
    pub fn instances(&self) -> usize {
        if let Faults::Given { instances, .. } = &self.faults {
            return *instances;
        }
        if Random::new(self.seed ^ 0x1457).percent(50) { 2 } else { 3 }
    }

    /// Returns the command that repeats the run, for people.
    pub fn again(&self) -> String {
        let Plan { seed, store, .. } = self;
        match self.faults {
            Faults::Drawn => format!("make chaos SEED={seed} STORE={store} SECONDS={}", self.lasting.as_secs()),
            Faults::Given { .. } => format!("make proof-of-proof STORE={store}"),
        }
    }
}
