//! A cache of collection objects that were read from instances, kept while nothing can have changed them.
//!
//! Decides which objects are kept, within `limits.collection_cache_bytes`, and which concurrent reads share one
//! request. How long an object stays valid is decided by the board ([`ObjectVersion`]); how it is read, by
//! [`read`](super::read).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::ids::{CollectionId, InstanceId};
use crate::instance::Generation;
use crate::order::ObjectVersion;

/// The memory that an object takes besides its bytes.
const OVERHEAD: usize = 256;
/// One object may take at most 1/`PART` of the cache.
const PART: usize = 4;
/// From this size on, an object is long. It is remembered as such, and never requested together with others.
const LONG: usize = 256 * 1024;
/// The most long objects to remember.
const LONG_KNOWN: usize = 10_000;
/// The most that may be read at once, in MiB.
const ROOM: u32 = 64;
/// The assumed size of an object whose size is unknown, in MiB.
const UNKNOWN: u32 = 8;
/// How many pages of instances' lists are read at once.
const PAGES: usize = 2;
/// How long reads of objects spare an instance that was slow to show something.
const SPARED: Duration = Duration::from_secs(10);

/// What Chroma shows of a collection, under the id that clients know.
#[derive(Clone, Debug)]
pub struct Object {
    pub body: Bytes,
    /// The instance that gave the answer, and its generation then: an upgraded server may show more.
    pub source: (InstanceId, Generation),
    pub version: ObjectVersion,
}

/// The kept objects, and the reads that are under way.
pub struct Objects {
    limit: usize,
    kept: Mutex<Kept>,
    reads: Mutex<HashMap<CollectionId, Running>>,
    numbers: AtomicU64,
    room: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    /// Instances that were slow to show something, and when.
    slow: Mutex<HashMap<InstanceId, Instant>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Default)]
struct Kept {
    objects: HashMap<CollectionId, Entry>,
    /// The order in which objects are considered for removal.
    queue: VecDeque<CollectionId>,
    bytes: usize,
    /// The sizes of long objects, kept or not.
    long: HashMap<CollectionId, usize>,
}

struct Entry {
    object: Object,
    /// Whether it was used since it was last considered for removal.
    used: bool,
}

struct Running {
    number: u64,
    version: ObjectVersion,
    read: watch::Receiver<Option<Object>>,
}

/// Which request reads an object.
pub enum Turn {
    First(Flight),
    /// Another request is reading the same version. Receives its object, if that can be shared.
    Behind(watch::Receiver<Option<Object>>),
}

/// A read that others may wait for. If it is dropped, they read for themselves.
pub struct Flight {
    objects: Arc<Objects>,
    collection: CollectionId,
    number: u64,
    read: watch::Sender<Option<Object>>,
}

impl Flight {
    /// Hands the object to the waiting requests.
    pub fn land(self, object: Object) {
        self.read.send_replace(Some(object));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut reads = self.objects.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if reads.get(&self.collection).is_some_and(|running| running.number == self.number) {
            reads.remove(&self.collection);
        }
    }
}

impl Objects {
    /// An empty cache of at most this many bytes.
    pub fn new(limit: usize) -> Arc<Objects> {
        Arc::new(Objects {
            limit,
            kept: Mutex::default(),
            reads: Mutex::default(),
            numbers: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            pages: Arc::new(Semaphore::new(PAGES)),
            slow: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// Returns the kept objects of these versions, in the same order, up to the one that brings them to `most` bytes.
    /// `generations` are those of the instances now.
    pub fn find(
        &self,
        wanted: impl IntoIterator<Item = (CollectionId, ObjectVersion)>,
        generations: &[Generation],
        most: usize,
    ) -> Vec<Option<Object>> {
        let mut kept = self.kept();
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (id, version) in wanted {
            let object = kept.find(id, version, generations);
            bytes += object.as_ref().map_or(0, |object| object.body.len());
            found.push(object);
            if bytes >= most {
                break;
            }
        }
        drop(kept);
        let hits = found.iter().flatten().count();
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.misses.fetch_add((found.len() - hits) as u64, Ordering::Relaxed);
        found
    }

    /// Keeps the object, unless it is too large.
    pub fn keep(&self, collection: CollectionId, object: Object) {
        self.kept().insert(collection, object, self.limit);
    }

    /// Records the size of an object that was read.
    pub fn seen(&self, collection: CollectionId, bytes: usize) {
        let mut kept = self.kept();
        if bytes < LONG {
            kept.long.remove(&collection);
        } else {
            if kept.long.len() >= LONG_KNOWN && !kept.long.contains_key(&collection) {
                // Drop any one: it may have been deleted long ago, and otherwise its next read records it again.
                let one = kept.long.keys().next().copied();
                one.and_then(|one| kept.long.remove(&one));
            }
            kept.long.insert(collection, bytes);
        }
    }

    /// Returns whether the collection's object was long when it was last read.
    pub fn is_long(&self, collection: CollectionId) -> bool {
        self.long(collection).is_some()
    }

    /// Returns the size of the collection's object, if it was long when it was last read.
    pub fn long(&self, collection: CollectionId) -> Option<usize> {
        self.kept().long.get(&collection).copied()
    }

    /// Decides which request reads this version of the object.
    pub fn take(self: &Arc<Self>, collection: CollectionId, version: ObjectVersion) -> Turn {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = reads.get(&collection).filter(|running| running.version == version) {
            return Turn::Behind(running.read.clone());
        }
        let (sender, read) = watch::channel(None);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        reads.insert(collection, Running { number, version, read });
        Turn::First(Flight { objects: Arc::clone(self), collection, number, read: sender })
    }

    /// Returns how much of [`Objects::room`] a read of this object takes. Both the instance's answer and the client's
    /// are in memory.
    pub fn weight(&self, collection: CollectionId) -> u32 {
        let kept = self.kept();
        match kept.long.get(&collection) {
            Some(bytes) => u32::try_from(bytes.saturating_mul(2) >> 20).unwrap_or(ROOM).saturating_add(1).min(ROOM),
            // An earlier version is kept, so the object was short when it was last read.
            None if kept.objects.contains_key(&collection) => 1,
            None => UNKNOWN,
        }
    }

    /// Waits for room to read something, at most this long. The limit keeps reads from filling the memory and from
    /// overloading the servers.
    pub async fn room(&self, weight: u32, patience: Duration) -> Option<OwnedSemaphorePermit> {
        timeout(patience, Arc::clone(&self.room).acquire_many_owned(weight)).await.ok()?.ok()
    }

    /// As [`Objects::room`], but without a wait.
    pub fn try_room(&self, weight: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_many_owned(weight).ok()
    }

    /// The permits to read pages of an instance's list.
    pub fn pages(&self) -> Arc<Semaphore> {
        Arc::clone(&self.pages)
    }

    /// Notes that the instance was slow to show something. Others are preferred for a while.
    pub fn note_slow(&self, instance: InstanceId, now: Instant) {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner).insert(instance, now);
    }

    /// Returns whether the instance was slow a moment ago.
    pub fn is_slow(&self, instance: InstanceId, now: Instant) -> bool {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.get(&instance).is_some_and(|then| now.saturating_duration_since(*then) < SPARED)
    }

    /// Bytes of the kept objects.
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }

    /// The most bytes of kept objects.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How often a wanted object was kept, and how often it was not.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, id: CollectionId, version: ObjectVersion, generations: &[Generation]) -> Option<Object> {
        let entry = self.objects.get_mut(&id)?;
        let (source, generation) = entry.object.source;
        if entry.object.version != version || generations.get(source.0) != Some(&generation) {
            return None;
        }
        entry.used = true;
        Some(entry.object.clone())
    }

    fn insert(&mut self, id: CollectionId, object: Object, limit: usize) {
        let size = cost(&object);
        if size > limit / PART {
            // The kept object is of an earlier version.
            if self.objects.contains_key(&id) {
                self.remove(id);
                self.queue.retain(|queued| *queued != id);
            }
            return;
        }
        self.bytes += size;
        match self.objects.insert(id, Entry { object, used: false }) {
            Some(replaced) => self.bytes -= cost(&replaced.object),
            None => self.queue.push_back(id),
        }
        while self.bytes > limit {
            // The queue is not empty as long as any bytes are counted.
            let Some(oldest) = self.queue.pop_front() else { return };
            match self.objects.get_mut(&oldest) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.queue.push_back(oldest);
                }
                Some(_) | None => self.remove(oldest),
            }
        }
    }

    fn remove(&mut self, id: CollectionId) {
        if let Some(removed) = self.objects.remove(&id) {
            self.bytes -= cost(&removed.object);
        }
    }
}

fn cost(object: &Object) -> usize {
    object.body.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::{InstanceName, LaneId, Scope, Seq};
    use crate::order::{
        AckPolicy, Board, Catalog, CatalogChange, Dimension, Input, Intent, Kind, LaneState, MergeLimits, Origin,
        Profile, RestoredLane, RestoredProgress, Submission,
    };

    const NOW: [Generation; 1] = [Generation(1)];

    fn id(number: u128) -> CollectionId {
        CollectionId::new(Uuid::from_u128(number))
    }

    /// Two versions of one collection's object: before and after a write.
    fn versions() -> [ObjectVersion; 2] {
        let names = vec![InstanceName::new("one")];
        let mut catalog = Catalog::new(names.clone());
        let (scope, name, created) = (Scope::new("t", "d"), "docs".to_owned(), Seq::new(1));
        let change =
            CatalogChange::CollectionCreated { collection: id(1), scope, name, created, origin: Origin::Created };
        catalog.fold(created, &change);
        let lane = LaneId::Records(id(1));
        let restored = |id: LaneId| RestoredLane {
            id,
            dimension: Dimension::Known,
            floor: Seq::ZERO,
            quarantined: Vec::new(),
            entries: Vec::new(),
            replicas: vec![RestoredProgress { durable: created, state: LaneState::InStep }],
        };
        let limits = MergeLimits { documents: 1, bytes: 1 };
        let lanes = vec![restored(LaneId::Catalog), restored(lane)];
        let (mut board, _) = Board::restore(names, limits, catalog, lanes, created);
        let before = board.object_version(id(1)).unwrap();
        let profile = Profile::of(Kind::Add, 1);
        let submission =
            Submission { seq: Seq::new(2), lane, profile, intent: Intent::Plain, ack_policy: AckPolicy::Durable };
        board.step(Input::Journaled(vec![submission]));
        [before, board.object_version(id(1)).unwrap()]
    }

    fn object(version: ObjectVersion, bytes: usize) -> Object {
        Object { body: vec![b'x'; bytes].into(), source: (InstanceId(0), Generation(1)), version }
    }

    fn has(objects: &Objects, number: u128, version: ObjectVersion) -> bool {
        objects.find([(id(number), version)], &NOW, usize::MAX)[0].is_some()
    }

    #[test]
    fn an_object_is_found_as_long_as_its_version_and_its_source_are_the_same() {
        let [before, after] = versions();
        let objects = Objects::new(1 << 20);
        objects.keep(id(1), object(before, 10));
        assert!(has(&objects, 1, before));
        assert!(!has(&objects, 1, after));
        assert!(!has(&objects, 2, before));
        assert!(objects.find([(id(1), before)], &[Generation(2)], 1)[0].is_none(), "its server has been away");
        objects.keep(id(1), object(after, 20));
        assert!(has(&objects, 1, after) && !has(&objects, 1, before));
        assert_eq!(objects.bytes(), 20 + OVERHEAD);
        assert_eq!(objects.hits_and_misses(), (2, 4));
    }

    #[test]
    fn what_is_kept_has_a_limit_and_what_is_used_stays() {
        let [version, _] = versions();
        let objects = Objects::new(10 * (OVERHEAD + 100));
        for number in 0..10 {
            objects.keep(id(number), object(version, 100));
        }
        assert!((0..10).all(|number| has(&objects, number, version)));
        for number in 10..15 {
            assert!(has(&objects, 3, version));
            objects.keep(id(number), object(version, 100));
        }
        assert!(objects.bytes() <= objects.limit());
        assert!(has(&objects, 3, version) && has(&objects, 14, version));
        assert_eq!((0..15).filter(|number| has(&objects, *number, version)).count(), 10);
        objects.keep(id(20), object(version, objects.limit() / 2));
        assert!(!has(&objects, 20, version), "one object does not drive out all others");
        assert_eq!(Objects::new(0).bytes(), 0);
    }

    #[test]
    fn no_more_is_taken_than_has_a_use() {
        let [version, _] = versions();
        let objects = Objects::new(1 << 20);
        (0..10).for_each(|number| objects.keep(id(number), object(version, 100)));
        let taken = |most| objects.find((0..10).map(|number| (id(number), version)), &NOW, most).len();
        assert_eq!((taken(0), taken(250), taken(300), taken(5000)), (1, 3, 3, 10));
    }

    #[tokio::test]
    async fn reads_of_one_version_are_made_once() {
        let [before, after] = versions();
        let objects = Objects::new(1 << 20);
        let Turn::First(first) = objects.take(id(1), before) else { panic!("nobody reads it") };
        let Turn::Behind(mut behind) = objects.take(id(1), before) else { panic!("it is being read") };
        let Turn::First(newer) = objects.take(id(1), after) else { panic!("another version") };
        first.land(object(before, 10));
        assert!(behind.wait_for(Option::is_some).await.unwrap().is_some());
        let Turn::Behind(mut behind) = objects.take(id(1), after) else { panic!("the newer one is being read still") };
        drop(newer);
        assert!(behind.wait_for(Option::is_some).await.is_err(), "it came to nothing");
        assert!(matches!(objects.take(id(1), after), Turn::First(_)));
    }

    #[test]
    fn an_instance_that_was_slow_is_spared_for_a_while() {
        let (objects, now) = (Objects::new(0), crate::clock::now());
        assert!(!objects.is_slow(InstanceId(0), now));
        objects.note_slow(InstanceId(0), now);
        assert!(objects.is_slow(InstanceId(0), now) && !objects.is_slow(InstanceId(1), now));
        assert!(!objects.is_slow(InstanceId(0), now + SPARED));
    }

    #[test]
    fn what_is_long_is_read_with_few_others() {
        let objects = Objects::new(0);
        assert_eq!((objects.is_long(id(1)), objects.weight(id(1))), (false, UNKNOWN));
        objects.seen(id(1), 5 << 20);
        assert_eq!((objects.is_long(id(1)), objects.weight(id(1))), (true, 11));
        objects.seen(id(1), usize::MAX);
        assert_eq!(objects.weight(id(1)), ROOM);
        objects.seen(id(1), 100);
        assert!(!objects.is_long(id(1)));
    }

    #[test]
    fn what_has_become_long_is_taken_for_what_it_is_now() {
        let [before, after] = versions();
        let objects = Objects::new(4 << 20);
        objects.keep(id(1), object(before, 100));
        objects.seen(id(1), 100);
        assert_eq!(objects.weight(id(1)), 1);
        objects.seen(id(1), 5 << 20);
        assert_eq!(objects.weight(id(1)), 11);
        objects.keep(id(1), object(after, 5 << 20));
        assert_eq!((objects.bytes(), objects.kept().queue.len()), (0, 0), "its earlier version is of no use");
        (0..=LONG_KNOWN as u128).for_each(|number| objects.seen(id(number), LONG));
        assert!(objects.is_long(id(LONG_KNOWN as u128)), "the last one is always known");
        assert_eq!(objects.kept().long.len(), LONG_KNOWN);
    }
}
