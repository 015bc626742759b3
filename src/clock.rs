//! The only place that reads time.
//!
//! There are three kinds. [`Timestamp`] is the wall clock, for what is stored and shown. [`now`] is monotonic, for
//! deadlines and durations. [`awake`] also counts the time the machine was suspended, for promises made to others. No
//! rule of `order/` reads a clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, on this machine's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the current wall-clock time. A clock before 1970 reads as 1970.
    #[allow(clippy::disallowed_methods, reason = "the clock's own room")]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// The moment this many milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The moment `span` after this one.
    pub fn after(self, span: Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The moment `span` before this one.
    pub fn before(self, span: Duration) -> Self {
        Timestamp(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// How long [`unix_nanos_at`] keeps using one pair of readings. Within that time the spans of a trace stay in order,
/// even if the wall clock is set.
const ANCHORED: Duration = Duration::from_secs(60);

/// Converts a moment of the monotonic clock to nanoseconds since the Unix epoch: when a span of a trace began.
#[allow(clippy::disallowed_methods, reason = "the clock's own room")]
pub fn unix_nanos_at(moment: Instant) -> u64 {
    static ANCHOR: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let mut anchor = ANCHOR.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = anchor.filter(|(then, _)| now().saturating_duration_since(*then) < ANCHORED);
    let (then, wall) = *anchor.insert(
        kept.unwrap_or_else(|| (now(), nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))),
    );
    match moment.checked_duration_since(then) {
        Some(later) => wall.saturating_add(nanos(later)),
        None => wall.saturating_sub(nanos(then.saturating_duration_since(moment))),
    }
}

/// Returns the current monotonic time, for deadlines and durations.
#[allow(clippy::disallowed_methods, reason = "the clock's own room")]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the runtime's current monotonic time, for code that waits on the runtime's timers. A test can pause it.
#[allow(clippy::disallowed_methods, reason = "the clock's own room")]
pub fn runtime_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Returns the processor time used by all threads of this process since it started.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// A moment on a clock that never stops: unlike [`now`], it counts the time the machine was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awake(u64);

impl Awake {
    /// Milliseconds since the machine started.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The moment `span` after this one.
    pub fn after(self, span: Duration) -> Self {
        Awake(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Returns the current time of the clock that counts suspended time (`CLOCK_BOOTTIME`).
pub fn awake() -> Awake {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000);
    Awake(u64::try_from(millis).unwrap_or(0))
}
