//! Whether a server that holds foreign data may be wiped (rule R16).
//!
//! Decides only whether it is a server of its own. Two addresses can lead to one server, so what looks foreign under
//! one of them may be what another instance serves. So every other instance is given a new marker, and the foreign
//! server must still carry the old one. Who confirms the wipe, and what is deleted in which order, is up to the shell.

use std::fmt;

use uuid::Uuid;

use super::identity::{Generation, Marker};
use crate::ids::InstanceName;

/// What to do with a server that holds foreign data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignPolicy {
    /// Nothing, until an operator decides.
    Report,
    /// Wipe it, and rebuild it from the others.
    Rebuild,
}

/// Another configured instance, as of the time of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub name: InstanceName,
    pub seen: Seen,
}

/// The marker state of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It took a marker of this generation between the first and the second read of the foreign server.
    Marked(Generation),
    /// It could not be marked now, but was marked before.
    MarkedBefore,
    /// It could not be marked now, and never was.
    NeverMarked,
}

/// The result of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is a server of its own.
    Another,
    /// It is this instance's server, under another address.
    SameAs(InstanceName),
    /// Its marker has changed in some other way: someone else uses the server.
    InUse,
    /// It may be this instance's server. That instance must be marked first.
    NeedsWitness(InstanceName),
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::Another => f.write_str("it is a server of its own"),
            Proof::SameAs(name) => {
                write!(f, "it is the server of {name} under another address: correct the configuration")
            }
            Proof::InUse => f.write_str("its marker has just changed: another edge uses this server"),
            Proof::NeedsWitness(name) => {
                write!(f, "it may be the server of {name}, which cannot be told as long as that one cannot be marked")
            }
        }
    }
}

/// Returns whether the server that carried `before`, and carries `after` now, is a server of its own. `journal` is the
/// one that marked the witnesses.
pub fn proof(journal: Uuid, before: &Marker, after: Option<&Marker>, witnesses: &[Witness]) -> Proof {
    if after != Some(before) {
        let shared = after.filter(|after| after.journal == journal).and_then(|after| {
            witnesses.iter().find(|witness| {
                witness.name == after.instance
                    && matches!(witness.seen, Seen::Marked(generation) if generation <= after.generation)
            })
        });
        return shared.map_or(Proof::InUse, |witness| Proof::SameAs(witness.name.clone()));
    }
    // An instance that was marked before carries its own marker. While it is away, it can be the foreign server only if
    // that one carries its marker.
    let carries = |name: &InstanceName| before.journal == journal && before.instance == *name;
    let doubtful = witnesses.iter().find(|witness| match witness.seen {
        Seen::Marked(_) => false,
        Seen::MarkedBefore => carries(&witness.name),
        Seen::NeverMarked => true,
    });
    // No witness could be marked, so there is no instance to rebuild the server from.
    let nobody = || witnesses.first().filter(|_| !witnesses.iter().any(|one| matches!(one.seen, Seen::Marked(_))));
    doubtful.or_else(nobody).map_or(Proof::Another, |witness| Proof::NeedsWitness(witness.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Seq;

    const OURS: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn marker(journal: Uuid, instance: &str, generation: u64) -> Marker {
        let (instance, generation) = (InstanceName::new(instance), Generation::new(generation));
        Marker { journal, instance, generation, through: Seq::new(7) }
    }

    fn witness(name: &str, seen: Seen) -> Witness {
        Witness { name: InstanceName::new(name), seen }
    }

    fn marked(name: &str, generation: u64) -> Witness {
        witness(name, Seen::Marked(Generation::new(generation)))
    }

    #[test]
    fn r16_what_gets_the_marker_of_another_instance_is_that_instances_server() {
        let before = marker(OURS, "a", 3);
        let same = Proof::SameAs(InstanceName::new("a"));
        assert_eq!(proof(OURS, &before, Some(&marker(OURS, "a", 4)), &[marked("a", 4)]), same);
        assert_eq!(
            proof(OURS, &before, Some(&marker(OURS, "a", 5)), &[marked("a", 4)]),
            same,
            "marked again meanwhile"
        );
        let strange = marker(OTHER, "x", 3);
        assert_eq!(
            proof(OURS, &strange, Some(&marker(OURS, "a", 1)), &[marked("a", 1)]),
            same,
            "it was marked at last"
        );
    }

    #[test]
    fn r16_a_copied_folder_that_runs_on_its_own_keeps_the_old_marker() {
        let before = marker(OURS, "a", 3);
        assert_eq!(proof(OURS, &before, Some(&before), &[marked("a", 4), marked("c", 9)]), Proof::Another);
        let strange = marker(OTHER, "a", 9);
        assert_eq!(proof(OURS, &strange, Some(&strange), &[marked("a", 4)]), Proof::Another);
    }

    #[test]
    fn r16_without_the_instance_whose_data_it_may_be_nothing_is_proven() {
        let before = marker(OURS, "a", 3);
        let away = [witness("a", Seen::MarkedBefore), marked("c", 9)];
        assert_eq!(proof(OURS, &before, Some(&before), &away), Proof::NeedsWitness(InstanceName::new("a")));
        let third = [marked("a", 4), witness("c", Seen::MarkedBefore)];
        assert_eq!(proof(OURS, &before, Some(&before), &third), Proof::Another, "c carried a marker of its own");
        let unknown = [marked("a", 4), witness("c", Seen::NeverMarked)];
        assert_eq!(proof(OURS, &before, Some(&before), &unknown), Proof::NeedsWitness(InstanceName::new("c")));
        let strange = marker(OTHER, "a", 3);
        assert_eq!(proof(OURS, &strange, Some(&strange), &away), Proof::Another, "another journal's a");
        let alone = [witness("a", Seen::MarkedBefore)];
        let needed = Proof::NeedsWitness(InstanceName::new("a"));
        assert_eq!(proof(OURS, &strange, Some(&strange), &alone), needed, "nobody to make it anew from");
    }

    #[test]
    fn r16_a_server_that_somebody_else_uses_is_not_wiped() {
        let before = marker(OTHER, "x", 3);
        for after in [Some(marker(OTHER, "x", 4)), Some(marker(OURS, "a", 2)), None] {
            assert_eq!(proof(OURS, &before, after.as_ref(), &[marked("a", 4)]), Proof::InUse, "{after:?}");
        }
    }
}
