//! A value that a reload of the configuration may replace while rooms use it.
//!
//! It decides nothing. A reader takes the value of the moment, and keeps it for as long as it needs one that does not change.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value of the configuration, shared by whoever reads it and whoever replaces it.
#[derive(Debug)]
pub struct Current<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Current(Arc::clone(&self.0))
    }
}

impl<T> Current<T> {
    /// This value, until another one takes its place.
    pub fn new(value: T) -> Current<T> {
        Current(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value of this moment.
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Whoever asks from now on gets this value.
    pub fn set(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}
