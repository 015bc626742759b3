//! libFuzzer in front of everything that reads bytes of strangers: it keeps what reaches new code, and changes that further.
//!
//! What is read, and what must be true of it, is told once, for this and for the seeded mutations of `make test`:
//! `tests/fuzz/targets.rs`.

#![no_main]

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/draw.rs"]
mod draw;
mod guided;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

use draw::Draw;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut guided = guided::Guided::new(data);
    let target = &targets::TARGETS[guided.index(targets::TARGETS.len())];
    (target.run)(&mut guided);
});
