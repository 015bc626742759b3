//! The output of `check`: the effective configuration, after defaults and environment.
//!
//! Decides the layout only. Keys are named as in the file, so that a line can be copied into it.

use std::fmt::Write;

use crate::config::Config;

/// Formats the configuration with one key per line, under its name in the file.
pub(super) fn summary(config: &Config) -> String {
    let mut text = String::from("the configuration is correct; in effect:\n");
    let lines = config.effective();
    let longest = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {key:<longest$}  {value}");
    }
    for notice in &config.notices {
        let _ = writeln!(text, "note: {}", notice.0);
    }
    text
}
