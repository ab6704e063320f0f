//! The few things outside `unwedge` that a life is made of. The loom models compile the life with a module of this name of their own.

pub use parking_lot::Mutex;
pub use std::sync::Arc;
pub use std::time::Instant;

/// The time.
pub fn now() -> Instant {
    Instant::now()
}
