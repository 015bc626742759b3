//! Checks that every instance holds exactly the expected records.

use crate::validate::client::{OwnName, View};
use crate::validate::content::{self, Difference, Record};
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;

/// Reads the collection on every instance until it is as expected or time runs out. Returns how many records were to be
/// compared on the instances that answered.
pub fn assert_everywhere(run: &Run, findings: &mut Findings, name: &OwnName, expected: &[Record]) -> usize {
    let mut compared = 0;
    for view in &run.views {
        let settled = || match look(view, name, expected) {
            Ok(found) if found.is_empty() => Ok(()),
            other => Err(other),
        };
        match run.eventually(settled) {
            Ok(()) => compared += expected.len(),
            Err(Ok(found)) => {
                compared += expected.len();
                findings.differ(found);
            }
            Err(Err(Stop(why))) => findings.fail(format!("{}: {why}", view.label())),
        }
    }
    compared
}

fn look(view: &View, name: &OwnName, expected: &[Record]) -> Result<Vec<Difference>, Stop> {
    match view.records(name)? {
        Some(found) => Ok(content::differences(&format!("{}, {name}", view.label()), expected, &found)),
        None => Err(Stop(format!("{name} is not there"))),
    }
}
