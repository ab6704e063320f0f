//! Threads of a model that belong to no domain: loom's, and the model counts those that have not ended.

use crate::sys::Running;

pub use loom::thread::{JoinHandle, Thread, ThreadId, current, panicking, park, yield_now};

/// Starts a thread outside every domain. A model has five at most, the main one and those that have ended included; it must be joined before the model
/// ends.
///
/// ```
/// # #[cfg(unwedge_loom)]
/// # fn model() {
/// let clock = unwedge::model::thread::spawn(|| unwedge::model::advance(std::time::Duration::from_secs(2)));
/// clock.join().unwrap();
/// # }
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let place = std::panic::Location::caller();
    let running = Running::new(&format!("the thread of {place}"));
    loom::thread::spawn(move || {
        let _running = running;
        f()
    })
}
