//! Every crash point ends the process where it says, and what was promised is kept; every rule that can be broken is
//! broken by its breach, for all to see. Only with the feature `proof`.
#![allow(clippy::expect_used, reason = "a test may fail by panic")]
#![allow(dead_code, unused_imports, reason = "what other tests use of the harness")]

#[path = "common/mod.rs"]
mod common;

#[path = "proof_points/breaches.rs"]
mod breaches;
#[path = "proof_points/crashes.rs"]
mod crashes;
