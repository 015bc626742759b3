//! Reads, on connections of their own. `events` and `lanes` also each hold the one statement that writes what they
//! read; `commit/` runs it.

pub(super) mod audit;
pub(super) mod capacity;
pub(super) mod events;
pub(super) mod lanes;
pub(super) mod load;
pub(super) mod quarantine;
pub(super) mod read;
pub(super) mod times;
