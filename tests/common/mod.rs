//! What the tests of the core share: a guard against a hang.

use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Long enough that only a hang comes to it.
pub(crate) const GUARD: Duration = Duration::from_secs(30);

/// Runs a test on a thread of its own, so that a hang is a failure.
#[track_caller]
pub(crate) fn guarded(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let runner = thread::spawn(move || {
        test();
        done.send(()).ok();
    });
    match finished.recv_timeout(GUARD) {
        Err(RecvTimeoutError::Timeout) => panic!("a hang: not done after {GUARD:?}"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = runner.join() {
                resume_unwind(panic);
            }
        }
    }
}
