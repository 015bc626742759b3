//! The webhook's pauses.

use super::*;

#[test]
fn a_pause_is_never_longer_than_said_nor_much_shorter() {
    let pauses: Vec<Duration> = (0..200).map(|_| jittered(Duration::from_secs(10))).collect();
    assert!(pauses.iter().all(|pause| (5.0..=10.0).contains(&pause.as_secs_f64())), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause != pauses[0]), "edges would return together");
}
