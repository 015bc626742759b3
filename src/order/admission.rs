//! A diverged replica on its way back into step: what waits for the journal. The board decides when that happens.

/// Whether a diverged replica is in step as soon as its record is durable (rule R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Admission {
    #[default]
    None,
    WhenDurable,
}
