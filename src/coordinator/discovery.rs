//! What the edge knows of the instances' contents: whether each has been inspected since the edge began, which tenants
//! clients have named, what could not be inspected, and the collections' indexes.
//!
//! It decides nothing: `rejoin/` looks and reports here, the executor and the proxy ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::demands::CopyDoubts;
use super::differences::Differences;
use super::indexes::Indexes;
use super::markers::Markers;
use super::repairs::Repairs;
use super::servers::Servers;
use crate::ids::{InstanceId, shown};

/// Tenants that clients have named and an instance has: more are not remembered, and adopted when a collection of theirs
/// is created.
const MOST_TENANTS: usize = 1024;

/// The most entries that are kept, for each instance, of what could not be inspected.
const MOST_UNSEEN: usize = 32;

/// What is known of the instances' contents.
#[derive(Debug)]
pub struct Discovery {
    seen: Vec<AtomicBool>,
    tenants: Mutex<BTreeSet<String>>,
    unseen: Mutex<BTreeMap<InstanceId, Vec<String>>>,
    servers: Servers,
    markers: Markers,
    indexes: Indexes,
    differences: Differences,
    doubts: CopyDoubts,
    /// How often each server's process may have been replaced unseen.
    endings: Vec<AtomicU64>,
    repairs: Repairs,
    ticks: watch::Sender<u64>,
}

impl Discovery {
    /// Nothing is known of these many instances.
    pub fn new(instances: usize, markers: Markers) -> Discovery {
        Discovery {
            seen: (0..instances).map(|_| AtomicBool::new(false)).collect(),
            tenants: Mutex::default(),
            unseen: Mutex::default(),
            servers: Servers::new(instances),
            markers,
            indexes: Indexes::default(),
            differences: Differences::default(),
            doubts: CopyDoubts::default(),
            endings: (0..instances).map(|_| AtomicU64::new(0)).collect(),
            repairs: Repairs::default(),
            ticks: watch::Sender::new(0),
        }
    }

    /// What is known of the servers' markers.
    pub fn markers(&self) -> &Markers {
        &self.markers
    }

    /// What the servers can do.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// A connection to the server has ended: another process may answer there, with the same data.
    pub fn may_be_another_process(&self, instance: InstanceId) {
        self.endings[instance.0].fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    pub fn endings(&self, instance: InstanceId) -> u64 {
        self.endings[instance.0].load(Ordering::Relaxed)
    }

    /// Copies that have begun to be repaired where they are.
    pub fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    /// Copies that are to be checked.
    pub fn doubts(&self) -> &CopyDoubts {
        &self.doubts
    }

    /// The collections' indexes.
    pub fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Copies that were there before the edge, and differ.
    pub fn differences(&self) -> &Differences {
        &self.differences
    }

    /// Whether everything that the instance held when the edge began is in the catalog, or on its way there.
    pub fn is_seen(&self, instance: InstanceId) -> bool {
        self.seen[instance.0].load(Ordering::Acquire)
    }

    /// The first look at the instance is over, and what it found is adopted.
    pub(crate) fn saw(&self, instance: InstanceId) {
        if !self.seen[instance.0].swap(true, Ordering::AcqRel) {
            self.ticks.send_modify(|tick| *tick += 1);
        }
    }

    /// Ticks when an instance has been seen for the first time.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Some instance has this tenant: it is looked into from now on.
    pub fn hear_of(&self, tenant: &str) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() < MOST_TENANTS {
            tenants.insert(tenant.to_owned());
        }
    }

    /// The tenants that clients have named.
    pub(crate) fn tenants(&self) -> BTreeSet<String> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These parts of the instance could not be inspected, and it was admitted without them. Returned: those that were
    /// not known before.
    pub(crate) fn not_seen<'a>(&self, instance: InstanceId, parts: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut unseen = self.unseen();
        let before = unseen.remove(&instance).unwrap_or_default();
        let now: Vec<String> = parts.take(MOST_UNSEEN).map(|part| shown(part).into_owned()).collect();
        let new = now.iter().filter(|part| !before.contains(part)).cloned().collect();
        unseen.insert(instance, now);
        new
    }

    /// What of the instance could not be inspected, shortened.
    pub fn unseen_on(&self, instance: InstanceId) -> Vec<String> {
        self.unseen().get(&instance).cloned().unwrap_or_default()
    }

    fn unseen(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vec<String>>> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
