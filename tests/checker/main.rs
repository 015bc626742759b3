//! The checker's own tests: what it must catch, and what it must not.
#![allow(clippy::expect_used, reason = "a test may fail by panic")]

mod rules;
