//! What ships, but with a mutex and a condition variable of which ThreadSanitizer sees every step (`ci/tsan.sh`): std's slow paths are not
//! instrumented, and what they order would be reported.

use std::time::Instant;

pub(crate) use parking_lot::MutexGuard;

use super::{AcqRel, AtomicU32};

/// As the one in `real`.
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }
}

/// As the one in `real`.
#[derive(Default)]
pub(crate) struct Signal(parking_lot::Condvar);

impl Signal {
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    pub(crate) fn wait_until<'a, T>(&self, mut guard: MutexGuard<'a, T>, deadline: Instant) -> MutexGuard<'a, T> {
        self.0.wait_until(&mut guard, deadline);
        guard
    }
}

/// ThreadSanitizer does not know fences: two read-modify-writes of one word order the same.
static BARRIER: AtomicU32 = AtomicU32::new(0);

/// As the one in `fence`.
pub(crate) fn light() {
    // Ordering: AcqRel, partner of itself.
    BARRIER.fetch_add(1, AcqRel);
}

/// As the one in `fence`.
pub(crate) fn bare() {}

/// It is not: it would order what does not belong together.
pub(crate) fn is_free() -> bool {
    false
}

/// Never needed.
pub(crate) fn heavy_for_bare() {}

/// As the one in `fence`.
pub(crate) fn heavy() {
    light();
}
