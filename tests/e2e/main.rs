//! End to end: the real binary, real Chroma servers, official clients; one module for each part of the promise.

#![allow(clippy::expect_used, reason = "a test may fail by panic")]

mod bad_input;
mod bystanders;
mod capacity;
mod catalog;
mod check_online;
mod clients;
mod coalescing;
mod completion;
mod conformance;
mod convergence;
mod cors;
mod definite;
mod diverged;
mod drop_in;
mod edge_killed;
mod environment;
mod events;
mod failover;
mod forwarded;
mod gateway;
mod harness;
mod healing;
mod hostile;
mod huge_lists;
mod journal_away;
mod late_servers;
mod limited_delete;
mod limits;
mod log_lines;
mod nobody_there;
mod numbers;
mod once;
mod pair;
mod postgres_away;
mod postgres_killed;
mod protection;
mod quarantine;
mod reads;
mod recovery;
mod request_limits;
mod safety;
mod safety_application;
mod safety_storm;
mod safety_trail;
mod shutdown;
mod signals;
mod slow_writes;
mod takeover;
#[cfg(feature = "tls")]
mod tls;
mod trace;
mod versions;
mod way_out;
mod webhook;
