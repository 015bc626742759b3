//! The rules of lanes, progress, doubt, coalescing and freshness (docs/rules.md: R1 to R11).
//!
//! Pure: no I/O, no clock, no tokio, no randomness. What happens comes in as [`Input`]s, what is to be done
//! goes out as [`Effect`]s; `replication/` carries them out and reports back. Simulated by seed in
//! `tests/simulation`.

mod catalog_change;
mod entry;

pub use catalog_change::{CatalogChange, Origin};
pub use entry::{Encoding, Entry, Kind, Merge, Profile, Verdict};
