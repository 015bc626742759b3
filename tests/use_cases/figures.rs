//! The figures that an operator would ask for after a use case.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use testkit::http::Answer;

/// What a use case saw. Shared by all its clients.
#[derive(Debug, Default)]
pub struct Figures {
    operations: Mutex<BTreeMap<&'static str, Kind>>,
    lines: Mutex<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
struct Kind {
    times: Vec<Duration>,
    errors: Vec<String>,
}

impl Figures {
    /// Makes a call, and records how long it took and whether it failed.
    pub fn call(&self, kind: &'static str, call: impl FnOnce() -> std::io::Result<Answer>) -> std::io::Result<Answer> {
        let began = Instant::now();
        let result = call();
        let took = began.elapsed();
        let mut operations = self.operations.lock().expect("no client panics here");
        let entry = operations.entry(kind).or_default();
        entry.times.push(took);
        match &result {
            Ok(answer) if answer.status < 300 => {}
            Ok(answer) => entry.errors.push(answer.to_string()),
            Err(error) => entry.errors.push(error.to_string()),
        }
        result
    }

    /// Adds a line to the report.
    pub fn tell(&self, what: &str, value: impl std::fmt::Display) {
        self.lines.lock().expect("no client panics here").push(format!("{what:<44} {value}"));
    }

    /// Returns every call that did not end with a 2xx answer.
    pub fn errors(&self) -> Vec<String> {
        let operations = self.operations.lock().expect("no client panics here");
        operations.iter().flat_map(|(kind, one)| one.errors.iter().map(move |text| format!("{kind}: {text}"))).collect()
    }

    /// Returns the number of calls, including failed ones.
    pub fn count(&self) -> usize {
        self.operations.lock().expect("no client panics here").values().map(|kind| kind.times.len()).sum()
    }

    /// Returns the median duration of the calls of this kind.
    pub fn median(&self, kind: &str) -> Duration {
        let operations = self.operations.lock().expect("no client panics here");
        let mut times = operations.get(kind).map(|kind| kind.times.clone()).unwrap_or_default();
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    pub fn longest_wait(&self) -> Duration {
        let operations = self.operations.lock().expect("no client panics here");
        operations.values().flat_map(|kind| &kind.times).max().copied().unwrap_or_default()
    }

    /// Prints the report.
    pub fn print(&self, title: &str) {
        let mut text =
            format!("\n{title}\n{:<22} {:>6} {:>7} {:>9} {:>9}\n", "operation", "count", "errors", "median", "longest");
        for (kind, one) in self.operations.lock().expect("no client panics here").iter() {
            let mut times = one.times.clone();
            times.sort();
            let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
            writeln!(
                text,
                "{kind:<22} {:>6} {:>7} {:>9} {:>9}",
                times.len(),
                one.errors.len(),
                shown(median),
                shown(longest)
            )
            .expect("a text");
        }
        self.tell("operations, in all", self.count());
        self.tell("errors", self.errors().len());
        self.tell("longest wait", shown(self.longest_wait()));
        for line in self.lines.lock().expect("no client panics here").iter() {
            writeln!(text, "{line}").expect("a text");
        }
        println!("{text}");
    }
}

/// Formats a duration for people.
pub fn shown(time: Duration) -> String {
    match time.as_millis() {
        0..1000 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
