//! Limits how many requests one client may make (`limits.client_rate`), counted by its token or by its address.
//!
//! Decides whether a client's next request is one too many, and how long the client must then wait. Which requests are
//! counted is decided in [`receive`](super::receive). The counts are kept in a sketch of fixed size
//! ([decision 0046](../../docs/decisions/0046-limits-that-give-way.md)), so more clients take no more memory.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pingora_limits::estimator::Estimator;

use crate::auth::Client;

/// The most requests that one client may make within each window. It may make them all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    /// Requests per second on average: `limits.client_rate`.
    pub per_second: NonZeroU32,
    /// `limits.client_rate_window`; at least a second.
    pub window: Duration,
}

impl ClientRate {
    fn allowed(self) -> f64 {
        f64::from(self.per_second.get()) * self.window.as_secs_f64()
    }
}

/// Rows of counters. A client is counted too high only if it shares its counter with another client in every row.
const ROWS: usize = 4;
/// Counters in a row. With 10,000 busy clients, about one client in twenty is counted too high.
const COUNTERS: usize = 16 * 1024;

/// The requests of every client in this window and in the one before.
struct Meter {
    window: Duration,
    began: Instant,
    current: Estimator,
    previous: Estimator,
}

impl Meter {
    fn new(window: Duration, began: Instant) -> Meter {
        let empty = || Estimator::new(ROWS, COUNTERS);
        Meter { window, began, current: empty(), previous: empty() }
    }

    /// Begins a new window if the current one is over.
    fn roll(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed < self.window {
            return;
        }
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.reset();
        self.began += self.window;
        if passed >= self.window * 2 {
            self.previous.reset();
            self.began = now;
        }
    }

    fn wait(&mut self, client: Client<'_>, rate: ClientRate, now: Instant) -> Option<Duration> {
        self.roll(now);
        let count = |window: &Estimator| f64::from(u32::try_from(window.get(client).max(0)).unwrap_or(u32::MAX));
        let counts = Counts {
            previous: count(&self.previous),
            current: count(&self.current),
            elapsed: now.saturating_duration_since(self.began),
        };
        let wait = counts.wait(rate);
        if wait.is_none() {
            self.current.incr(client, 1);
        }
        wait
    }
}

/// One client's requests.
#[derive(Clone, Copy, Debug)]
struct Counts {
    previous: f64,
    current: f64,
    /// The time since the current window began.
    elapsed: Duration,
}

impl Counts {
    /// Returns how long the client must wait until it may make one more request; `None` if it may now. Requests of the
    /// previous window count as if they had come evenly, and only for the part that is less than a whole window ago.
    fn wait(self, rate: ClientRate) -> Option<Duration> {
        let (allowed, window) = (rate.allowed(), rate.window.as_secs_f64());
        // When no more than `most` of the previous window's `count` requests still count.
        let fades = |count: f64, most: f64| if count <= most { 0.0 } else { window * (1.0 - most / count) };
        let room = allowed - 1.0 - self.current;
        let at = if room >= 0.0 { fades(self.previous, room) } else { window + fades(self.current, allowed - 1.0) };
        let elapsed = self.elapsed.as_secs_f64();
        (at > elapsed).then(|| Duration::from_secs_f64(at - elapsed))
    }
}

/// The rates of all clients.
#[derive(Default)]
pub(super) struct ClientRates(Mutex<Option<Meter>>);

impl ClientRates {
    /// Counts one more request of the client.
    ///
    /// # Errors
    /// The request is one too many and is not counted. It would be allowed after this time.
    pub fn admit(&self, client: Client<'_>, rate: ClientRate, now: Instant) -> Result<(), Duration> {
        // Held for a few instructions, never across an await.
        let mut meter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if meter.as_ref().is_none_or(|meter| meter.window != rate.window) {
            *meter = Some(Meter::new(rate.window, now));
        }
        match meter.as_mut().and_then(|meter| meter.wait(client, rate, now)) {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rate(per_second: u32, window: u64) -> ClientRate {
        ClientRate { per_second: per_second.try_into().unwrap(), window: Duration::from_secs(window) }
    }

    fn address(text: &str) -> Client<'static> {
        Client::of(None, || Some(text.parse().unwrap()))
    }

    /// Returns how many requests pass at this moment before one is refused, and how long that one must wait.
    fn burst(rates: &ClientRates, client: Client<'_>, rate: ClientRate, now: Instant) -> (u32, Duration) {
        (0..).find_map(|count| rates.admit(client, rate, now).err().map(|wait| (count, wait))).unwrap()
    }

    #[test]
    fn a_window_may_be_used_at_once_and_what_was_used_fades_within_the_next() {
        let (rates, began) = (ClientRates::default(), clock());
        let (client, rate) = (address("192.0.2.1"), rate(5, 2));
        let (passed, wait) = burst(&rates, client, rate, began);
        assert_eq!((passed, wait), (10, Duration::from_millis(2200)), "a window, and a tenth of the next");
        assert_eq!(burst(&rates, Client::Token("other"), rate, began).0, 10, "everybody has a rate of its own");
        assert_eq!(burst(&rates, client, rate, began + 2000 * MS).0, 0);
        assert_eq!(burst(&rates, client, rate, began + wait + MS).0, 1);
        assert_eq!(
            burst(&rates, client, rate, began + 3000 * MS).0,
            4,
            "half of the ten has faded, one has been used since"
        );
        assert_eq!(burst(&rates, client, rate, began + 60_000 * MS).0, 10, "long ago");
    }

    #[test]
    fn who_comes_after_a_pause_finds_its_whole_rate_whatever_others_did() {
        let (rates, began, rate) = (ClientRates::default(), clock(), rate(1, 10));
        assert_eq!(burst(&rates, Client::Token("a"), rate, began).0, 10);
        // The windows begin with a request.
        assert_eq!(burst(&rates, Client::Token("b"), rate, began + 19_999 * MS).0, 10);
        assert_eq!(burst(&rates, Client::Token("a"), rate, began + 20_001 * MS).0, 10);
    }

    #[test]
    fn another_window_begins_anew_and_another_rate_counts_at_once() {
        let (rates, began, client) = (ClientRates::default(), clock(), Client::Unknown);
        assert_eq!(burst(&rates, client, rate(5, 1), began).0, 5);
        assert_eq!(burst(&rates, client, rate(7, 1), began).0, 2);
        assert_eq!(burst(&rates, client, rate(3, 2), began).0, 6);
    }

    #[test]
    fn more_clients_take_no_more_memory_and_leave_each_other_their_rates() {
        let (rates, now, rate) = (ClientRates::default(), clock(), rate(10, 1));
        let all: Vec<Client<'_>> = (0..10_000u32).map(|number| Client::Address(IpAddr::V4(number.into()))).collect();
        for _ in 0..5 {
            for client in &all {
                // Clients that share their counters may be refused early.
                let _ = rates.admit(*client, rate, now);
            }
        }
        let refused = all.iter().filter(|client| rates.admit(**client, rate, now).is_err()).count();
        assert!(refused < all.len() / 10, "{refused} of {} at half of their rate", all.len());
    }

    fn clock() -> Instant {
        crate::clock::now()
    }

    proptest! {
        /// The wait that a refused client is given is neither too short nor longer than necessary.
        #[test]
        fn a_refused_client_is_told_when_to_come_again(
            per_second in 1u32..50, window in 1u64..20, previous in 0u32..1000, current in 0u32..1000, part in 0.0f64..1.0
        ) {
            let rate = rate(per_second, window);
            let most = rate.allowed();
            let elapsed = rate.window.mul_f64(part);
            let counts = Counts { previous: f64::from(previous).min(most), current: f64::from(current).min(most), elapsed };
            let after = |wait: Duration| {
                let elapsed = elapsed + wait;
                let counts = if elapsed < rate.window {
                    Counts { elapsed, ..counts }
                } else {
                    Counts { previous: counts.current, current: 0.0, elapsed: elapsed - rate.window }
                };
                counts.wait(rate)
            };
            match counts.wait(rate) {
                None => prop_assert!(counts.previous * (1.0 - part) + counts.current + 1.0 <= most + 1e-6),
                Some(wait) => {
                    prop_assert!(wait <= rate.window * 2);
                    prop_assert_eq!(after(wait + MS), None);
                    prop_assert!(wait <= MS || after(wait - MS).is_some());
                }
            }
        }

        /// However it spreads its requests, a client gets no more than its rate and one window's worth on top.
        #[test]
        fn in_the_long_run_nobody_exceeds_its_rate(pauses in proptest::collection::vec(0u64..400, 1..600)) {
            let (rates, began, rate) = (ClientRates::default(), clock(), rate(3, 2));
            let mut now = began;
            let mut passed = 0u32;
            for pause in pauses {
                now += MS * u32::try_from(pause).unwrap();
                passed += u32::from(rates.admit(Client::Unknown, rate, now).is_ok());
            }
            let most = rate.allowed() * (1.0 + (now - began).as_secs_f64() / 2.0);
            prop_assert!(f64::from(passed) <= most, "{} of {}", passed, most);
        }
    }
}
