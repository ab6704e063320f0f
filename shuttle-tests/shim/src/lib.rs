//! The part of loom's interface that unwedge's models use, over shuttle.
//!
//! shuttle tries random schedules, of any number of threads; loom every one, of five at most. What differs beside that: shuttle's atomics are sequentially consistent, so
//! that a weak order is not found here; a [`cell`] is not checked beyond "nobody is inside"; and a run is repeatable by its seed ([`model::plan`]).
//!
//! # Invariant
//! - **One thread of the system.** shuttle runs all threads of an execution in turn on the thread that started it: so what is not `Send` may go from one to the other.

pub use shuttle;

pub mod cell;
pub mod model;
pub mod thread;

/// Tasks.
pub mod future {
    pub use shuttle::future::block_on;
}

/// Locks, condition variables and atomics.
pub mod sync {
    pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};

    /// Atomics; every access is sequentially consistent.
    pub mod atomic {
        pub use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    }
}

/// A value of an execution.
#[macro_export]
macro_rules! lazy_static {
    ($($item:tt)*) => { $crate::shuttle::lazy_static! { $($item)* } };
}

/// A value of a thread.
#[macro_export]
macro_rules! thread_local {
    ($($item:tt)*) => { $crate::shuttle::thread_local! { $($item)* } };
}
