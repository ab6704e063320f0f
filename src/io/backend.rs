//! What a backend is, and the pair of them that an [`Io`](super::Io) uses. The ring and the pool know this file, and not each other.
//!
//! Who keeps what alive: `Io`, files and operations in flight hold [`Backends`]; a backend's threads hold only the backend's own state.
//! So when the last of the former is gone nothing is in flight but closes, and the threads can be told to end. The service that
//! a stop domain closes holds the backends themselves, and keeps no thread alive.

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use super::{
    closer, closing::Closers, deadline::Deadlines, external::Outstanding, fork::Birth, meter::Meter, op::Op, pool::Pool,
};
use crate::{
    stop::{Leaked, StartHook},
    sys::{JoinHandle, PlainU8, spawn_service},
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

    /// The deadline of a [`close`](Self::close) that runs, or is about to, is now.
    fn hurry(&self);
}

/// The backend for reads, writes and opens, the pool for jobs (the same one where there is no ring), and what belongs to both.
pub(super) struct Backends {
    pub(super) transfers: Arc<dyn Backend>,
    pub(super) pool: Arc<Pool>,
    pub(super) meter: Arc<Meter>,
    /// `None` where operations have no deadline.
    pub(super) deadlines: Option<Arc<Deadlines>>,
    pub(super) outstanding: Arc<Outstanding>,
    pub(super) closers: Arc<Closers>,
    /// Why there is no ring, where one was wanted.
    pub(super) fallback: Option<Arc<str>>,
    /// The process whose threads serve it.
    pub(super) birth: Birth,
    /// Not 0 once the service was closed. Set when it is; who does not see it yet is refused by the backend, or looks at a few more paths for nobody: so
    /// relaxed.
    pub(super) closed: Arc<PlainU8>,
}

impl Backends {
    /// Closes a descriptor of this device (0: not known), never on this thread.
    pub(super) fn close(&self, fd: OwnedFd, device: u64) {
        if !self.birth.is_here() {
            // After a fork there is no thread for it, and locks may be held by nobody. The process's end closes it.
            let _open = ManuallyDrop::new(fd);
            return;
        }
        if let Err(op) = self.transfers.submit(Op::Close(fd, device)) {
            if let Some(fd) = op.refuse() {
                closer::close(fd);
            }
        }
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        if !self.birth.is_here() {
            return;
        }
        self.transfers.retire();
        self.pool.retire();
        if let Some(deadlines) = &self.deadlines {
            deadlines.retire();
        }
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
