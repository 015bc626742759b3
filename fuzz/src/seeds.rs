//! What the fuzzer begins with: each piece of the corpus, in a folder for each target that may read it.

use std::path::Path;

use crate::corpus::{ANSWERS, CATALOG, CONFIGURATIONS, CREDENTIALS, PATHS, RECORDS};
use crate::targets::TARGETS;

/// What no body of the corpus contains: it ends a body.
pub const SEPARATOR: u8 = 0x1e;

/// The choices of a target before its first body. What is left out is the first of each.
const CHOICES: usize = 3;

/// The folder of a target's seeds, and how `FUZZ_TARGET` names it.
pub fn folder(target: &str) -> String {
    target.replace(' ', "-")
}

/// Writes them.
pub fn write(folder_of_all: &Path) -> std::io::Result<()> {
    let bodies = [PATHS, RECORDS, CATALOG, ANSWERS, CONFIGURATIONS, CREDENTIALS].concat();
    for (place, target) in TARGETS.iter().enumerate() {
        let folder = folder_of_all.join(folder(target.name));
        std::fs::create_dir_all(&folder)?;
        for (number, body) in bodies.iter().enumerate() {
            for choices in 0..=CHOICES {
                let mut seed = vec![u8::try_from(place).unwrap_or_default()];
                seed.extend(std::iter::repeat_n(1, choices));
                seed.extend_from_slice(body.as_bytes());
                seed.push(SEPARATOR);
                seed.extend_from_slice(body.as_bytes());
                std::fs::write(folder.join(format!("{number}-{choices}")), seed)?;
            }
        }
    }
    Ok(())
}
