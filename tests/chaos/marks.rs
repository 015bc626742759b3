//! Writes of which instances die, or that they fail: which marks are on, and what came of them.
//!
//! The driver turns them on and off, clients send what bears them, and links tell what they met. A mark is on once: what was
//! written with it before is harmless later, wherever it still goes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use testkit::checker::history::Tick;

/// What a marked write does to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It dies before it executes the write.
    Kills,
    /// It answers that it failed, and does not say why.
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
        // Ends with what is in no number: one mark is no other's beginning.
        write!(f, "={effect}-{}!", self.number)
    }
}

/// A marked write reached an instance.
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

    /// From now on clients do not drop what is called so, but everything else.
    pub fn spare(&self, name: Option<String>) {
        *self.spared.lock().expect("no thread panics here") = name;
    }

    pub fn is_spared(&self, name: &str) -> bool {
        self.spared.lock().expect("no thread panics here").as_deref() == Some(name)
    }

    /// A mark that has never been on.
    pub fn fresh(&self, effect: Effect) -> Mark {
        Mark { effect, number: 1 + self.given.fetch_add(1, Ordering::Relaxed) }
    }

    /// From now on clients send what bears it.
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

    /// What has met this mark so far.
    pub fn of(&self, mark: Mark) -> Vec<Met> {
        self.met().iter().filter(|met| met.mark == mark).cloned().collect()
    }

    /// Every death so far.
    pub fn deaths(&self) -> Vec<Met> {
        self.met().iter().filter(|met| met.mark.effect == Effect::Kills).cloned().collect()
    }

    /// How much larger the next marked write is than the first: what has succeeded vouches for what is no larger.
    pub fn growth(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }
}
