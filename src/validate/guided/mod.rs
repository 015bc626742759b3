//! An outage that an operator makes.

use std::time::Duration;

use super::findings::Outcome;
use super::run::Run;

pub const NAME: &str = "guided";

pub fn walk(_run: &Run, instance: &str, _wait: Duration) -> Result<Vec<Outcome>, String> {
    Err(format!("{instance}: not there yet"))
}
