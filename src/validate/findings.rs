//! The findings of a check: whether it passed, why not, and its figures.
//!
//! Decides what makes a check fail (one failure or one difference) and how many differences are kept for display.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::client::CallError;
use super::content::Difference;

/// The most differences to show; the rest are only counted.
pub const SHOWN: usize = 20;

/// Why a check could not continue.
#[derive(Clone, Debug)]
pub struct Stop(pub String);

impl From<CallError> for Stop {
    fn from(error: CallError) -> Stop {
        Stop(error.to_string())
    }
}

impl From<String> for Stop {
    fn from(why: String) -> Stop {
        Stop(why)
    }
}

/// The findings of a check so far.
#[derive(Debug, Default)]
pub struct Findings {
    failures: Vec<String>,
    differences: Differences,
    figures: Figures,
    notes: Vec<String>,
}

impl Findings {
    /// Makes the check fail for this reason, which is reported once.
    pub fn fail(&mut self, why: impl Into<String>) {
        let why = why.into();
        if !self.failures.contains(&why) {
            self.failures.push(why);
        }
    }

    /// Makes the check fail if `found` is not as expected.
    pub fn expect<T: PartialEq + fmt::Debug>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.fail(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }

    /// Makes the check fail if the list is not empty.
    pub fn differ(&mut self, list: Vec<Difference>) {
        self.differences.total += list.len();
        let room = SHOWN.saturating_sub(self.differences.shown.len());
        self.differences.shown.extend(list.into_iter().take(room));
    }

    /// Adds a fact to the report.
    pub fn figure(&mut self, name: &'static str, value: impl fmt::Display) {
        self.figures.0.push((name, Figure::Fact(value.to_string())));
    }

    /// Adds a number to the report.
    pub fn count(&mut self, name: &'static str, number: usize) {
        self.figures.0.push((name, Figure::Count(number)));
    }

    /// Adds a duration to the report.
    pub fn time(&mut self, name: &'static str, span: Duration) {
        self.figures.0.push((name, Figure::Time(span)));
    }

    /// Adds a remark for the operator that is not a failure.
    pub fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    /// Returns whether nothing has failed so far.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.differences.total == 0
    }

    /// Concludes the check of this name, which took `took`.
    pub fn conclude(self, check: &'static str, took: Duration) -> Outcome {
        let verdict = if self.is_clean() { Verdict::Passed } else { Verdict::Failed };
        let Findings { failures, differences, figures, notes } = self;
        Outcome { check, verdict, seconds: took.as_secs_f64(), figures, failures, differences, notes }
    }
}

/// The measurements, in order.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<(&'static str, Figure)>);

#[derive(Clone, Debug)]
enum Figure {
    Fact(String),
    Count(usize),
    Time(Duration),
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, figure)) in self.0.iter().enumerate() {
            f.write_str(if n > 0 { "; " } else { "" })?;
            match figure {
                Figure::Fact(text) => write!(f, "{name}: {text}")?,
                Figure::Count(number) => write!(f, "{name}: {number}")?,
                Figure::Time(span) => write!(f, "{name}: {:.3} s", span.as_secs_f64())?,
            }
        }
        Ok(())
    }
}

/// As a map; durations are numbers of seconds.
impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde_json::{Value, json};
        let key = |name: &str, ending: &str| format!("{}{ending}", name.replace(' ', "_"));
        serializer.collect_map(self.0.iter().map(|(name, figure)| -> (String, Value) {
            match figure {
                Figure::Fact(text) => (key(name, ""), json!(text)),
                Figure::Count(number) => (key(name, ""), json!(number)),
                Figure::Time(span) => (key(name, "_seconds"), json!(span.as_secs_f64())),
            }
        }))
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Passed,
    Failed,
    /// It could not begin; its failures contain the reason.
    Skipped,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        }
    }
}

/// Places where content is not as expected.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Differences {
    pub total: usize,
    /// The first of them.
    pub shown: Vec<Difference>,
}

/// A finished check.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub check: &'static str,
    pub verdict: Verdict,
    pub seconds: f64,
    pub figures: Figures,
    pub failures: Vec<String>,
    pub differences: Differences,
    pub notes: Vec<String>,
}

impl Outcome {
    /// Turns the outcome into a failure, with these additional reasons.
    pub fn fail(&mut self, why: Vec<String>) {
        self.verdict = Verdict::Failed;
        self.failures.extend(why);
    }

    /// Returns the outcome of a check that could not begin.
    pub fn skipped(check: &'static str, why: &str) -> Outcome {
        let findings = Findings { failures: vec![why.to_owned()], ..Findings::default() };
        Outcome { verdict: Verdict::Skipped, ..findings.conclude(check, Duration::ZERO) }
    }
}
