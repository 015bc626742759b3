//! The chaos run: the real edge, real servers, a real journal, and faults drawn from a seed.
#![allow(clippy::expect_used, reason = "a test may fail by panic")]
#![allow(dead_code, reason = "what the checker and the harness share is used as the run grows")]

#[path = "../checker/mod.rs"]
mod checker;
#[path = "../common/mod.rs"]
mod common;
