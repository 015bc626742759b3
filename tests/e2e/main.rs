//! End to end: the real binary, real Chroma servers, official clients; one module for each part of the promise.

#[path = "../common/mod.rs"]
mod common;

mod harness;
