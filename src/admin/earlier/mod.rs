//! The pages by which scripts and dashboards of an earlier system know a deployment: its names, our numbers.
//!
//! A value that would have to be invented is absent, and a button that discarded something there discards nothing here and
//! says so. What each name means is in docs/operators-pages.md.

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

/// What these pages are made from.
pub struct Earlier {
    core: Arc<Core>,
    admission: Arc<Admission>,
    health: Arc<Health>,
    /// Belongs to the runtime in which pages are made.
    client: Client,
    options: Current<AdminOptions>,
    observer: Observer,
    /// The numbers when an operator last had them begin anew, and when that was.
    baseline: Mutex<(Counts, Timestamp)>,
    /// One round of probes at a time on behalf of those who ask for the present state.
    probing: Semaphore,
}

impl Earlier {
    /// The pages over these rooms.
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

    /// The numbers since the edge began, or since they were begun anew, and since when that is.
    fn counts(&self) -> (Counts, Timestamp) {
        let (before, since) = *self.baseline.lock().unwrap_or_else(PoisonError::into_inner);
        (Counts::of(&self.core, &self.admission).since(&before), since)
    }

    /// Has the numbers begin anew. What Prometheus is told goes on.
    fn begin_anew(&self) {
        *self.baseline.lock().unwrap_or_else(PoisonError::into_inner) =
            (Counts::of(&self.core, &self.admission), Timestamp::now());
    }
}

/// With one decimal: what is measured is not more exact than that.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// `part` of `all` in percent; `None` of nothing.
fn percent(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| rounded(100.0 * part as f64 / all as f64))
}

/// As the earlier system spelled it: `99.0%`.
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
