//! `chroma-edge validate` against a real edge and real servers: it passes if all is well, and each check fails for its
//! own reason if something is not.

#![allow(clippy::expect_used, reason = "a test may fail by panic")]

mod catalog_faults;
mod command;
mod guided;
mod interrupted;
mod liar;
mod outages;
mod outputs;
mod passes;
mod record_faults;
mod refusals;
mod transaction_faults;
