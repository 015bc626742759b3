//! How the journal spells what it stores: one text for each kind, verdict, status, lane and state in a lane.
//!
//! There is one conversion in each direction, shared by both stores. Reading is fallible: a text that this binary does
//! not know is an error, never a guess and never a panic. The texts are a stored format: new ones may be added,
//! existing ones never change.

use uuid::Uuid;

use super::Status;
use super::bodies::Stored;
use crate::ids::{CollectionId, LaneId};
use crate::order::{Conditions, Encoding, Kind, LaneState, Origin, Priority, Verdict, Vouching};

/// A stored text that this binary does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?} in the journal")]
pub struct UnknownName {
    what: &'static str,
    text: String,
}

/// A value with one stored spelling.
pub(super) trait Named: Copy + 'static {
    /// What kind of value this is, for messages.
    const WHAT: &'static str;
    /// All values with their spellings.
    const NAMES: &'static [(Self, &'static str)];

    /// Returns the stored spelling.
    fn name(self) -> &'static str;

    /// Returns the value with this spelling.
    fn named(text: &str) -> Result<Self, UnknownName> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        known.map(|(value, _)| *value).ok_or_else(|| UnknownName { what: Self::WHAT, text: text.to_owned() })
    }
}

/// Returns the name to store, or `None` for the default, which most transactions have.
pub(super) fn unusual<T: Named + Default + PartialEq>(value: T) -> Option<&'static str> {
    (value != T::default()).then(|| value.name())
}

macro_rules! named {
    ($type:ident, $what:literal, { $($value:ident => $name:literal),+ $(,)? }) => {
        impl Named for $type {
            const WHAT: &'static str = $what;
            const NAMES: &'static [(Self, &'static str)] = &[$(($type::$value, $name)),+];

            fn name(self) -> &'static str {
                match self {
                    $($type::$value => $name),+
                }
            }
        }
    };
}

named!(Kind, "kind", {
    Add => "add",
    Update => "update",
    Upsert => "upsert",
    Delete => "delete",
    DeleteLimited => "delete_limited",
    CreateTenant => "create_tenant",
    UpdateTenant => "update_tenant",
    CreateDatabase => "create_database",
    DeleteDatabase => "delete_database",
    CreateCollection => "create_collection",
    UpdateCollection => "update_collection",
    DeleteCollection => "delete_collection",
    Reset => "reset",
    Adopt => "adopt",
});

named!(Encoding, "encoding", { Floats => "floats", Base64 => "base64", Absent => "absent" });

named!(Verdict, "verdict", {
    Applied => "applied",
    Rejected => "rejected",
    Void => "void",
    Abandoned => "abandoned",
    Quarantined => "quarantined",
});

named!(Origin, "origin", { Created => "created", Adopted => "adopted" });

named!(Priority, "priority", { High => "high", Normal => "normal", Low => "low" });

named!(Vouching, "vouching", { Vouched => "vouched", Unvouched => "unvouched" });

named!(Conditions, "class of conditions", {
    None => "none",
    Ids => "ids",
    Metadata => "metadata",
    Document => "document",
    Both => "metadata_and_document",
});

named!(Status, "status", {
    Attempting => "ATTEMPTING",
    Completed => "COMPLETED",
    Failed => "FAILED",
    Recovered => "RECOVERED",
    Abandoned => "ABANDONED",
});

named!(Stored, "encoding of a body", { Plain => "plain", Zstd => "zstd" });

pub(super) const CATALOG: &str = "catalog";
/// Stored in the columns for the lane and the kind of an application's own operation, which is in no lane and of no
/// kind.
pub(super) const APPLICATION: &str = "application";

/// Returns the lane's stored spelling: `catalog`, or the collection's id.
pub(super) fn lane_name(lane: LaneId) -> String {
    match lane {
        LaneId::Catalog => CATALOG.to_owned(),
        LaneId::Records(collection) => collection.uuid().hyphenated().to_string(),
    }
}

/// Returns the lane with this stored spelling.
pub(super) fn lane_named(text: &str) -> Result<LaneId, UnknownName> {
    if text == CATALOG {
        return Ok(LaneId::Catalog);
    }
    collection_named(text).map(LaneId::Records).map_err(|_| UnknownName { what: "lane", text: text.to_owned() })
}

/// Returns the collection with this stored spelling.
pub(super) fn collection_named(text: &str) -> Result<CollectionId, UnknownName> {
    let parsed = Uuid::try_parse(text).map(CollectionId::new);
    parsed.map_err(|_| UnknownName { what: "collection", text: text.to_owned() })
}

named!(LaneState, "state in a lane", {
    InStep => "in_step",
    Diverged => "diverged",
    Quarantined => "quarantined",
    Condemned => "condemned",
    Contradicted => "contradicted",
});

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips<T: Named + PartialEq + std::fmt::Debug>() {
        for (value, name) in T::NAMES {
            assert_eq!(value.name(), *name);
            assert_eq!(T::named(name), Ok(*value), "two values share {name:?}");
        }
        assert!(T::named("no such name").is_err());
    }

    #[test]
    fn every_name_reads_back_as_its_value() {
        round_trips::<Kind>();
        round_trips::<Encoding>();
        round_trips::<Verdict>();
        round_trips::<Origin>();
        round_trips::<Priority>();
        round_trips::<Status>();
        round_trips::<LaneState>();
        round_trips::<Vouching>();
        round_trips::<Conditions>();
        round_trips::<Stored>();
    }

    #[test]
    fn statuses_are_stored_as_they_are_shown() {
        assert!(Status::ALL.iter().all(|status| status.name() == status.as_str()));
    }

    #[test]
    fn lanes_read_back() {
        for lane in [LaneId::Catalog, LaneId::Records(CollectionId::new(Uuid::now_v7()))] {
            assert_eq!(lane_named(&lane_name(lane)), Ok(lane));
        }
        assert!(lane_named("elsewhere").is_err());
    }
}
