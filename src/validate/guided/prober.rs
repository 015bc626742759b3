//! A client that keeps writing and reading while something happens: it measures what an outage costs users.

use std::time::Duration;

use serde_json::json;

use super::session_log::SessionLog;
use crate::clock;
use crate::validate::checks;
use crate::validate::client::By;
use crate::validate::content;
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;

/// The prober's measurements.
#[derive(Debug, Default)]
pub struct Prober {
    beats: u32,
    longest: Duration,
    errors: Vec<String>,
}

impl Prober {
    /// Writes a record and reads it back.
    pub fn beat(&mut self, run: &Run, session_log: &mut SessionLog) {
        let begun = clock::now();
        self.beats += 1;
        if let Err(Stop(why)) = once(run, session_log, self.beats) {
            self.errors.push(why);
        }
        self.longest = self.longest.max(begun.elapsed());
    }

    /// Reports the measurements. Errors are failures: an outage of one instance may cost clients a wait, but nothing
    /// else.
    pub fn tell(self, findings: &mut Findings) {
        findings.figure("pairs of write and read", self.beats);
        findings.count("errors", self.errors.len());
        findings.time("longest pair", self.longest);
        for error in self.errors.into_iter().take(5) {
            findings.fail(format!("a client saw: {error}"));
        }
    }
}

fn once(run: &Run, session_log: &mut SessionLog, n: u32) -> Result<(), Stop> {
    let record = session_log.prober(run, n)?;
    let Some(base) = session_log.base() else { return Ok(()) };
    let found = checks::whole(run, base, By::Id, &json!({ "ids": [record.id] }))?;
    match content::differences("read after its write", std::slice::from_ref(&record), &found).first() {
        None => Ok(()),
        Some(difference) => Err(Stop(difference.to_string())),
    }
}
