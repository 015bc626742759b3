//! The shell's part in catalog entries (rule R8): what is executed, and what the answer means for the catalog.

use chroma_edge::chroma::Existing;
use chroma_edge::coordinator::adoption::{lacking, pass_on};
use chroma_edge::executor::{Content, Creation, origin_of_found};
use chroma_edge::ids::{CollectionId, InstanceId, Scope, Seq};
use chroma_edge::order::{CatalogChange, Consequences, Consistency, LaneState, Origin, Outcome, Purpose, Repeat};
use uuid::Uuid;

use crate::body::{Body, OnExisting};
use crate::instance::Answer;
use crate::world::World;

fn applied(changes: Vec<CatalogChange>) -> Outcome {
    Outcome::Applied(Consequences { changes, diverged: Vec::new() })
}

const REFUSED: Outcome = Outcome::Rejected { about: None };

/// Judges a change that was rejected elsewhere. If it was made here, its collection must be compared.
fn expected_refusal(instance: InstanceId, body: &Body, answer: Answer) -> Outcome {
    match (answer, body) {
        (Answer::Done, Body::UpdateCollection { collection, .. }) => {
            Outcome::Applied(Consequences { changes: Vec::new(), diverged: vec![(*collection, instance)] })
        }
        _ => REFUSED,
    }
}

impl World {
    pub fn execute_catalog(&mut self, instance: InstanceId, seq: Seq) -> Answer {
        let body = self.journal.rows[&seq].body.clone();
        let server = &mut self.instances[instance.0];
        match &body {
            Body::CreateDatabase(scope) => server.create_database(scope),
            Body::DeleteDatabase(scope) => server.delete_database(scope),
            Body::CreateCollection { scope, name, existing } => server.create_collection(scope, name, *existing),
            Body::UpdateCollection { collection, new_name, metadata } => {
                match self.journal.catalog.mapping_while_held(*collection, instance) {
                    Some(id) => server.update_collection(id.uuid(), new_name.as_deref(), *metadata),
                    None => Answer::NotFound,
                }
            }
            Body::DeleteCollection { scope, name } => server.delete_collection(scope, name),
            Body::Reset => server.reset(),
            // Nothing is sent.
            Body::Adopt { .. } => Answer::Done,
            Body::Write { .. } | Body::DeleteIds(_) | Body::DeleteWhere(_) | Body::DeleteLimited { .. } => {
                Answer::Refused
            }
        }
    }

    /// Undoes the effect of an entry that was rejected elsewhere and may have been executed here.
    pub fn execute_to_be_refused(&mut self, instance: InstanceId, seq: Seq) -> Answer {
        let catalog = self.board.catalog();
        match self.journal.rows[&seq].body.clone() {
            Body::UpdateCollection { .. } => return self.execute_catalog(instance, seq),
            Body::CreateCollection { scope, name, .. } if catalog.by_name(&scope, &name).is_none() => {
                if let Some(id) = self.unclaimed(instance, &scope, &name) {
                    self.counters.count("creation that was refused elsewhere undone");
                    self.instances[instance.0].collections.remove(&id);
                }
            }
            Body::CreateDatabase(scope) if catalog.database(&scope).is_none() => {
                let server = &mut self.instances[instance.0];
                if server.collections.values().all(|collection| collection.scope != scope) {
                    server.delete_database(&scope);
                }
            }
            Body::DeleteCollection { .. } | Body::DeleteDatabase(_) | Body::Reset => {
                self.inspections.insert(instance);
            }
            _ => {}
        }
        Answer::Refused
    }

    /// The edge's catalog judges names: creating a name that exists, or renaming to one, is refused without asking an
    /// instance. An instance that has lost the owner of the name would accept it, and a deletion by that name would
    /// then delete the owner on every other instance.
    pub fn refused_by_the_edge(&mut self, seq: Seq) -> bool {
        let catalog = self.board.catalog();
        if let Body::UpdateCollection { collection, new_name: Some(name), .. } = &self.journal.rows[&seq].body
            && let Some(scope) = catalog.get(*collection).map(|known| known.scope.clone())
        {
            let taken = catalog.by_name(&scope, name).is_some_and(|owner| owner.id != *collection);
            if taken {
                self.counters.count("renaming to a name that is taken");
            }
            return taken;
        }
        match &self.journal.rows[&seq].body {
            Body::CreateCollection { scope, name, existing: OnExisting::Refuse } => {
                catalog.by_name(scope, name).is_some()
            }
            // A collection that no instance serves is not created a second time.
            Body::CreateCollection { scope, name, existing: OnExisting::Get } => {
                catalog.by_name(scope, name).is_some_and(|known| !self.is_served(known.id))
            }
            Body::DeleteCollection { scope, name } => catalog.by_name(scope, name).is_none(),
            _ => false,
        }
    }

    /// A `get_or_create` of a known collection is a read: an instance that does not serve the collection is not asked.
    pub fn shown_elsewhere(&self, instance: InstanceId, seq: Seq) -> bool {
        let Body::CreateCollection { scope, name, existing: OnExisting::Get } = &self.journal.rows[&seq].body else {
            return false;
        };
        let known = self.board.catalog().by_name(scope, name).map(|known| known.id);
        let serves = |id| self.board.serves(id, instance, Consistency::Any);
        known.is_some_and(|id| !serves(id) && self.is_served(id))
    }

    /// Returns whether any instance serves it, as far as the board knows.
    fn is_served(&self, collection: CollectionId) -> bool {
        self.journal.instances().any(|instance| self.board.serves(collection, instance, Consistency::Any))
    }

    /// Returns whether no instance can be asked for the collection.
    fn is_lost(&self, collection: CollectionId) -> bool {
        self.journal.instances().all(|instance| self.board.state_of(collection, instance) != LaneState::InStep)
    }

    /// Returns what the instance's answer means.
    pub fn judge(
        &mut self,
        instance: InstanceId,
        seq: Seq,
        purpose: Purpose,
        repeat: Repeat,
        answer: Answer,
    ) -> Outcome {
        let row = self.journal.rows[&seq].clone();
        if purpose == Purpose::ExpectRefusal {
            self.counters.count("catalog entry sent to be refused");
            return expected_refusal(instance, &row.body, answer);
        }
        let first = purpose == Purpose::Execute;
        let catalog = self.board.catalog();
        match &row.body {
            Body::CreateDatabase(scope) => match answer {
                Answer::Conflict if first && catalog.database(scope).is_some() => REFUSED,
                _ if first => {
                    applied(vec![CatalogChange::DatabaseCreated { scope: scope.clone(), database_id: Uuid::nil() }])
                }
                _ => applied(Vec::new()),
            },
            Body::DeleteDatabase(scope) => match answer {
                Answer::NotFound if first && catalog.database(scope).is_none() => self.refused_deletion(),
                _ if first => applied(vec![CatalogChange::DatabaseDeleted { scope: scope.clone() }]),
                _ => applied(Vec::new()),
            },
            Body::DeleteCollection { scope, name } => match catalog.by_name(scope, name).map(|c| c.id) {
                _ if !first => applied(Vec::new()),
                Some(collection) => applied(vec![CatalogChange::CollectionDeleted { collection }]),
                None => self.refused_deletion(),
            },
            Body::CreateCollection { scope, name, existing } if first => {
                self.judge_creation(instance, seq, scope, name, *existing, repeat, answer)
            }
            Body::CreateCollection { .. } => self.judge_copy(instance, row.created, answer),
            Body::UpdateCollection { collection, new_name, .. } => {
                self.judge_update(*collection, new_name.as_deref(), first, answer)
            }
            Body::Adopt { adoption, .. } if first => self.judge_adoption(seq, adoption.clone()),
            Body::Adopt { adoption, .. } => Outcome::Applied(pass_on(catalog, adoption, instance)),
            Body::Reset => {
                self.counters.count("reset applied");
                applied(if first { vec![CatalogChange::Reset] } else { Vec::new() })
            }
            Body::Write { .. } | Body::DeleteIds(_) | Body::DeleteWhere(_) | Body::DeleteLimited { .. } => REFUSED,
        }
    }

    fn refused_deletion(&mut self) -> Outcome {
        self.counters.count("deletion refused");
        REFUSED
    }

    #[allow(clippy::too_many_arguments, reason = "one call, and every argument is of another type")]
    fn judge_creation(
        &mut self,
        instance: InstanceId,
        seq: Seq,
        scope: &Scope,
        name: &str,
        existing: OnExisting,
        repeat: Repeat,
        answer: Answer,
    ) -> Outcome {
        let known = self.board.catalog().by_name(scope, name).is_some();
        let (id, origin) = match answer {
            Answer::Created(id) => (id, Origin::Created),
            Answer::Found(_) if known => {
                self.counters.count("get_or_create found it");
                return Outcome::Void;
            }
            Answer::Conflict | Answer::Found(_) if known => return REFUSED,
            Answer::Conflict | Answer::Found(_) => {
                let existing = if existing == OnExisting::Get { Existing::Reuse } else { Existing::Conflict };
                let found = self.unclaimed(instance, scope, name);
                match found.and_then(|id| Some((id, origin_of_found(repeat, Content::Empty, existing)?))) {
                    Some(found) => found,
                    None => return REFUSED,
                }
            }
            Answer::Done | Answer::Refused | Answer::NotFound | Answer::Failed => return REFUSED,
        };
        match (answer, origin) {
            (Answer::Created(_), _) => {}
            (_, Origin::Created) => self.counters.count("created again after a lost answer"),
            (_, Origin::Adopted) => self.counters.count("adopted by get_or_create"),
        }
        let creation = Creation { scope, name, created: seq, instance: &self.journal.names[instance.0], id };
        Outcome::Applied(creation.consequences(origin, self.journal.instances().filter(|other| *other != instance)))
    }

    /// Returns whether the entry was adopted where it was first executed. If so, the other instances do not get a copy
    /// of its definition alone.
    pub fn was_found(&self, seq: Seq) -> bool {
        let catalog = self.board.catalog();
        let created = self.journal.rows[&seq].created;
        let known = created.and_then(|id| catalog.get(id).or_else(|| catalog.departed(id)));
        known.is_some_and(|known| known.origin == Origin::Adopted)
    }

    fn judge_copy(&mut self, instance: InstanceId, created: Option<CollectionId>, answer: Answer) -> Outcome {
        let Some(collection) = created else { return applied(Vec::new()) };
        let diverged =
            |collection| Outcome::Applied(Consequences { changes: Vec::new(), diverged: vec![(collection, instance)] });
        match answer {
            Answer::Created(id) => applied(vec![self.mapping(collection, instance, id)]),
            Answer::Conflict | Answer::Found(_) => {
                let Body::CreateCollection { scope, name, .. } = self.body_of(collection) else {
                    return diverged(collection);
                };
                match self.unclaimed(instance, &scope, &name) {
                    Some(id) => applied(vec![self.mapping(collection, instance, id)]),
                    None => diverged(collection),
                }
            }
            // It was adopted: there is nothing to copy.
            Answer::Done => Outcome::Applied(lacking(self.board.catalog(), [collection], instance)),
            Answer::Refused | Answer::NotFound | Answer::Failed => Outcome::Rejected { about: Some(collection) },
        }
    }

    fn judge_update(
        &mut self,
        collection: CollectionId,
        new_name: Option<&str>,
        first: bool,
        answer: Answer,
    ) -> Outcome {
        let known = self.board.catalog().get(collection);
        match answer {
            Answer::Done if first => {
                let Some(known) = known else { return REFUSED };
                let name = new_name.unwrap_or(&known.name).to_owned();
                // Recorded even without a new name, to show which collection the entry was about.
                applied(vec![CatalogChange::CollectionRenamed { collection, name }])
            }
            Answer::Done => applied(Vec::new()),
            Answer::Conflict => {
                self.counters.count("unique constraint");
                Outcome::Rejected { about: Some(collection) }
            }
            _ if first && known.is_none() => REFUSED,
            // Every copy is lost, so no instance can be asked (like `is_lost` in the executor).
            _ if first && self.is_lost(collection) => Outcome::Rejected { about: Some(collection) },
            _ if first => Outcome::Unfit,
            _ => Outcome::Rejected { about: Some(collection) },
        }
    }

    fn body_of(&self, collection: CollectionId) -> Body {
        let created = self.journal.rows.values().find(|row| row.created == Some(collection));
        created.map_or(Body::Reset, |row| row.body.clone())
    }

    /// Returns an empty collection with that name which the catalog does not know (rule R8).
    fn unclaimed(&self, instance: InstanceId, scope: &Scope, name: &str) -> Option<Uuid> {
        let server = &self.instances[instance.0];
        let id = server.find(scope, name)?;
        // A collection that a rollback restored has an id that was in use. Adopting it as new would give two
        // collections one id.
        let claimed = self.board.catalog().by_id(id).is_some() || self.journal.was_mapped(id);
        (!claimed && server.collections[&id].records.is_empty()).then_some(id)
    }

    fn mapping(&self, collection: CollectionId, instance: InstanceId, id: Uuid) -> CatalogChange {
        CatalogChange::mapped(collection, &self.journal.names[instance.0], id)
    }
}
