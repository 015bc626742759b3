//! The report: a table for people and JSON for programs, with the same facts.
//!
//! Decides the layout. It contains no secrets: no token, no header.

use std::fmt::Write;

use serde::Serialize;

use super::findings::{Outcome, SHOWN, Verdict};

/// A collection that still exists, and how to remove it.
#[derive(Clone, Debug, Serialize)]
pub struct Left {
    pub collection: String,
    pub remove: String,
}

/// The report of a finished run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub url: String,
    pub run: String,
    pub version: &'static str,
    /// Milliseconds since 1970.
    pub started_at: i64,
    pub seconds: f64,
    pub passed: bool,
    pub checks: Vec<Outcome>,
    /// Of this run: the collections of failed checks are kept for inspection.
    pub left_behind: Vec<Left>,
    /// Of other runs; this run has not touched them.
    pub left_by_other_runs: Vec<Left>,
    /// What the operator must do before the removals work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removals_need: Option<String>,
}

impl Report {
    /// Formats the report as JSON, with a newline at the end.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        text.push('\n');
        text
    }

    /// Formats the report as a table, followed by the failures and by what is left behind.
    pub fn text(&self) -> String {
        let mut text = format!("chroma-edge validate {}: {} (run {})\n\n", self.version, self.url, self.run);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<14}{:<9}{:>8}  figures", "check", "result", "seconds");
        for one in &self.checks {
            let verdict = one.verdict.as_str();
            let row = format!("  {:<14}{verdict:<9}{:>8.2}  {}", one.check, one.seconds, one.figures);
            let _ = writeln!(text, "{}", row.trim_end());
        }
        self.details(&mut text);
        self.leftovers(&mut text);
        let _ = writeln!(text, "\n{}", self.verdict());
        text
    }

    fn verdict(&self) -> String {
        let of = |verdict: Verdict| self.checks.iter().filter(|one| one.verdict == verdict).count();
        let (passed, failed, skipped) = (of(Verdict::Passed), of(Verdict::Failed), of(Verdict::Skipped));
        format!("{passed} passed, {failed} failed, {skipped} skipped, in {:.1} s", self.seconds)
    }

    fn details(&self, text: &mut String) {
        for one in self.checks.iter().filter(|one| one.verdict != Verdict::Skipped) {
            if one.verdict == Verdict::Failed || !one.notes.is_empty() {
                let _ = writeln!(text, "\n{} {}:", one.check, one.verdict.as_str());
            }
            for failure in &one.failures {
                let _ = writeln!(text, "  {failure}");
            }
            if one.differences.total > 0 {
                let more = one.differences.total.saturating_sub(SHOWN);
                let also = if more > 0 { format!(", the first {SHOWN}") } else { String::new() };
                let _ = writeln!(text, "  differences: {}{also}", one.differences.total);
            }
            for difference in &one.differences.shown {
                let _ = writeln!(text, "    {difference}");
            }
            for note in &one.notes {
                let _ = writeln!(text, "  note: {note}");
            }
        }
        self.skipped(text);
    }

    /// Lists the skipped checks; all of them have the same reason.
    fn skipped(&self, text: &mut String) {
        let skipped: Vec<&Outcome> = self.checks.iter().filter(|one| one.verdict == Verdict::Skipped).collect();
        let names: Vec<&str> = skipped.iter().map(|one| one.check).collect();
        if let Some(why) = skipped.first().and_then(|one| one.failures.first()) {
            let _ = writeln!(text, "\n{} skipped:\n  {why}", names.join(", "));
        }
    }

    fn leftovers(&self, text: &mut String) {
        if !self.left_behind.is_empty() {
            let _ = writeln!(text, "\nkept to be looked at, and removed by:");
        }
        for left in &self.left_behind {
            let _ = writeln!(text, "  {}", left.remove);
        }
        if !self.left_by_other_runs.is_empty() {
            let _ = writeln!(text, "\nof other runs, untouched by this one (one may still be going on):");
        }
        for left in self.left_by_other_runs.iter().take(SHOWN) {
            let _ = writeln!(text, "  {}", left.remove);
        }
        let more = self.left_by_other_runs.len().saturating_sub(SHOWN);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more");
        }
        if let Some(what) = &self.removals_need
            && !(self.left_behind.is_empty() && self.left_by_other_runs.is_empty())
        {
            let _ = writeln!(text, "  ({what})");
        }
    }
}
