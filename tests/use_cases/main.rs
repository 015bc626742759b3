//! The use cases that operators name, as real failures of real processes: what a CMS does, and how it is answered,
//! while nothing fails, while the primary or the replica is away, while all clients come at once, and under different
//! settings.
//!
//! `make use-case-N` runs one and prints its figures. What is stored is compared with what the CMS was answered, record
//! by record, on every instance. The CMS's own list of documents is independent of the edge, its journal and its
//! numbers.

#![allow(clippy::expect_used, reason = "a test may fail by panic")]

mod catalog_fixture;
mod cms;
mod figures;
mod high_load;
mod lost;
mod normal;
mod outage;
mod tuned;
