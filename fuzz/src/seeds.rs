//! Writes what the fuzzer begins with: each piece of the corpus, for each target that may read it.

#[path = "../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../tests/fuzz/draw.rs"]
mod draw;
mod guided;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

use std::path::Path;

use corpus::{ANSWERS, CATALOG, CONFIGURATIONS, CREDENTIALS, PATHS, RECORDS};
use guided::SEPARATOR;

/// The choices of a target before its first body. What is left out is the first of each.
const CHOICES: usize = 3;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    std::fs::create_dir_all(&folder)?;
    let bodies = [PATHS, RECORDS, CATALOG, ANSWERS, CONFIGURATIONS, CREDENTIALS].concat();
    for target in 0..targets::TARGETS.len() {
        for (number, body) in bodies.iter().enumerate() {
            for choices in 0..=CHOICES {
                let mut seed = vec![u8::try_from(target).unwrap_or_default()];
                seed.extend(std::iter::repeat_n(1, choices));
                seed.extend_from_slice(body.as_bytes());
                seed.push(SEPARATOR);
                seed.extend_from_slice(body.as_bytes());
                std::fs::write(Path::new(&folder).join(format!("{target}-{number}-{choices}")), seed)?;
            }
        }
    }
    Ok(())
}
