//! The condition variable: through a monitor, or over a lock that unwedge does not own.

use std::fmt;
use std::panic::Location;
use std::time::Instant;

use crate::error::{Stopped, Timed};
use crate::lock::ForeignLock;
use crate::registry::domain::DomainRef;
use crate::stop::Stop;
use crate::sys::{AcqRel, Acquire, AtomicU32};

use super::condition::{Condition, conditions};
use super::ticket::{Note, Ticket};
use super::waiter::{Kind, NOTIFIED, STOPPED, WAITING, What};

/// A condition variable for threads and tasks, in one FIFO queue, over any lock.
///
/// Through a [`Monitor`](crate::Monitor) its waits are [`MonitorGuard::wait`](crate::MonitorGuard::wait) and its kin; over a lock that others
/// also take directly, they are [`wait`](Self::wait) and [`wait_until`](Self::wait_until). One condition variable may serve several locks.
///
/// A change of what is waited for must be made in exclusive mode, under the lock of those who wait; the notification may come after the
/// unlock. A notification without waiters is one load.
///
/// ```
/// use unwedge::{Condvar, Stop};
/// use std::sync::{Arc, Mutex};
///
/// static CHANGED: Condvar = Condvar::new();
///
/// let stop = Stop::new("mds.a");
/// let ready = Arc::new(Mutex::new(false));
/// let setter = ready.clone();
/// stop.spawn("setter", move || {
///     *setter.lock().unwrap() = true;
///     CHANGED.notify_one();
/// })?;
/// let mut guard = ready.lock().unwrap();
/// while !*guard {
///     guard = CHANGED.wait(&stop, &*ready, guard)?;       // Err(Stopped): without the lock
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Condvar {
    /// Its condition in the registry; 0 until somebody waits.
    index: AtomicU32,
}

impl Condvar {
    /// A condition variable without waiters.
    #[cfg(not(unwedge_loom))]
    #[must_use]
    pub const fn new() -> Self {
        Condvar { index: AtomicU32::new(0) }
    }

    /// A condition variable without waiters. (Not `const` in a model.)
    #[cfg(unwedge_loom)]
    #[must_use]
    pub fn new() -> Self {
        Condvar { index: AtomicU32::new(0) }
    }

    /// Wakes the thread or task that has waited longest. Whether there was one.
    #[inline]
    pub fn notify_one(&self) -> bool {
        self.known().is_some_and(Condition::notify_one)
    }

    /// Wakes everybody who waits now. How many that were.
    #[inline]
    pub fn notify_all(&self) -> usize {
        self.known().map_or(0, Condition::notify_all)
    }

    /// Its condition, if somebody has ever waited.
    #[inline]
    fn known(&self) -> Option<&'static Condition> {
        // Ordering: Acquire, partner of the AcqRel in `condition`.
        match self.index.load(Acquire) {
            0 => None,
            index => Some(conditions().get(index)),
        }
    }

    /// Its condition, made by the first wait.
    pub(super) fn condition(&self) -> &'static Condition {
        let mut index = self.index.load(Acquire);
        if index == 0 {
            let new = conditions().claim();
            index = match self.index.compare_exchange(0, new, AcqRel, Acquire) {
                Ok(_) => new,
                Err(other) => {
                    conditions().release(new);
                    other
                }
            };
        }
        conditions().get(index)
    }

    /// Waits over a lock that others also take directly; the lock is free meanwhile. Blocks the thread.
    ///
    /// `guard` must be a guard of `lock`. (Another lock's guard is let go all the same, and `lock` is the one that is taken afterwards.) As with
    /// every condition variable it may return without a notification.
    ///
    /// How the lock is taken again is the adapter's: see [`ForeignLock`], which says how late a stop may be seen then.
    ///
    /// # Errors
    /// [`Stopped`]: *without* the lock. A notification that had reached this waiter has gone on to the next.
    #[track_caller]
    pub fn wait<'a, L: ForeignLock>(
        &self,
        stop: &Stop,
        lock: &'a L,
        guard: L::Guard<'a>,
    ) -> Result<L::Guard<'a>, Stopped> {
        Ok(self.wait_by(*stop.domain(), lock, guard, None, Location::caller())?.guard)
    }

    /// As [`wait`](Self::wait), until a deadline. A timeout gives the lock back; taking it again is not bound by the deadline.
    ///
    /// # Errors
    /// [`Stopped`]: without the lock.
    #[track_caller]
    pub fn wait_until<'a, L: ForeignLock>(
        &self,
        stop: &Stop,
        lock: &'a L,
        guard: L::Guard<'a>,
        deadline: Instant,
    ) -> Result<Timed<L::Guard<'a>>, Stopped> {
        self.wait_by(*stop.domain(), lock, guard, Some(deadline), Location::caller())
    }

    fn wait_by<'a, L: ForeignLock>(
        &self,
        domain: DomainRef,
        lock: &'a L,
        guard: L::Guard<'a>,
        deadline: Option<Instant>,
        location: &'static Location<'static>,
    ) -> Result<Timed<L::Guard<'a>>, Stopped> {
        let condition = self.condition();
        let note = Note { condition: Some(condition), ..Note::new(What::Condition, domain, location) };
        let ticket = Ticket::begin(Kind::Thread, WAITING, &note);
        if ticket.is_over() {
            return Err(Stopped);
        }
        let mut waiting = Waiting::on(condition, ticket);
        drop(guard);
        waiting.ticket.park_while(|state| state == WAITING, deadline);
        let state = waiting.end();
        if state == STOPPED {
            return Err(Stopped);
        }
        // From here on a notification is this waiter's until the lock is had: `waiting` passes it on if that fails or unwinds.
        let guard = relock(domain, lock).ok_or(Stopped)?;
        waiting.notified = false;
        Ok(Timed { guard, timed_out: state != NOTIFIED })
    }
}

/// Takes a foreign lock again, as its adapter does it, unless a stop comes first.
fn relock<'a, L: ForeignLock>(domain: DomainRef, lock: &'a L) -> Option<L::Guard<'a>> {
    let guard = lock.relock(&|| domain.is_over())?;
    // A plain lock may have come long after the stop: then it is let go again (L2).
    (!domain.is_over()).then_some(guard)
}

/// A wait that is linked to a condition; unlinks itself, and passes on a notification that was not used.
struct Waiting {
    ticket: Ticket,
    condition: &'static Condition,
    notified: bool,
}

impl Waiting {
    fn on(condition: &'static Condition, ticket: Ticket) -> Self {
        condition.push(ticket.waiter());
        Waiting { ticket, condition, notified: false }
    }

    /// Ends the wait and says what came of it.
    fn end(&mut self) -> u64 {
        let state = self.ticket.retire();
        self.condition.remove(self.ticket.waiter());
        self.notified |= state == NOTIFIED;
        state
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
        if self.notified {
            self.condition.notify_one();
        }
    }
}

impl Drop for Condvar {
    fn drop(&mut self) {
        let index = self.index.load(Acquire);
        if index != 0 {
            conditions().get(index).clear();
            conditions().release(index);
        }
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
