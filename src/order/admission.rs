//! When a diverged replica is in step again. Decided by the board; this says only what waits for the journal.

/// Whether a diverged replica is in step as soon as its record is durable (rule R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Admission {
    #[default]
    None,
    WhenDurable,
}
