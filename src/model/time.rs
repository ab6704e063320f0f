//! The model's clock, and what may happen at any point: deadlines, and wake-ups for no reason.

use std::time::{Duration, Instant};

use crate::sys;
use crate::wait::{trace, waiter};

use super::thread::{self, JoinHandle};

/// Now, on the model's clock, which stands still until somebody moves it.
#[must_use]
pub fn now() -> Instant {
    sys::now()
}

/// Moves the model's clock, and wakes whoever has a deadline.
pub fn advance(by: Duration) {
    sys::advance(by);
    waiter::wake_all();
}

/// Starts a thread that moves the clock: every deadline up to there may come at any point of the model. It is to be joined.
///
/// ```
/// # #[cfg(unwedge_loom)]
/// # fn model() {
/// # use std::time::Duration;
/// # use unwedge::{Condvar, Monitor, Stop, model};
/// # let stop = Stop::new("life");
/// # let (mds, changed) = (Monitor::new("mds_lock", model::Mutex::new(0), &stop), Condvar::new());
/// let deadline = model::now() + Duration::from_secs(1);
/// let clock = model::time_passes(Duration::from_secs(2));
/// let waited = mds.lock().unwrap().wait_until(&changed, deadline).unwrap();
/// assert!(waited.timed_out);
/// drop(waited);
/// clock.join().unwrap();
/// # }
/// ```
#[track_caller]
pub fn time_passes(by: Duration) -> JoinHandle<()> {
    thread::spawn(move || advance(by))
}

/// Wakes everybody for no reason, once: threads that sleep, and whoever waits on a condition variable, as if it had been notified. A wait that is not in a
/// loop over what it waits for shows itself: as with every condition variable, the documentation allows it.
pub fn wake_for_no_reason() {
    trace::notify_all_conditions();
    waiter::wake_all();
}

/// Starts a thread that wakes everybody for no reason, at any point of the model. It is to be joined.
#[track_caller]
pub fn spurious_wakeup() -> JoinHandle<()> {
    thread::spawn(wake_for_no_reason)
}
