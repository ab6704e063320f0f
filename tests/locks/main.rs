//! Every lock that ships with an adapter, and locks of a user's own: against what the traits in `unwedge::lock` ask for, in a monitor, and
//! under a condition variable.
//!
//! Nothing here waits for time to pass but where a timeout or a long hold is what is tested; `GUARD` only turns a hang into a failure.

#[path = "../common/mod.rs"]
mod common;

mod adapters;
mod condvar;
mod deadline;
mod fairness;
mod kinds;
mod monitor;
mod peers;
mod poison;
mod relock;
#[cfg(feature = "tokio")]
mod tasks;

use std::{sync::mpsc, thread, time::Duration};

/// Long enough that only a hang comes to it.
const GUARD: Duration = Duration::from_secs(30);

/// Runs a test on a thread of its own and fails if it hangs.
fn guarded(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel::<()>();
    let test = thread::spawn(move || {
        let _done = done; // dropped at the end, also by a panic
        test();
    });
    // Twice the guard: a test's own guards, which say more, come first.
    if let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(2 * GUARD) {
        panic!("a hang");
    }
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}
