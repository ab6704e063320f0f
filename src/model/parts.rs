//! Parts of the library that have models of their own, because what is modelled of the rest has loom's in their place. Not for users.

use std::fmt;

use std::sync::Arc;
use std::time::Instant;

use crate::stop::{Leaked, Service, Stop};
use crate::sys::light_mutex;

/// The mutex of the library's own short critical sections, as it ships.
pub struct LightMutex<T>(light_mutex::LightMutex<T>);

impl<T> LightMutex<T> {
    /// Unlocked.
    #[must_use]
    pub fn new(value: T) -> Self {
        LightMutex(light_mutex::LightMutex::new(value))
    }

    /// Runs the closure with the lock held.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock())
    }
}

impl<T> fmt::Debug for LightMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LightMutex").finish_non_exhaustive()
    }
}

/// What a shutdown of the domain closes last, as its I/O, which is not modelled.
pub fn closed_by_shutdown(stop: &Stop, close: impl Fn() + Send + Sync + 'static) {
    struct Closes<F>(F);
    impl<F: Fn() + Send + Sync> Service for Closes<F> {
        fn close(&self, _deadline: Instant) -> Leaked {
            (self.0)();
            Leaked::default()
        }

        fn hurry(&self) {}
    }
    stop.register_service(Arc::new(Closes(close)));
}
