//! libFuzzer in front of everything that reads bytes of strangers: it keeps what reaches new code, and changes that further.
//!
//! What is read, and what must be true of it, is told once, for this and for the seeded mutations of `make test`:
//! `tests/fuzz/targets.rs`. `FUZZ_TARGET` names one of the targets; without it, the input's first byte chooses. `FUZZ_SEEDS`
//! is a folder for what it begins with.

#![no_main]

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/draw.rs"]
mod draw;
mod guided;
mod seeds;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

use std::path::Path;
use std::sync::LazyLock;

use draw::Draw;
use libfuzzer_sys::Corpus;
use targets::TARGETS;

/// The place of the only target that is to be run.
static ONLY: LazyLock<Option<usize>> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").ok().filter(|name| !name.is_empty())?;
    let place = TARGETS.iter().position(|target| seeds::folder(target.name) == wanted);
    if place.is_none() {
        let names: Vec<String> = TARGETS.iter().map(|target| seeds::folder(target.name)).collect();
        eprintln!("FUZZ_TARGET is one of {}", names.join(", "));
        std::process::exit(2);
    }
    place
});

/// Before libFuzzer looks for them: a program of its own would need libFuzzer as well, to be linked.
fn write_seeds() {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else { return };
    if let Err(error) = seeds::write(Path::new(&folder)) {
        eprintln!("FUZZ_SEEDS={}: {error}", folder.display());
        std::process::exit(2);
    }
}

libfuzzer_sys::fuzz_target!(init: write_seeds(), |data: &[u8]| -> Corpus {
    let mut guided = guided::Guided::new(data);
    let place = guided.index(TARGETS.len());
    if ONLY.is_some_and(|only| only != place) {
        return Corpus::Reject;
    }
    (TARGETS[place].run)(&mut guided);
    Corpus::Keep
});
