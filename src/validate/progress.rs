//! One line on the terminal that shows the current step. If standard error is not a terminal, nothing is shown.

use std::io::{IsTerminal, Write};

/// The progress line.
pub struct Progress {
    steps: usize,
    shown: bool,
}

impl Progress {
    /// Creates the line for this many steps.
    pub fn of(steps: usize) -> Progress {
        Progress { steps, shown: std::io::stderr().is_terminal() }
    }

    /// Shows that the step with this number, from 0, begins.
    pub fn show(&self, step: usize, name: &str, what: &str) {
        self.say(&format!("[{}/{}] {name}: {what}", step + 1, self.steps));
    }

    /// Shows a message within a step.
    pub fn say(&self, text: &str) {
        if self.shown {
            self.write(&format!("\r\x1b[K{text}"));
        }
    }

    /// Clears the line.
    pub fn end(&self) {
        if self.shown {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        let mut terminal = std::io::stderr();
        // If the terminal is gone, nobody is reading.
        let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }
}
