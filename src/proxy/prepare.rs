//! From a write request to a draft for the journal: which lane, which profile, which path; and what is refused
//! before it gets there.

use bytes::Bytes;
use http::HeaderMap;

use super::ProxyOptions;
use super::failure::{Failure, KeyOrigin};
use super::vouch::Vouch;
use crate::chroma::{
    self, CatalogWrite, CollectionRef, ErrorBody, Existing, Feature, IndexShape, Measured, Operation, Refusal,
    RequestLimits, Scanned, Shape, Verb, scan_create_collection, scan_create_database, scan_create_tenant,
    scan_records, scan_update_collection,
};
use crate::clock::Timestamp;
use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceCollectionId, LaneId, Scope, TransactionId};
use crate::journal::{ClientKey, Draft};
use crate::order::{AckPolicy, Catalog, Kind, Priority, Profile, Vouching};
use crate::proof::{self, Rule};
use crate::web::{ResetPolicy, idempotency_key};

/// A write that may be journaled.
pub struct Prepared {
    pub draft: Draft,
    pub ack_policy: AckPolicy,
    pub key_origin: KeyOrigin,
    /// What it amounts to, if that is anything that counts.
    pub shape: Option<Shape>,
}

/// What to do with a write request.
pub enum Preparation {
    Journal(Box<Prepared>),
    /// `get_or_create` of a collection that is everywhere: a read.
    Show {
        collection: CollectionId,
    },
}

/// A write request, read whole.
#[derive(Clone)]
pub struct WriteRequest<'a> {
    pub operation: &'a Operation,
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    pub client_ip: Option<String>,
    pub identity: Identity,
}

/// Who a write is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: TransactionId,
    pub key: ClientKey,
    /// The id that the client brought, as it spelled it.
    pub brought: Option<String>,
}

impl Identity {
    /// With the id that the client brought, or one made here.
    pub fn of(operation: &Operation, method: &str, path: &str, brought: Option<String>, body: &[u8]) -> Self {
        let id = TransactionId::random();
        let fingerprint = idempotency_key::fingerprint(method, path, body);
        let tenant = tenant_of(operation);
        // A broken rule, for the proof: the key is stored where a repetition does not look.
        let hidden = proof::broken(Rule::OnceOnly).then(|| format!("{tenant}, {id}"));
        let key = idempotency_key::key(brought.as_deref(), id, hidden.as_deref().unwrap_or(tenant), fingerprint);
        Identity { id, key, brought }
    }

    /// The id that is shown to the client.
    pub fn shown(&self) -> String {
        self.brought.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// Prepares the write, or refuses it. Nothing is journaled or sent yet.
pub fn prepare(
    request: WriteRequest<'_>,
    core: &Core,
    options: &ProxyOptions,
    vouch: &Vouch,
) -> Result<Preparation, Failure> {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = header("content-type").map(str::to_owned);
    let priority = header("x-transaction-priority").map_or(Priority::Normal, Priority::asked_for);
    let (lane, profile, path, shape) = match request.operation {
        Operation::RecordWrite { collection, scope, kind } => {
            let encoding = header("content-encoding");
            let scan =
                scan_records(*kind, &request.body, content_type.as_deref(), encoding).map_err(Failure::Refused)?;
            options.limits.check(&scan.measured).map_err(Failure::Refused)?;
            even(core, &scan.measured)?;
            // The board is locked for the look-up only, never for the scan of a large body.
            let id = resolve(core.board().catalog(), collection, scope)?;
            let path = with_stable_id(&request, id);
            let profile = Profile { priority, ..scan.profile(request.body.len() as u64) };
            let shape = Shape::of(Verb::Write(scan.kind), &scan.measured, request.body.len(), vouch.index_of(id));
            (LaneId::Records(id), profile, path, Some(shape))
        }
        Operation::CatalogWrite(write) => {
            // A write with an id of its own must be found by that id later: it is journaled.
            if request.identity.brought.is_none()
                && let Some(collection) = shown(write, &request.body, core)?
            {
                return Ok(Preparation::Show { collection });
            }
            for name in scope_names(write) {
                options.limits.check_name(name).map_err(Failure::Refused)?;
            }
            let Allowed { path, measured } = allowed(write, &request, core, options)?;
            let shape =
                |measured| Shape::of(Verb::Write(write.kind()), &measured, request.body.len(), IndexShape::ORDINARY);
            let profile = Profile { priority, ..Profile::of(write.kind(), request.body.len() as u64) };
            (LaneId::Catalog, profile, path, measured.map(shape))
        }
        _ => return Err(Failure::Chroma(chroma::EdgeAnswer::empty(404))),
    };
    let Identity { id: transaction_id, key, brought } = request.identity;
    let profile = vouched(profile, shape.as_ref(), vouch, &key);
    let ack_policy = match (&brought, profile.vouching) {
        (None, Vouching::Vouched) => AckPolicy::Applied,
        // So that it can still be quarantined: no client was answered that it is applied.
        (Some(_), _) | (None, Vouching::Unvouched) => AckPolicy::Durable,
    };
    let key_origin = if brought.is_some() { KeyOrigin::Client } else { KeyOrigin::Edge };
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
        user_identifier: header("x-user-id").map(str::to_owned),
        body: request.body,
    };
    Ok(Preparation::Journal(Box::new(Prepared { draft, ack_policy, key_origin, shape })))
}

/// The profile with what is known of such requests. What is not vouched for goes alone.
fn vouched(profile: Profile, shape: Option<&Shape>, vouch: &Vouch, key: &ClientKey) -> Profile {
    let Some(shape) = shape else { return profile };
    let vouching = vouch.of_write(shape, &key.fingerprint);
    let merge = profile.merge.filter(|_| vouching == Vouching::Vouched);
    Profile { vouching, conditions: shape.conditions, merge, ..profile }
}

/// The collection that a segment in an id's place means: an id of any instance in any spelling, else a name.
pub fn resolve(catalog: &Catalog, reference: &CollectionRef, scope: &Scope) -> Result<CollectionId, Failure> {
    let by_id = reference.as_id().and_then(|id| catalog.by_id(id));
    if let Some(found) = by_id.or_else(|| catalog.by_name(scope, reference.as_str())) {
        return Ok(found.id);
    }
    Err(Failure::Chroma(match reference.as_id() {
        Some(id) => ErrorBody::collection_id_not_found(id),
        None => ErrorBody::bad_collection_id(),
    }))
}

/// The journaled path names the collection by its stable id: a name may mean another one by the time it is executed.
fn with_stable_id(request: &WriteRequest<'_>, id: CollectionId) -> String {
    chroma::instance_path(request.operation, request.path, InstanceCollectionId::new(id.uuid()))
}

/// The collection that a `get_or_create` only has to show: mapped on every instance.
fn shown(write: &CatalogWrite, body: &[u8], core: &Core) -> Result<Option<CollectionId>, Failure> {
    let CatalogWrite::CreateCollection { scope } = write else { return Ok(None) };
    let scan = understood(scan_create_collection(body))?;
    if scan.existing == Existing::Conflict {
        return Ok(None);
    }
    let board = core.board();
    let known = board.catalog().by_name(scope, &scan.name);
    Ok(known.filter(|known| known.mappings.iter().all(Option::is_some)).map(|known| known.id))
}

/// What the scan read; what it could not read is not journaled.
fn understood<T>(scanned: Result<Scanned<T>, Refusal>) -> Result<T, Failure> {
    match scanned {
        Ok(Scanned::Read(read)) => Ok(read),
        Ok(Scanned::Malformed(refusal)) | Err(refusal) => Err(Failure::Refused(refusal)),
    }
}

/// A request may not use what only some of the servers have: the copies would differ.
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
    /// For a definition: what it amounts to.
    measured: Option<Measured>,
}

/// The path to journal, unless the write is refused.
fn allowed(
    write: &CatalogWrite,
    request: &WriteRequest<'_>,
    core: &Core,
    options: &ProxyOptions,
) -> Result<Allowed, Failure> {
    let mut measured = None;
    let is_protected = |name: &String| options.protected.contains(name);
    match write {
        CatalogWrite::DeleteCollection { name, .. } if is_protected(name) => {
            return Err(Failure::Protected { name: name.clone() });
        }
        CatalogWrite::DeleteDatabase { scope } => {
            let board = core.board();
            let catalog = board.catalog();
            let held = catalog.in_scope(scope).into_iter().filter_map(|id| catalog.get(id));
            if let Some(held) = held.map(|collection| &collection.name).find(|name| is_protected(name)) {
                return Err(Failure::Protected { name: held.clone() });
            }
        }
        CatalogWrite::CreateTenant => within(&options.limits, understood(scan_create_tenant(&request.body))?)?,
        CatalogWrite::CreateDatabase { tenant } => {
            let name = understood(scan_create_database(&request.body))?;
            if let Some(answer) = chroma::reserved_database(tenant, &name) {
                return Err(Failure::Chroma(answer));
            }
            within(&options.limits, name)?;
        }
        CatalogWrite::Reset if options.reset == ResetPolicy::Refused => return Err(Failure::ResetDisabled),
        CatalogWrite::CreateCollection { .. } => {
            let create = understood(scan_create_collection(&request.body))?;
            options.limits.check(&create.measured).map_err(Failure::Refused)?;
            even(core, &create.measured)?;
            measured = Some(create.measured);
        }
        CatalogWrite::Reset => {
            let board = core.board();
            if let Some(held) = board.catalog().collections().find(|held| is_protected(&held.name)) {
                return Err(Failure::Protected { name: held.name.clone() });
            }
        }
        CatalogWrite::UpdateCollection { scope, collection } => {
            let update = understood(scan_update_collection(&request.body))?;
            options.limits.check(&update.measured).map_err(Failure::Refused)?;
            let board = core.board();
            let id = resolve(board.catalog(), collection, scope)?;
            // Under another name it could be deleted.
            let renames = update.new_name.is_some();
            if let Some(held) = board.catalog().get(id).filter(|held| renames && is_protected(&held.name)) {
                return Err(Failure::Protected { name: held.name.clone() });
            }
            return Ok(Allowed { path: with_stable_id(request, id), measured: Some(update.measured) });
        }
        _ => {}
    }
    Ok(Allowed { path: request.path.to_owned(), measured })
}

/// The names in the path of a creation, which makes them: Chroma takes a database of a tenant that it does not have.
fn scope_names(write: &CatalogWrite) -> Vec<&str> {
    match write {
        CatalogWrite::CreateDatabase { tenant } => vec![tenant],
        CatalogWrite::CreateCollection { scope } => vec![&scope.tenant, &scope.database],
        _ => Vec::new(),
    }
}

fn tenant_of(operation: &Operation) -> &str {
    match operation {
        Operation::RecordWrite { scope, .. } => &scope.tenant,
        Operation::CatalogWrite(write) => match write {
            CatalogWrite::UpdateTenant { tenant } | CatalogWrite::CreateDatabase { tenant } => tenant,
            CatalogWrite::DeleteDatabase { scope }
            | CatalogWrite::CreateCollection { scope }
            | CatalogWrite::UpdateCollection { scope, .. }
            | CatalogWrite::DeleteCollection { scope, .. } => &scope.tenant,
            CatalogWrite::CreateTenant | CatalogWrite::Reset => "",
        },
        _ => "",
    }
}

/// The name under which an operation is counted.
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
