//! How much of the machine this process uses: memory, processor time, and the limits on both.
//!
//! Everything is read on demand from `/proc` and the control groups' files; values that cannot be read are absent. It
//! decides nothing. `parse.rs` knows the files' formats, and `cgroup.rs` where a group's files are.

mod cgroup;
mod core_dumps;
mod parse;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::cgroup::Groups;
pub use self::core_dumps::forbid_core_dumps;
use crate::clock;

/// The shortest span over which processor time is measured. A call sooner than this returns the previous value again.
const LEAST_SPAN: Duration = Duration::from_millis(500);

/// The process's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub resident: u64,
    /// The most it has held so far.
    pub peak: u64,
    /// The most it may hold: its control groups' limit, or the machine's memory, whichever is lower.
    pub limit: Option<u64>,
}

impl Memory {
    /// Returns the resident memory as a percentage of the limit.
    pub fn percent(&self) -> Option<f64> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        Some(100.0 * self.resident as f64 / limit as f64)
    }
}

/// Measures this process.
#[derive(Debug)]
pub struct Observer {
    last: Mutex<Look>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    spent: Duration,
    percent: Option<f64>,
}

impl Default for Observer {
    fn default() -> Self {
        let (at, spent) = (clock::now(), clock::processor_time());
        Observer { last: Mutex::new(Look { at, spent, percent: None }) }
    }
}

impl Observer {
    /// Returns the current memory use.
    pub fn memory(&self) -> Option<Memory> {
        let status = read("/proc/self/status")?;
        let (resident, peak) = (parse::kilobytes(&status, "VmRSS")?, parse::kilobytes(&status, "VmHWM")?);
        let machine = read("/proc/meminfo").and_then(|text| parse::kilobytes(&text, "MemTotal"));
        let group = groups().and_then(|groups| groups.least(|dir| read_in(dir, groups.memory_file())));
        let limit = [machine, group].into_iter().flatten().min();
        Some(Memory { resident, peak, limit })
    }

    /// Returns the process's share of the processors it may use, in percent, since the last call or since this observer
    /// was created.
    pub fn cpu_percent(&self) -> Option<f64> {
        let (now, spent, processors) = (clock::now(), clock::processor_time(), processors()?);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let span = now.duration_since(last.at);
        if span < LEAST_SPAN && last.percent.is_some() {
            return last.percent;
        }
        let percent = parse::share(spent.saturating_sub(last.spent), span, processors);
        *last = Look { at: now, spent, percent };
        percent
    }
}

/// Returns how many processors it may use: its control groups' quota or the system's count, whichever is lower.
pub fn processors() -> Option<f64> {
    let given = std::thread::available_parallelism().ok().map(|count| count.get() as f64);
    let quota = groups().and_then(|groups| {
        let of = |dir: &Path| groups.processors(&|file: &str| read_file(&dir.join(file)));
        groups.cpu_dirs().iter().filter_map(|dir| of(dir)).reduce(f64::min)
    });
    [given, quota].into_iter().flatten().reduce(f64::min)
}

fn groups() -> Option<Groups> {
    Groups::of(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
}

fn read(path: &str) -> Option<String> {
    read_file(Path::new(path))
}

fn read_in(dir: &Path, file: &str) -> Option<u64> {
    parse::limit(&read_file(&dir.join(file))?)
}

fn read_file(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_limit_that_holds_it() {
        let memory = Observer::default().memory().expect("/proc");
        assert!(memory.resident > 1 << 20 && memory.peak >= memory.resident, "{memory:?}");
        assert!(memory.limit.is_some_and(|limit| limit > memory.resident), "{memory:?}");
        assert!(memory.percent().is_some_and(|percent| percent > 0.0 && percent < 100.0), "{memory:?}");
    }

    #[test]
    fn work_is_seen_in_the_processor_time() {
        let observer = Observer::default();
        let begun = Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < Duration::from_millis(600) {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        let percent = observer.cpu_percent().expect("/proc");
        // On a busy machine the process gets little time.
        assert!(percent > 0.0 && percent < 110.0, "{percent} {sum}");
        assert_eq!(observer.cpu_percent(), Some(percent), "asked again at once");
    }
}
