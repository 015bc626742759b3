//! One line on a terminal that says what is being done. Where standard error is no terminal, nothing is shown.

use std::io::{IsTerminal, Write};

/// The line.
pub struct Progress {
    steps: usize,
    shown: bool,
}

impl Progress {
    /// For this many steps.
    pub fn of(steps: usize) -> Progress {
        Progress { steps, shown: std::io::stderr().is_terminal() }
    }

    /// The step with this number, from 0, begins.
    pub fn show(&self, step: usize, name: &str, what: &str) {
        self.say(&format!("[{}/{}] {name}: {what}", step + 1, self.steps));
    }

    /// Whatever is worth saying within a step.
    pub fn say(&self, text: &str) {
        if self.shown {
            self.write(&format!("\r\x1b[K{text}"));
        }
    }

    /// The line is cleared.
    pub fn end(&self) {
        if self.shown {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        let mut terminal = std::io::stderr();
        // A terminal that is gone is nobody to tell.
        let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }
}
