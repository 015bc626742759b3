//! What the steps of an outage share, and how they speak to the operator. Which steps there are is in `mod.rs`.

use std::io::Write;
use std::time::Duration;

use super::session_log::SessionLog;
use crate::validate::endpoint::Instance;
use crate::validate::findings::Stop;
use crate::validate::progress::Progress;
use crate::validate::run::Run;

/// What the steps share.
pub(super) struct Walk<'a> {
    pub run: &'a Run,
    pub target: Instance,
    pub wait: Duration,
    /// What was not healthy at the last look.
    pub unhealthy: Vec<String>,
    pub session_log: SessionLog,
    pub progress: Progress,
}

impl Walk<'_> {
    /// The walk ends here: what the operator has done has to be undone.
    pub fn give_up(&self, Stop(why): Stop) -> Stop {
        let resume = match self.unhealthy.as_slice() {
            [] => "If you have suspended it, resume it.".to_owned(),
            all => format!("Resume what you have suspended. Not healthy: {}.", all.join(", ")),
        };
        self.say(&format!("{why}. {resume}"));
        Stop(why)
    }

    /// Says it to the operator.
    pub fn say(&self, text: &str) {
        self.progress.end();
        let mut out = std::io::stdout();
        // Nobody who listens any more is no reason to leave an outage half way.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}
