//! How fast an audit reads: its own rate, and clients first.

use std::time::Duration;

/// The longest pause for clients after each part.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// How fast records are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// At most this many records a second.
    Rate(u32),
    /// As fast as the instances answer, because an operator waits for the result. Clients come first all the same.
    Hurried,
}

impl Pace {
    /// Pauses after this many records, which took this long. While clients use the instances, half of the time is
    /// theirs.
    pub async fn rest(self, records: usize, took: Duration, busy: bool) {
        let pause = self.pause(records, took, busy);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    fn pause(self, records: usize, took: Duration, busy: bool) -> Duration {
        let for_clients = if busy { took.min(LONGEST_REST) } else { Duration::ZERO };
        let at_the_rate = match self {
            Pace::Rate(rate) => Duration::from_secs_f64(records as f64 / f64::from(rate.max(1))).saturating_sub(took),
            Pace::Hurried => Duration::ZERO,
        };
        for_clients.max(at_the_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_keeps_its_rate_and_yields_to_clients() {
        let ms = Duration::from_millis;
        assert_eq!(Pace::Rate(1000).pause(500, ms(100), false), ms(400));
        assert_eq!(Pace::Rate(1000).pause(500, ms(700), false), Duration::ZERO);
        assert_eq!(Pace::Hurried.pause(500, ms(100), false), Duration::ZERO);
        assert_eq!(Pace::Hurried.pause(500, ms(100), true), ms(100));
        assert_eq!(Pace::Hurried.pause(500, ms(900), true), LONGEST_REST);
        assert_eq!(Pace::Rate(1).pause(500, ms(100), true), Duration::from_secs(500) - ms(100));
    }
}
