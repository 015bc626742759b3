//! What the checker must catch and what it must let pass: runs made by hand, and runs drawn from seeds, correct and then
//! corrupted. The model is a toy: whether `chroma.rs` is a model of Chroma is another question.

mod corrupt;
mod generate;
mod hand_reads;
mod hand_writes;
mod random;
mod toy;
