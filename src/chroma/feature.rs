//! Features that requests can use and that some servers lack. It decides nothing: scans record them, `proxy/` asks the servers.

/// Something that some servers have and others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// A collection that is defined by a schema.
    Schemas,
    /// Arrays in the metadata of records.
    MetadataArrays,
}

impl Feature {
    pub const ALL: [Feature; 2] = [Feature::Schemas, Feature::MetadataArrays];
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Feature::Schemas => "a collection's schema",
            Feature::MetadataArrays => "an array in the metadata of a record",
        })
    }
}
