//! Writes that kill instances, or that instances fail: which marks are on, and what they caused.
//!
//! The driver turns them on and off, clients send writes that bear them, and links report what they met. A mark is on
//! only once: later, a write that bears it is harmless wherever it still goes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use testkit::checker::history::Tick;

/// What a marked write does to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The instance dies before it executes the write.
    Kills,
    /// The instance answers with an unexplained failure.
    Fails,
}

/// One mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub effect: Effect,
    pub number: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Kills => "kills",
            Effect::Fails => "fails",
        };
        // Ends with a character that is in no number, so that no mark is a prefix of another.
        write!(f, "={effect}-{}!", self.number)
    }
}

/// A marked write that reached an instance.
#[derive(Clone, Debug)]
pub struct Met {
    pub mark: Mark,
    pub token: String,
    pub instance: usize,
    pub at: Tick,
}

/// What the driver, the clients and the links share.
#[derive(Debug, Default)]
pub struct Marks {
    on: Mutex<Vec<Mark>>,
    given: AtomicU64,
    met: Mutex<Vec<Met>>,
    drawn: AtomicU64,
    /// A collection that no client drops.
    spared: Mutex<Option<String>>,
}

impl Marks {
    fn met(&self) -> MutexGuard<'_, Vec<Met>> {
        self.met.lock().expect("no thread panics here")
    }

    fn on(&self) -> MutexGuard<'_, Vec<Mark>> {
        self.on.lock().expect("no thread panics here")
    }

    /// Keeps clients from dropping the collection with this name, and no other.
    pub fn spare(&self, name: Option<String>) {
        *self.spared.lock().expect("no thread panics here") = name;
    }

    pub fn is_spared(&self, name: &str) -> bool {
        self.spared.lock().expect("no thread panics here").as_deref() == Some(name)
    }

    /// Returns a mark that has never been on.
    pub fn fresh(&self, effect: Effect) -> Mark {
        Mark { effect, number: 1 + self.given.fetch_add(1, Ordering::Relaxed) }
    }

    /// Makes clients send writes that bear this mark.
    pub fn turn_on(&self, mark: Mark) {
        self.on().push(mark);
    }

    pub fn turn_off(&self, mark: Mark) {
        self.on().retain(|one| *one != mark);
    }

    pub fn now_on(&self) -> Vec<Mark> {
        self.on().clone()
    }

    pub fn note(&self, met: Met) {
        self.met().push(met);
    }

    /// Returns what has met this mark so far.
    pub fn of(&self, mark: Mark) -> Vec<Met> {
        self.met().iter().filter(|met| met.mark == mark).cloned().collect()
    }

    /// Returns every death so far.
    pub fn deaths(&self) -> Vec<Met> {
        self.met().iter().filter(|met| met.mark.effect == Effect::Kills).cloned().collect()
    }

    /// Returns how much larger the next marked write is than the first: a success vouches for writes that are no
    /// larger.
    pub fn growth(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }
}
