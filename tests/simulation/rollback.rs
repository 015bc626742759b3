//! An instance that is rolled back: a backup is restored, or the last of its writes or all of them are lost.
//!
//! An inspection notices missing collections, and content that is older than the last marker (rule R16). It does not
//! notice what was lost since then: nothing is checked on such a replica, and everything on all others.

use std::collections::BTreeSet;

use chroma_edge::ids::{InstanceId, Scope, Seq};
use chroma_edge::order::Generation;

use crate::divergence::{Cause, Held};
use crate::instance::Power;
use crate::world::World;

/// What an instance held at some time.
#[derive(Clone, Default)]
pub struct Snapshot {
    databases: BTreeSet<Scope>,
    collections: Held,
    marker: Option<(Generation, Seq)>,
}

impl World {
    /// Returns the one instance of the run that may lose data. The others keep theirs.
    pub fn unlucky(&self) -> InstanceId {
        self.temper.unlucky
    }

    pub fn backup_or_restore(&mut self) {
        if !self.rng.per_mille(self.temper.rollback) {
            return;
        }
        let instance = self.unlucky();
        if self.snapshots[instance.0].is_none() || self.rng.per_mille(300) {
            let server = &self.instances[instance.0];
            let (databases, collections) = (server.databases.clone(), server.collections.clone());
            self.snapshots[instance.0] = Some(Snapshot { databases, collections, marker: server.marker });
            return;
        }
        self.comes_back_older(instance);
    }

    pub fn comes_back_older(&mut self, instance: InstanceId) {
        self.counters.count("came back older");
        let snapshot = match self.rng.index(4) {
            0 => {
                self.counters.count("came back blank");
                None
            }
            _ => self.snapshots[instance.0].clone(),
        };
        // Down, then possibly up again before any probe has noticed.
        self.set_power(instance, Power::Down);
        let server = &mut self.instances[instance.0];
        let before = server.collections.clone();
        server.reset();
        server.marker = None;
        if let Some(Snapshot { databases, collections, marker }) = snapshot {
            server.databases = databases;
            server.collections = collections;
            server.marker = marker;
        }
        self.note(|| format!("{instance:?} comes back older"));
        self.note_changes(instance, &before, Cause::Older);
        self.repairing.came_back_older(instance);
        if self.rng.per_mille(500) {
            self.set_power(instance, Power::Up);
        }
    }
}
