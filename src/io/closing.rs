//! What is closed with an [`Io`]: client libraries whose operations it counts as external.
//!
//! # Invariants
//!
//! - **Bounded**: a hook is foreign code that may block, so it runs on a thread of its own, and its shutdown waits for it until the deadline and no
//!   longer. A thread that is not through by then is counted as left.
//! - **Once**: a hook is run once, by the shutdown that finds it; one that comes later goes back to who brought it. Those that no shutdown finds are dropped by a
//!   thread of their own: the last who has to do with them may be a shutdown, of which this is a phase's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Io, backend::guarded};
use crate::{
    stop::drop_apart,
    sys::{Mutex, Signal, now, spawn_service},
};

/// How long hooks have if what they wait for has used up the time: enough to say what they leave.
pub(super) const WAY_OUT: Duration = Duration::from_millis(10);

type Hook = Box<dyn FnOnce(usize) -> usize + Send>;

/// The hooks of an [`Io`].
pub(super) struct Closers {
    /// `None` once they were taken to be run.
    hooks: Mutex<Option<Vec<Hook>>>,
    progress: Arc<Progress>,
}

/// How the hooks are getting on.
#[derive(Default)]
struct Counts {
    running: usize,
    /// How many threads those that are through have left.
    left: usize,
    /// Who waits for them has no more time.
    hurried: bool,
}

struct Progress {
    counts: Mutex<Counts>,
    /// A hook is through, or there is a hurry.
    news: Signal,
}

/// Says that a hook is through, also if it panics.
struct Through(Arc<Progress>, usize);

impl Drop for Through {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock();
        counts.running -= 1;
        counts.left += self.1;
        drop(counts);
        self.0.news.notify_all();
    }
}

impl Closers {
    pub(super) fn new() -> Closers {
        let progress = Progress { counts: Mutex::new(Counts::default()), news: Signal::default() };
        Closers { hooks: Mutex::new(Some(Vec::new())), progress: Arc::new(progress) }
    }

    /// Runs the hooks until the deadline; how many threads are left. `outstanding` external operations have not ended.
    pub(super) fn close(&self, outstanding: usize, deadline: Instant) -> usize {
        let hooks = self.hooks.lock().take().unwrap_or_default();
        let progress = &self.progress;
        for hook in hooks {
            progress.counts.lock().running += 1;
            // One that panics, or for which no thread can be made, leaves what it was to close.
            let through = Through(Arc::clone(progress), 1);
            drop(spawn_service("uw-close", move || {
                // All of it, and not the number alone.
                let mut through = through;
                guarded(|| through.1 = hook(outstanding));
            }));
        }
        let mut deadline = deadline.max(now() + WAY_OUT);
        let mut counts = progress.counts.lock();
        let mut hurried = false;
        while counts.running > 0 && now() < deadline {
            if counts.hurried && !hurried {
                hurried = true;
                deadline = deadline.min(now() + WAY_OUT);
            }
            counts = progress.news.wait_until(counts, deadline);
        }
        counts.running + counts.left
    }

    /// The deadline of a [`close`](Self::close) that runs, or is about to, is now.
    pub(super) fn hurry(&self) {
        self.progress.counts.lock().hurried = true;
        self.progress.news.notify_all();
    }

    /// Whether that was said.
    pub(super) fn is_hurried(&self) -> bool {
        self.progress.counts.lock().hurried
    }
}

impl Drop for Closers {
    fn drop(&mut self) {
        // (In the child of a fork a thread that is not there may have the lock.)
        let hooks = self.hooks.try_lock().and_then(|mut hooks| hooks.take()).unwrap_or_default();
        if !hooks.is_empty() {
            drop_apart(hooks);
        }
    }
}

/// Client libraries.
impl Io {
    /// Has a client library closed with this service, at the end of a shutdown: after the phases, and after the [external](Io::external) operations
    /// have ended or were given up at the deadline.
    ///
    /// The hook is told how many of them have not ended: their memory is the library's still. It gives back how many threads it leaves, which the
    /// report counts. It runs on a thread of its own, and one that is not through at the deadline is left, and counted too. If the domain is never shut
    /// down, it does not run, and is dropped by a thread of its own.
    ///
    /// ```
    /// use std::time::Duration;
    /// use unwedge::{Plan, Stop, io::Io};
    ///
    /// let stop = Stop::new("mds.a");
    /// let io = Io::new(&stop)?;
    /// let closed = io.on_close(|outstanding| {
    ///     if outstanding > 0 { 1 } else { /* close the library: it has nothing to do any more */ 0 }
    /// });
    /// assert!(closed.is_ok(), "the service is open");
    /// assert!(stop.shutdown(Plan::within(Duration::from_secs(10))).is_clean());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The service was closed before: the hook comes back.
    pub fn on_close<F>(&self, hook: F) -> Result<(), F>
    where
        F: FnOnce(usize) -> usize + Send + 'static,
    {
        match &mut *self.backends.closers.hooks.lock() {
            Some(hooks) => {
                hooks.push(Box::new(hook));
                Ok(())
            }
            None => Err(hook),
        }
    }
}
