//! Limits what a catalog write may do: it must not use names outside its token's scope, nor delete protected
//! collections.
//!
//! The rules are in `auth`. This file determines which names the write uses, and what it would delete.

use std::sync::{Arc, OnceLock};

use http::HeaderMap;

use super::ProxyOptions;
use super::failure::Failure;
use super::known::resolve;
use super::write_request::{WriteRequest, understood};
use crate::auth::{Confirmed, Denied, Grants, Principal, Protection, RESET};
use crate::chroma::{
    CatalogWrite, ErrorBody, Operation, route, scan_create_collection, scan_create_database, scan_create_tenant,
    scan_update_collection,
};
use crate::coordinator::Core;
use crate::ids::{CollectionId, Scope};
use crate::journal::{Judge, Judgement, Request};
use crate::order::{Board, Deletion};
use crate::web::ResetPolicy;

/// Checks that the names in the body are within the scope. A name outside is refused whether or not it is taken, so the
/// refusal reveals nothing.
pub(super) fn within_scope(grants: &Grants, write: &CatalogWrite, body: &[u8]) -> Result<(), Failure> {
    if grants.are_unlimited() {
        return Ok(());
    }
    let is_within = match write {
        CatalogWrite::CreateTenant => grants.tenant(&understood(scan_create_tenant(body))?),
        CatalogWrite::CreateDatabase { .. } => grants.databases.has(&understood(scan_create_database(body))?),
        CatalogWrite::CreateCollection { .. } => {
            grants.collections.has(&understood(scan_create_collection(body))?.name)
        }
        CatalogWrite::UpdateCollection { .. } => {
            let update = understood(scan_update_collection(body))?;
            update.new_name.is_none_or(|name| grants.collections.has(&name))
        }
        CatalogWrite::UpdateTenant { .. }
        | CatalogWrite::DeleteDatabase { .. }
        | CatalogWrite::DeleteCollection { .. }
        | CatalogWrite::Reset => true,
    };
    if is_within { Ok(()) } else { Err(Failure::Denied(Denied::BeyondScope)) }
}

/// What a catalog write deletes or renames, and which of it is confirmed.
///
/// It is judged before anything is journaled, so that nearly every refusal costs nothing, and once more at the write's
/// place in the order, because earlier writes may have added a protected collection meanwhile.
#[derive(Clone, Debug)]
pub struct Guard {
    target: Target,
    confirmed: Confirmed,
    policy: Policy,
}

/// What is deleted only on purpose.
#[derive(Clone, Debug)]
pub struct Policy {
    pub protection: Protection,
    pub reset: ResetPolicy,
}

#[derive(Clone, Debug)]
enum Target {
    /// Whether or not the collection exists: it may exist without the edge knowing it.
    Collection(String),
    Database(Scope),
    Everything,
    /// Renaming counts, because under another name the collection could be deleted.
    Renamed(CollectionId),
}

impl Target {
    /// Returns `None` for a write that deletes and renames nothing.
    fn of(operation: &Operation, body: &[u8], principal: &Principal, core: &Core) -> Result<Option<Target>, Failure> {
        let Operation::CatalogWrite(write) = operation else { return Ok(None) };
        Ok(Some(match write {
            CatalogWrite::DeleteCollection { name, .. } => Target::Collection(name.clone()),
            CatalogWrite::DeleteDatabase { scope } => {
                // An unknown database has not been inspected, or does not exist.
                if core.board().catalog().database(scope).is_none() {
                    return Err(Failure::Chroma(ErrorBody::database_to_delete_not_found(&scope.database)));
                }
                Target::Database(scope.clone())
            }
            CatalogWrite::Reset => Target::Everything,
            CatalogWrite::UpdateCollection { scope, collection } => {
                if understood(scan_update_collection(body))?.new_name.is_none() {
                    return Ok(None);
                }
                let board = core.board();
                Target::Renamed(resolve(board.catalog(), collection, scope, principal.grants())?)
            }
            CatalogWrite::CreateTenant
            | CatalogWrite::UpdateTenant { .. }
            | CatalogWrite::CreateDatabase { .. }
            | CatalogWrite::CreateCollection { .. } => return Ok(None),
        }))
    }
}

impl Guard {
    /// Returns the guard of this write after judging it once; `None` if it deletes and renames nothing.
    ///
    /// # Errors
    /// The write cannot be read, or what it names does not exist or is protected.
    pub fn judged(request: &WriteRequest<'_>, core: &Core, options: &ProxyOptions) -> Result<Option<Guard>, Failure> {
        let WriteRequest { operation, body, headers, principal, .. } = request;
        let policy = Policy { protection: options.protection.clone(), reset: options.reset };
        Guard::judged_by(policy, (operation, body), (headers, principal), core)
    }

    /// Returns the guard of a stored write that is to be journaled once more, after judging it once. Its principal's
    /// scope was checked when it was first sent.
    ///
    /// # Errors
    /// As [`Guard::judged`].
    pub fn judged_again(
        policy: Policy,
        request: &Request,
        (headers, principal): (&HeaderMap, &Principal),
        core: &Core,
    ) -> Result<Option<Guard>, Failure> {
        let operation = route(&request.method, &request.path);
        Guard::judged_by(policy, (&operation, &request.body), (headers, principal), core)
    }

    fn judged_by(
        policy: Policy,
        (operation, body): (&Operation, &[u8]),
        (headers, principal): (&HeaderMap, &Principal),
        core: &Core,
    ) -> Result<Option<Guard>, Failure> {
        let Some(target) = Target::of(operation, body, principal, core)? else { return Ok(None) };
        let guard = Guard { target, confirmed: Confirmed::of(headers, principal), policy };
        guard.judge(&core.board())?;
        Ok(Some(guard))
    }

    /// Judges whether the write may be the next of the catalog lane.
    ///
    /// # Errors
    /// The write would delete or rename something that is protected and not confirmed.
    pub fn judge(&self, board: &Board) -> Result<(), Failure> {
        let mut names = match &self.target {
            Target::Collection(name) => vec![name.clone()],
            Target::Database(scope) => board.names_under(&Deletion::Database { scope: scope.clone() }),
            Target::Everything => board.names_under(&Deletion::Everything),
            Target::Renamed(collection) => board.names_of(*collection),
        };
        names.retain(|name| self.policy.protection.covers(name));
        names.sort_unstable();
        names.dedup();
        let resets = matches!(self.target, Target::Everything) && self.policy.reset == ResetPolicy::Refused;
        let needed = || names.iter().map(String::as_str).chain(resets.then_some(RESET));
        let missing = self.confirmed.missing(needed());
        if missing.is_empty() {
            return Ok(());
        }
        let confirm = needed().collect::<Vec<_>>().join(", ");
        Err(match names.first() {
            _ if missing == [RESET] => Failure::ResetDisabled { confirm },
            Some(name) => Failure::Protected { name: missing.first().unwrap_or(name).clone(), confirm },
            None => Failure::ResetDisabled { confirm },
        })
    }

    /// Returns the judge to run at the write's place in the order, and the cell that receives its refusal. `None` if
    /// the place makes no difference.
    pub fn at_its_place(self, core: &Arc<Core>) -> Option<(Judge, Arc<OnceLock<Failure>>)> {
        if matches!(self.target, Target::Collection(_)) {
            return None;
        }
        let (core, refusal) = (Arc::clone(core), Arc::new(OnceLock::new()));
        let told = Arc::clone(&refusal);
        let judge = move || match self.judge(&core.board()) {
            Ok(()) => Judgement::Commit,
            Err(failure) => {
                let _ = told.set(failure);
                Judgement::Decline
            }
        };
        Some((Box::new(judge), refusal))
    }
}
