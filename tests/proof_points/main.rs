//! Every crash point ends the process where it says, and all promises are kept. Every rule that can be broken is
//! broken, and the breach shows. Only with the feature `proof`.
#![allow(clippy::expect_used, reason = "a test may fail by panic")]

mod breaches;
mod crashes;
mod faults;
