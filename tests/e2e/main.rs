//! End to end: the real binary, real Chroma servers, official clients; one module for each part of the promise.

#![allow(clippy::expect_used, reason = "a test may fail by panic")]

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod catalog;
mod conformance;
mod convergence;
mod drop_in;
mod edge_killed;
mod failover;
mod harness;
mod limits;
mod nobody_there;
mod reads;
mod shutdown;
