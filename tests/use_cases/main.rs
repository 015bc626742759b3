//! The use cases that operators name, as real failures of real processes: what a CMS does, and what it is told, while
//! nothing fails, while the primary or the replica is away, and while everybody comes at once.
//!
//! `make use-case-N` runs one and prints its figures. What is stored is compared with what the CMS was told, record by
//! record, on every instance: the CMS's own list of documents knows nothing of the edge, its journal or its numbers.

#![allow(clippy::expect_used, reason = "a test may fail by panic")]

#[path = "../common/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the other test binaries use the rest")]
mod common;

mod catalog_fixture;
mod cms;
mod figures;
mod high_load;
mod normal;
mod outage;
