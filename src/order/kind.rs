//! The kinds of writes, as far as they matter to the order.

/// The operation of a write, as far as it matters to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Add,
    Update,
    Upsert,
    /// Delete by ids or by condition, without a limit. Safe to execute twice in a row.
    Delete,
    /// Delete with a limit. Executing it twice would delete more, so its ids are resolved first and made durable.
    DeleteLimited,
    CreateTenant,
    UpdateTenant,
    CreateDatabase,
    DeleteDatabase,
    CreateCollection,
    UpdateCollection,
    DeleteCollection,
    Reset,
    /// The edge's own entry: adds a collection that existed before the edge to the catalog. Sent to no instance.
    Adopt,
}

impl Kind {
    /// Returns whether this is a record write, which goes into its collection's lane. All others go into the catalog
    /// lane and change the catalog when applied.
    pub const fn is_record(self) -> bool {
        match self {
            Kind::Add | Kind::Update | Kind::Upsert | Kind::Delete | Kind::DeleteLimited => true,
            Kind::CreateTenant
            | Kind::UpdateTenant
            | Kind::CreateDatabase
            | Kind::DeleteDatabase
            | Kind::CreateCollection
            | Kind::UpdateCollection
            | Kind::DeleteCollection
            | Kind::Reset
            | Kind::Adopt => false,
        }
    }
}
