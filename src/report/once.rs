//! What is made when it is asked for first: of a snapshot, which nobody changes, so that it does not matter by whom.

use std::sync::OnceLock;

/// A value that is made once.
#[derive(Debug, Clone)]
pub(super) struct Once<T>(OnceLock<T>);

impl<T> Once<T> {
    pub(super) const fn new() -> Self {
        Once(OnceLock::new())
    }

    pub(super) fn get(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(make)
    }
}
