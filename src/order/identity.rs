//! Whether the server at an instance's address is the one that the journal has recorded, with everything that it had (rule R16).
//!
//! Decides that from the marker that the server carries. [`Board::settled_through`] decides what a marker may claim,
//! and [`Input::Older`] what becomes of a server that is older. The shell reads and writes markers.
//!
//! [`Board::settled_through`]: super::Board::settled_through
//! [`Input::Older`]: super::Input::Older

use std::fmt;

use uuid::Uuid;

use crate::ids::{InstanceName, Seq};

/// Counts the markers of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// The generation with this number, as it is stored.
    pub const fn new(number: u64) -> Self {
        Generation(number)
    }

    /// The number, for storing and showing.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Generation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The marker that a server carries: whose data it has, and what it is certain to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub journal: Uuid,
    pub instance: InstanceName,
    pub generation: Generation,
    /// Everything up to here was committed on the server before the marker was.
    pub through: Seq,
}

/// The journal's record of an instance, to check a marker against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub journal: Uuid,
    pub instance: &'a InstanceName,
    /// All configured instances.
    pub configured: &'a [InstanceName],
    /// The last generation that the server is known to carry.
    pub marked: Option<Generation>,
}

/// Which server it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// This journal never marked it, and it carries no marker or another journal's. Its contents are inspected like
    /// those of any new server.
    New,
    /// It has everything that it had when it was last marked.
    Same,
    /// It has come back without some or all of what it was given after this position.
    Older { through: Seq },
    /// It holds someone else's data in place of its own. Nothing is served from it, and nothing is sent to it.
    Foreign(Foreign),
}

/// Whose data it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error(
        "it carries the marker of the instance {0}: two addresses lead to one server, or data folders were swapped"
    )]
    Instance(InstanceName),
    #[error("it carries the marker of another journal, {0}")]
    Journal(Uuid),
}

impl Expected<'_> {
    /// Identifies the server that carries this marker, or none.
    pub fn identify(&self, found: Option<&Marker>) -> Identity {
        let Some(found) = found else {
            return self.marked.map_or(Identity::New, |_| Identity::Older { through: Seq::ZERO });
        };
        if found.journal != self.journal {
            return match self.marked {
                Some(_) => Identity::Foreign(Foreign::Journal(found.journal)),
                None => Identity::New,
            };
        }
        if found.instance != *self.instance && (self.marked.is_some() || self.configured.contains(&found.instance)) {
            return Identity::Foreign(Foreign::Instance(found.instance.clone()));
        }
        match self.marked {
            Some(marked) if found.generation < marked => Identity::Older { through: found.through },
            _ => Identity::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn name(name: &str) -> InstanceName {
        InstanceName::new(name)
    }

    fn identify(marked: Option<u64>, found: Option<(Uuid, &str, u64)>) -> Identity {
        let configured = [name("a"), name("b")];
        let marked = marked.map(Generation::new);
        let expected = Expected { journal: JOURNAL, instance: &configured[0], configured: &configured, marked };
        let marker = found.map(|(journal, instance, generation)| Marker {
            journal,
            instance: name(instance),
            generation: Generation::new(generation),
            through: Seq::new(100 * generation),
        });
        expected.identify(marker.as_ref())
    }

    #[test]
    fn r16_a_server_is_the_same_if_it_carries_what_it_was_marked_with() {
        assert_eq!(identify(Some(3), Some((JOURNAL, "a", 3))), Identity::Same);
        assert_eq!(identify(Some(3), Some((JOURNAL, "a", 4))), Identity::Same, "its answer was lost");
        assert_eq!(identify(None, Some((JOURNAL, "a", 1))), Identity::Same, "likewise");
    }

    #[test]
    fn r16_a_server_that_lacks_a_marker_is_older() {
        assert_eq!(identify(Some(3), Some((JOURNAL, "a", 2))), Identity::Older { through: Seq::new(200) });
        assert_eq!(identify(Some(3), None), Identity::Older { through: Seq::ZERO });
    }

    #[test]
    fn r16_data_of_somebody_else_in_place_of_its_own_is_foreign() {
        assert_eq!(identify(Some(3), Some((OTHER, "a", 9))), Identity::Foreign(Foreign::Journal(OTHER)));
        assert_eq!(identify(Some(3), Some((JOURNAL, "b", 9))), Identity::Foreign(Foreign::Instance(name("b"))));
        assert_eq!(identify(None, Some((JOURNAL, "b", 9))), Identity::Foreign(Foreign::Instance(name("b"))));
    }

    #[test]
    fn r16_a_server_that_this_journal_never_marked_is_new() {
        assert_eq!(identify(None, None), Identity::New);
        assert_eq!(identify(None, Some((OTHER, "a", 9))), Identity::New, "its journal is no more");
        assert_eq!(identify(None, Some((JOURNAL, "former", 9))), Identity::Same, "it was called otherwise");
    }
}
