//! Taking the time away from a shutdown: what an operator's second signal means.
//!
//! A domain has a second flag, a cell of the registry as the first. The waits of a shutdown have that cell for their domain, so that a hurry ends them as a
//! stop ends the waits of members.
//!
//! # Invariants
//! - **Sticky.** A hurry that comes before the shutdown counts for it as well; a second one changes nothing.
//! - **Born hurried.** As with the stop: a child is entered under the lock under which its parent is marked.

use std::sync::Weak;

use crate::registry::domain::DomainRef;
use crate::wait::waiter;

use super::{Inner, Stop};

impl Stop {
    /// Requests the stop, if nobody has, and takes all time away from the shutdowns of this domain and its descendants, those that run and those to come: as
    /// if their plans had no time left. Whether this was the first hurry.
    ///
    /// Members are no longer waited for, a phase that runs is stopped, one that has not begun is [skipped](crate::report::Outcome::Skipped), I/O is not
    /// drained. What is then on its way out is given a tenth of a second for that. Any number of hurries do the same as one.
    ///
    /// [`request`](Self::request) never hurries, however often it is called: many parts of a daemon may request a stop and mean no more. A hurry is for who
    /// knows that somebody wants it, as the thread that waits for signals:
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// use unwedge::{Plan, Stop, report::Outcome};
    ///
    /// let stop = Stop::new("mds.a");
    /// # let (release, deaf) = mpsc::channel::<()>();
    /// # stop.spawn("deaf", move || deaf.recv().is_err())?;
    /// let signals = stop.clone();
    /// std::thread::spawn(move || {
    ///     signals.request("SIGTERM");
    ///     signals.hurry("a second SIGTERM");
    /// });
    /// let plan = Plan::within(Duration::from_secs(60)).phase("save", Duration::from_secs(30), |_| Ok(()));
    /// while !stop.is_hurried() { std::thread::yield_now(); }
    /// let report = stop.shutdown(plan);
    /// assert_eq!(report.phases()[0].outcome, Outcome::Skipped);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// It may be called from anywhere, as [`request`](Self::request).
    pub fn hurry(&self, reason: &str) -> bool {
        self.request(reason);
        let first = self.inner.mark_hurried();
        // A later one does it too: it must not depend on how far the first one has come.
        waiter::stop_all();
        for stop in self.family() {
            stop.inner.clearing.hurry();
        }
        first
    }

    /// Whether the stop was hurried.
    #[must_use]
    pub fn is_hurried(&self) -> bool {
        self.inner.hurry.lock().is_some_and(DomainRef::is_over)
    }
}

impl Inner {
    /// The cell that a shutdown's waits have for their domain.
    pub(super) fn hurry_flag(&self) -> DomainRef {
        *self.hurry.lock().get_or_insert_with(|| DomainRef::claim("a hurried stop"))
    }

    /// Sets the flag here and below. Whether it was not set here before.
    pub(super) fn mark_hurried(&self) -> bool {
        let (first, below) = {
            let children = self.children.lock();
            let flag = self.hurry_flag();
            let first = !flag.is_over();
            if first {
                flag.mark();
            }
            (first, children.iter().filter_map(Weak::upgrade).collect::<Vec<_>>())
        };
        for child in below {
            child.mark_hurried();
        }
        first
    }
}
