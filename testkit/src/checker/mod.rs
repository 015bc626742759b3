//! The checker: compares what clients saw and what servers hold with the promises. Used by the chaos run and the
//! simulation.
//!
//! Decides whether a run kept the promises, one file per question. [`Semantics`] defines what a write means, [`Run`]
//! what was seen. Nothing here depends on Chroma, a journal or an edge. `chroma_model`, beside it, models the real
//! ones.

mod deaths;
mod finality;
pub mod history;
mod index;
mod instances;
mod order;
mod reads;
mod summary;
mod verdict;
mod writes;

use std::fmt;

use history::{Run, Semantics};
use index::Index;
pub use summary::Summary;
#[allow(unused_imports, reason = "not every run names them")]
pub use verdict::{Breach, Promise, Violation};

/// What the checker found in a run.
#[derive(Clone, Debug)]
pub struct Findings {
    pub violations: Vec<Violation>,
    pub summary: Summary,
}

/// Checks a run against every promise. Takes about n log n for n writes, plus one comparison per read for each write of
/// its collection that was concurrent with it.
pub fn check<M: Semantics>(model: &M, run: &Run<M::Write, M::State>) -> Findings {
    let index = Index::new(model, run);
    let mut violations = index.malformed();
    violations.extend(writes::check(&index));
    violations.extend(order::check(&index));
    violations.extend(reads::check(&index));
    violations.extend(finality::check(&index));
    violations.extend(instances::check(&index));
    violations.extend(deaths::check(&index));
    Findings { violations, summary: Summary::of(&index) }
}

impl Findings {
    /// Returns whether a violation of this kind was found.
    pub fn has(&self, breach: Breach) -> bool {
        self.violations.iter().any(|violation| violation.breach == breach)
    }
}

/// The counts, and at most twenty violations.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        write!(f, "{}\nviolations: {}", self.summary, self.violations.len())?;
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n\n{violation}")?;
        }
        if self.violations.len() > SHOWN {
            write!(f, "\n\n... and {} more", self.violations.len() - SHOWN)?;
        }
        Ok(())
    }
}
