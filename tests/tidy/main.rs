//! The repository's rules about itself: which room may import which, no import cycles, sizes, and documents that name
//! only what exists. Works on plain text: nothing is compiled or started. Each rule has its exceptions in a table
//! beside it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail by panic")]

mod circles;
mod deploy;
mod documents;
mod imports;
mod pages;
mod rooms;
mod sizes;
mod source;
mod words;

/// Fails with everything that was found, one item per line.
fn none(rule: &str, mut found: Vec<String>) {
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{rule}\n  {}\n", found.join("\n  "));
}
