//! What the checker must catch and what it must let pass: runs made by hand, and runs drawn from seeds, correct and then
//! corrupted. The model is a toy; that of real servers, `testkit::chroma_model`, has tests of its own.

mod chroma;
mod corrupt;
mod generate;
mod hand_deaths;
mod hand_reads;
mod hand_writes;
mod random;
mod toy;
