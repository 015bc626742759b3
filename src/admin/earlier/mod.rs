//! Pages that scripts and dashboards of an earlier system use: its names, with the numbers of this edge.
//!
//! A value that would have to be invented is absent. A button that discarded something in the earlier system discards
//! nothing here, and its answer states that. docs/operators-pages.md explains each name.

mod buttons;
mod counts;
mod health_override;
mod machine;
mod mapping_acts;
mod mappings;
mod performance;
mod wal;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use self::counts::Counts;
pub(in crate::admin) use self::machine::{page as machine_page, wants_json};
pub(in crate::admin) use self::performance::{Pending, extend};
use crate::admin::options::AdminOptions;
use crate::clock::Timestamp;
use crate::coordinator::Core;
use crate::current::Current;
use crate::instance::{Client, Health};
use crate::process::Observer;
use crate::proxy::Admission;

/// The rooms that these pages read from.
pub struct Earlier {
    core: Arc<Core>,
    admission: Arc<Admission>,
    health: Arc<Health>,
    /// Belongs to the runtime that serves the pages.
    client: Client,
    options: Current<AdminOptions>,
    observer: Observer,
    /// The numbers at the last reset by an operator, and the time of that reset.
    baseline: Mutex<(Counts, Timestamp)>,
    /// Limits probes on behalf of these pages to one round at a time.
    probing: Semaphore,
}

impl Earlier {
    /// Builds the pages over these rooms.
    pub fn new(
        core: Arc<Core>,
        admission: Arc<Admission>,
        health: Arc<Health>,
        client: Client,
        options: Current<AdminOptions>,
    ) -> Earlier {
        let baseline = Mutex::new((Counts::default(), Timestamp::now()));
        Earlier {
            core,
            admission,
            health,
            client,
            options,
            observer: Observer::default(),
            baseline,
            probing: Semaphore::new(1),
        }
    }

    /// Returns the numbers since the edge started or since the last reset, and the time of that.
    fn counts(&self) -> (Counts, Timestamp) {
        let (before, since) = *self.baseline.lock().unwrap_or_else(PoisonError::into_inner);
        (Counts::of(&self.core, &self.admission).since(&before), since)
    }

    /// Restarts the numbers from zero. Prometheus counters are not affected.
    fn begin_anew(&self) {
        *self.baseline.lock().unwrap_or_else(PoisonError::into_inner) =
            (Counts::of(&self.core, &self.admission), Timestamp::now());
    }
}

/// Rounds to one decimal, the precision of the measurements.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Returns `part` of `all` in percent; `None` if `all` is zero.
fn percent(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| rounded(100.0 * part as f64 / all as f64))
}

/// In the format of the earlier system: `99.0%`.
fn percent_text(part: u64, all: u64) -> Option<String> {
    percent(part, all).map(|percent| format!("{percent:.1}%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_nothing_is_not_invented() {
        assert_eq!((percent(1, 3), percent(0, 0)), (Some(33.3), None));
        assert_eq!((percent_text(99, 100), percent_text(0, 0)), (Some("99.0%".to_owned()), None));
    }
}
