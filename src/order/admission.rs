//! The admission of a diverged replica that waits for the journal. The board decides when a replica is admitted.

/// Whether a diverged replica is in step as soon as its record is durable (rule R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Admission {
    #[default]
    None,
    WhenDurable,
}
