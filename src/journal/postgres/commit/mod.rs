//! What a commit writes: the statements for appends and facts, and the one connection that runs them under the fence.
//!
//! Reads only what a commit needs; all other reads are in `query/`.

pub(super) mod append;
pub(super) mod application;
pub(super) mod catalog;
pub(super) mod facts;
pub(super) mod fence;
pub(super) mod fold;
pub(super) mod writer;
