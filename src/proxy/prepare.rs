//! Turns a write request into a draft for the journal: its lane, profile and path. Decides what is refused before the
//! journal.

use super::ProxyOptions;
use super::failure::{Failure, KeyOrigin};
use super::guard::{self, Guard};
use super::known::resolve;
use super::vouch::Vouch;
use super::write_request::{Identity, WriteRequest, understood};
use crate::auth::{Denied, Role};
use crate::chroma::{
    self, CatalogWrite, Existing, Feature, IndexShape, Measured, Operation, RequestLimits, Shape, Verb,
    scan_create_collection, scan_create_database, scan_create_tenant, scan_records, scan_update_collection,
};
use crate::clock::Timestamp;
use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceCollectionId, LaneId};
use crate::journal::{ClientKey, Draft, ack_policy};
use crate::order::{AckPolicy, Kind, Priority, Profile, Vouching};
use crate::web::idempotency_key;

/// A write that may be journaled.
pub struct Prepared {
    pub draft: Draft,
    pub ack_policy: AckPolicy,
    pub key_origin: KeyOrigin,
    /// The write's shape, if it is measured.
    pub shape: Option<Shape>,
    /// Judges the write once more at its place in the order.
    pub guard: Option<Guard>,
}

/// What to do with a write request.
pub enum Preparation {
    Journal(Box<Prepared>),
    /// A `get_or_create` of a collection that every instance has: a read.
    Show {
        collection: CollectionId,
    },
}

/// Prepares the write, or refuses it. Nothing has been journaled or sent at this point.
pub fn prepare(
    request: WriteRequest<'_>,
    core: &Core,
    options: &ProxyOptions,
    vouch: &Vouch,
) -> Result<Preparation, Failure> {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = header("content-type").map(str::to_owned);
    let priority = header("x-transaction-priority").map_or(Priority::Normal, Priority::asked_for);
    let mut guard = None;
    let (lane, profile, path, shape) = match request.operation {
        Operation::RecordWrite { collection, scope, kind } => {
            let encoding = header("content-encoding");
            let scan =
                scan_records(*kind, &request.body, content_type.as_deref(), encoding).map_err(Failure::Refused)?;
            options.limits.check(&scan.measured).map_err(Failure::Refused)?;
            even(core, &scan.measured)?;
            // Lock the board only for the look-up, never for the scan of a large body.
            let id = resolve(core.board().catalog(), collection, scope, request.principal.grants())?;
            let path = with_stable_id(&request, id);
            let profile = Profile { priority, ..scan.profile(request.body.len() as u64) };
            let shape = Shape::of(Verb::Write(scan.kind), &scan.measured, request.body.len(), vouch.index_of(id));
            (LaneId::Records(id), profile, path, Some(shape))
        }
        Operation::CatalogWrite(write) => {
            guard::within_scope(request.principal.grants(), write, &request.body)?;
            if let Some(collection) = shown(write, &request, core)? {
                return Ok(Preparation::Show { collection });
            }
            for name in scope_names(write) {
                options.limits.check_name(name).map_err(Failure::Refused)?;
            }
            guard = Guard::judged(&request, core, options)?;
            let Allowed { path, measured } = allowed(write, &request, core, options)?;
            let shape =
                |measured| Shape::of(Verb::Write(write.kind()), &measured, request.body.len(), IndexShape::ORDINARY);
            let profile = Profile { priority, ..Profile::of(write.kind(), request.body.len() as u64) };
            (LaneId::Catalog, profile, path, measured.map(shape))
        }
        _ => return Err(Failure::Chroma(chroma::EdgeAnswer::empty(404))),
    };
    if !request.principal.has(Role::Writer) {
        return Err(Failure::Denied(Denied::NeedsRole(Role::Writer)));
    }
    let Identity { id: transaction_id, key, brought } = request.identity;
    let profile = vouched(profile, shape.as_ref(), vouch, &key);
    let key_origin = if brought.is_some() { KeyOrigin::Client } else { KeyOrigin::Edge };
    let ack_policy = ack_policy(Some(&key.key), transaction_id, profile.vouching);
    let user = header("x-user-id").map(idempotency_key::shortened).or(request.principal.name());
    let draft = Draft {
        transaction_id,
        client_key: Some(key),
        lane,
        profile,
        method: request.method.to_owned(),
        path,
        content_type,
        created_at: Timestamp::now(),
        client_session: idempotency_key::session(request.headers),
        client_ip: request.client_ip,
        user_identifier: user.map(str::to_owned),
        body: request.body,
        trace_context: None,
        instead_of: None,
    };
    Ok(Preparation::Journal(Box::new(Prepared { draft, ack_policy, key_origin, shape, guard })))
}

/// Adds the vouching to the profile. A write that is not vouched for is not merged with others.
fn vouched(profile: Profile, shape: Option<&Shape>, vouch: &Vouch, key: &ClientKey) -> Profile {
    let Some(shape) = shape else { return profile };
    let vouching = vouch.of_write(shape, &key.fingerprint);
    let merge = profile.merge.filter(|_| vouching == Vouching::Vouched);
    Profile { vouching, conditions: shape.conditions, merge, ..profile }
}

/// Returns the path to journal. It names the collection by its stable id: a name may mean another collection by the
/// time the write is executed.
fn with_stable_id(request: &WriteRequest<'_>, id: CollectionId) -> String {
    chroma::instance_path(request.operation, request.path, InstanceCollectionId::new(id.uuid()))
}

/// Returns the collection if a `get_or_create` only needs to show it. For a writer, it must be mapped on every
/// instance, and the request must bring no id: a write with an id must be found by it later. For a reader, it is always
/// only a look-up.
fn shown(write: &CatalogWrite, request: &WriteRequest<'_>, core: &Core) -> Result<Option<CollectionId>, Failure> {
    let CatalogWrite::CreateCollection { scope } = write else { return Ok(None) };
    let only_looks = !request.principal.has(Role::Writer);
    if request.identity.brought.is_some() && !only_looks {
        return Ok(None);
    }
    let scan = understood(scan_create_collection(&request.body))?;
    if scan.existing == Existing::Conflict {
        return Ok(None);
    }
    let board = core.board();
    let known = board.catalog().by_name(scope, &scan.name);
    Ok(known.filter(|known| only_looks || known.mappings.iter().all(Option::is_some)).map(|known| known.id))
}

/// Refuses a request that uses a feature of only some servers: the copies would differ.
fn even(core: &Core, measured: &Measured) -> Result<(), Failure> {
    let servers = core.discovery().servers();
    let mut used = Feature::ALL.into_iter().filter(|feature| measured.uses(*feature));
    used.find(|feature| servers.is_uneven(*feature)).map_or(Ok(()), |feature| Err(Failure::UnevenServers(feature)))
}

fn within(limits: &RequestLimits, name: String) -> Result<(), Failure> {
    limits.check_name(&name).map_err(Failure::Refused)
}

/// A catalog write that may be journaled.
struct Allowed {
    path: String,
    /// What a definition amounts to.
    measured: Option<Measured>,
}

/// Returns the path to journal, unless the write is refused.
fn allowed(
    write: &CatalogWrite,
    request: &WriteRequest<'_>,
    core: &Core,
    options: &ProxyOptions,
) -> Result<Allowed, Failure> {
    let mut measured = None;
    match write {
        CatalogWrite::CreateTenant => within(&options.limits, understood(scan_create_tenant(&request.body))?)?,
        CatalogWrite::CreateDatabase { tenant } => {
            let name = understood(scan_create_database(&request.body))?;
            if let Some(answer) = chroma::reserved_database(tenant, &name) {
                return Err(Failure::Chroma(answer));
            }
            within(&options.limits, name)?;
        }
        CatalogWrite::CreateCollection { .. } => {
            let create = understood(scan_create_collection(&request.body))?;
            options.limits.check(&create.measured).map_err(Failure::Refused)?;
            even(core, &create.measured)?;
            measured = Some(create.measured);
        }
        CatalogWrite::UpdateCollection { scope, collection } => {
            let update = understood(scan_update_collection(&request.body))?;
            options.limits.check(&update.measured).map_err(Failure::Refused)?;
            let board = core.board();
            let id = resolve(board.catalog(), collection, scope, request.principal.grants())?;
            return Ok(Allowed { path: with_stable_id(request, id), measured: Some(update.measured) });
        }
        _ => {}
    }
    Ok(Allowed { path: request.path.to_owned(), measured })
}

/// The names in the path of a creation, which may be new: Chroma accepts a database in a tenant that does not exist.
fn scope_names(write: &CatalogWrite) -> Vec<&str> {
    match write {
        CatalogWrite::CreateDatabase { tenant } => vec![tenant],
        CatalogWrite::CreateCollection { scope } => vec![&scope.tenant, &scope.database],
        _ => Vec::new(),
    }
}

/// The label of requests for the edge's own pages.
pub const OWN_PAGE: &str = "own_page";
/// The label of browsers' preflights.
pub const PREFLIGHT: &str = "preflight";

/// The label of an operation in metrics.
pub fn label(operation: &Operation) -> &'static str {
    match operation {
        Operation::System => "system",
        Operation::RecordRead { .. } => "record_read",
        Operation::CatalogRead(_) => "catalog_read",
        Operation::RecordWrite { kind, .. } => match kind {
            Kind::Add => "add",
            Kind::Update => "update",
            Kind::Upsert => "upsert",
            Kind::Delete | Kind::DeleteLimited => "delete",
            // Never in the path of a record write.
            Kind::CreateTenant
            | Kind::UpdateTenant
            | Kind::CreateDatabase
            | Kind::DeleteDatabase
            | Kind::CreateCollection
            | Kind::UpdateCollection
            | Kind::DeleteCollection
            | Kind::Reset
            | Kind::Adopt => "unsupported",
        },
        Operation::CatalogWrite(write) => match write {
            CatalogWrite::CreateTenant => "create_tenant",
            CatalogWrite::UpdateTenant { .. } => "update_tenant",
            CatalogWrite::CreateDatabase { .. } => "create_database",
            CatalogWrite::DeleteDatabase { .. } => "delete_database",
            CatalogWrite::CreateCollection { .. } => "create_collection",
            CatalogWrite::UpdateCollection { .. } => "update_collection",
            CatalogWrite::DeleteCollection { .. } => "delete_collection",
            CatalogWrite::Reset => "reset",
        },
        Operation::Unsupported(_) | Operation::UnknownWrite(_) => "unsupported",
    }
}
