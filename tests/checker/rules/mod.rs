//! What the checker must catch and what it must accept: handmade runs, and runs drawn from seeds, correct and then
//! corrupted. The model is a toy. The model of real servers, `testkit::chroma_model`, has its own tests.

mod chroma;
mod corrupt;
mod generate;
mod hand_deaths;
mod hand_reads;
mod hand_writes;
mod random;
mod toy;
