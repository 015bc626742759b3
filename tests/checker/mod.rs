//! The checker: holds what clients saw and what is left against the promises. One for the chaos run and the simulation.

pub mod history;
