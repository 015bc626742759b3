//! What the steps of an outage share, and how they print messages to the operator. The steps are in `mod.rs`.

use std::io::Write;
use std::time::Duration;

use super::session_log::SessionLog;
use crate::validate::endpoint::Instance;
use crate::validate::findings::Stop;
use crate::validate::progress::Progress;
use crate::validate::run::Run;

/// The context of the steps.
pub(super) struct Walk<'a> {
    pub run: &'a Run,
    pub target: Instance,
    pub wait: Duration,
    /// The instances that were unhealthy at the last poll.
    pub unhealthy: Vec<String>,
    pub session_log: SessionLog,
    pub progress: Progress,
}

impl Walk<'_> {
    /// Ends the walk, and asks the operator to resume what was suspended.
    pub fn give_up(&self, Stop(why): Stop) -> Stop {
        let resume = match self.unhealthy.as_slice() {
            [] => "If you have suspended it, resume it.".to_owned(),
            all => format!("Resume what you have suspended. Not healthy: {}.", all.join(", ")),
        };
        self.say(&format!("{why}. {resume}"));
        Stop(why)
    }

    /// Prints a message to the operator.
    pub fn say(&self, text: &str) {
        self.progress.end();
        let mut out = std::io::stdout();
        // A closed output is no reason to abandon an outage half way.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}
