//! What a backend is, and the pair of them that an [`Io`](super::Io) uses. The ring and the pool know this file, and not each other.
//!
//! Who keeps what alive: `Io`, files and operations in flight hold [`Backends`]; a backend's threads hold only the backend's own state.
//! So when the last of the former is gone nothing is in flight but closes, and the threads can be told to end. The service that
//! a stop domain closes holds the backends themselves, and keeps no thread alive.

use std::{
    io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use super::{closer, op::Op, pool::Pool};
use crate::{
    stop::{Leaked, StartHook},
    sys::{JoinHandle, spawn_service},
};

/// Runs operations. None of these may block, but for [`Backend::close`].
pub(super) trait Backend: Send + Sync {
    /// `"uring"` or `"pool"`.
    fn name(&self) -> &'static str;

    /// Takes an operation; gives it back if the backend was closed.
    fn submit(&self, op: Op) -> Result<(), Op>;

    /// Nobody will submit again: what was submitted is done, then the threads end. Does not wait for that.
    fn retire(&self);

    /// Refuses what comes, ends what the kernel was not given, cancels what can be cancelled, and waits for the rest until `deadline`. What
    /// the kernel has even then stays with it, memory and all, and is counted.
    fn close(&self, deadline: Instant) -> Leaked;
}

/// The backend for reads, writes and opens, and the pool for jobs: the same one where there is no ring.
pub(super) struct Backends {
    pub(super) transfers: Arc<dyn Backend>,
    pub(super) pool: Arc<Pool>,
}

impl Backends {
    /// Closes a descriptor, never on this thread.
    pub(super) fn close(&self, fd: OwnedFd) {
        if let Err(op) = self.transfers.submit(Op::Close(fd)) {
            if let Some(fd) = op.refuse() {
                closer::close(fd);
            }
        }
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.transfers.retire();
        self.pool.retire();
    }
}

/// Starts a thread of a backend, which runs the user's hook first.
pub(super) fn start_thread(
    name: &str,
    hook: Option<StartHook>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let own_name = name.to_owned();
    spawn_service(name, move || {
        guarded(|| {
            if let Some(hook) = &hook {
                hook(&own_name);
            }
        });
        body();
    })
}

/// Runs code of the user's (a job, a method of a buffer, a waker, a destructor) so that its panic ends what it was for and not the thread. The
/// panic was reported by the process's hook, and the waiter is told by the drop of the completer.
pub(super) fn guarded(run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        // What was thrown may have a destructor that panics, too.
        drop(catch_unwind(AssertUnwindSafe(|| drop(panic))));
    }
}
