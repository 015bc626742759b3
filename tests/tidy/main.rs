//! What the repository promises of itself: which room may import which, no circles, sizes, and documents that name only what exists.
//! Plain text work: nothing is compiled or started. What a rule allows stands in a table beside the rule.

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

/// Fails with everything that was found, one a line.
fn none(rule: &str, mut found: Vec<String>) {
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{rule}\n  {}\n", found.join("\n  "));
}
