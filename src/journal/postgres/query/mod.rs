//! Reads, each on a connection of its own. Nothing here writes.

pub(super) mod audit;
pub(super) mod capacity;
pub(super) mod events;
pub(super) mod lanes;
pub(super) mod load;
pub(super) mod read;
