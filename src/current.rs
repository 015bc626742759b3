//! A value that a reload of the configuration may replace while rooms use it.
//!
//! It decides nothing. A reader takes the current value, and keeps it for as long as it needs one that does not change.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A configuration value, shared by its readers and the reload that replaces it.
#[derive(Debug)]
pub struct Current<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Current(Arc::clone(&self.0))
    }
}

impl<T> Current<T> {
    /// Holds this value until another one replaces it.
    pub fn new(value: T) -> Current<T> {
        Current(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// Returns the current value.
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value. Later calls to [`Current::get`] return the new one.
    pub fn set(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}
