//! The checker's own tests: what it must catch, and what it must not.
#![allow(clippy::expect_used, reason = "a test may fail by panic")]
#![allow(dead_code, unused_imports, reason = "what the runs use, the tests of the checker need not")]

#[path = "mod.rs"]
mod checker;
mod chroma;
#[path = "../common/mod.rs"]
mod common;
mod rules;
