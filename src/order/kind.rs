//! What a write does, as far as it matters to the order.

/// The operation of a write, as far as order cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Add,
    Update,
    Upsert,
    /// Delete by ids or by condition, without a limit: safe to execute twice in a row.
    Delete,
    /// Delete with a limit: executing it twice deletes more, so its ids are resolved first and made durable.
    DeleteLimited,
    CreateTenant,
    UpdateTenant,
    CreateDatabase,
    DeleteDatabase,
    CreateCollection,
    UpdateCollection,
    DeleteCollection,
    Reset,
    /// The edge's own entry: a collection that existed before the edge enters the catalog. Sent to no instance.
    Adopt,
}

impl Kind {
    /// Record writes are in a collection's lane; all others are in the catalog lane and change the catalog when applied.
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
