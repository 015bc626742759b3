//! Checks the memory in use at regular intervals, and makes requests hold fewer writes while memory is short.
//!
//! `order/batch_size.rs` decides how many fewer; the function that reads the memory decides what counts as in use.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::coordinator::Core;
use crate::order::{BatchSize, Input, Memory, MergeLimits, Resized};

/// The time between two checks.
const LOOK: Duration = Duration::from_millis(250);

/// Returns how much of the memory is in use, in percent.
pub type MemoryInUse = Box<dyn FnMut() -> f64 + Send>;

/// Watches the memory, and adjusts the board's batch size.
pub struct MemoryWatch {
    core: Arc<Core>,
    size: BatchSize,
    in_use: MemoryInUse,
}

impl MemoryWatch {
    /// Creates a watch. `most` is the configured limit.
    pub fn new(core: Arc<Core>, most: MergeLimits, in_use: MemoryInUse) -> MemoryWatch {
        MemoryWatch { core, size: BatchSize::new(most), in_use }
    }

    /// Checks the memory for as long as the process lives.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let (was_short, was_whole) = (self.size.memory(), self.size.is_whole());
        let percent = (self.in_use)();
        let resized = self.size.looked(percent);
        let numbers = self.core.sync_numbers();
        if was_short == Memory::Enough && self.size.memory() == Memory::Short {
            numbers.memory_became_short();
        }
        if resized == Resized::No {
            return;
        }
        let limits = self.size.limits();
        self.core.step(Input::Batches { limits });
        if resized == Resized::Reduced {
            numbers.batches_reduced();
        }
        match (was_whole, self.size.is_whole()) {
            (true, false) => {
                warn!(
                    percent,
                    "memory is short: requests to instances hold fewer writes, down to one, until it is not"
                );
            }
            (false, true) => info!("memory suffices: requests to instances hold as many writes as configured"),
            _ => {}
        }
    }
}
