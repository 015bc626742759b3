//! One monotonic clock for all records of a run.

use std::time::Instant;

use testkit::checker::history::Tick;

/// Nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now(self) -> Tick {
        u64::try_from(self.0.elapsed().as_nanos()).expect("less than five hundred years")
    }
}
