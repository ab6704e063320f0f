//! The condition variable: through a monitor, or over a lock that unwedge does not own.

use std::fmt;
use std::panic::Location;
use std::time::Instant;

use crate::error::{Stopped, Timed};
use crate::lock::{AsyncForeignLock, AsyncSharedLock, ForeignLock};
use crate::registry::domain::DomainRef;
use crate::registry::link::FirstLink;
use crate::stop::Stop;

use super::condition::Condition;
use super::ticket::{Note, Ticket};
use super::waiter::{Kind, NOTIFIED, STOPPED, WAITING, What};

/// A condition variable for threads and tasks, in one FIFO queue, over any lock.
///
/// Through a [`Monitor`](crate::Monitor) its waits are [`MonitorGuard::wait`](crate::MonitorGuard::wait) and its kin; over a lock that others
/// also take directly, they are [`wait`](Self::wait), [`wait_until`](Self::wait_until) and, for a task, [`wait_async`](Self::wait_async). One
/// condition variable may serve several locks.
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
    /// Its condition in the registry, from when somebody has waited.
    condition: FirstLink<Condition>,
}

impl Condvar {
    /// A condition variable without waiters.
    #[cfg(not(unwedge_loom))]
    #[must_use]
    pub const fn new() -> Self {
        Condvar { condition: FirstLink::new() }
    }

    /// A condition variable without waiters. (Not `const` in a model.)
    #[cfg(unwedge_loom)]
    #[must_use]
    pub fn new() -> Self {
        Condvar { condition: FirstLink::new() }
    }

    /// Wakes the thread or task that has waited longest. Whether there was one.
    #[inline]
    #[track_caller]
    pub fn notify_one(&self) -> bool {
        self.waited_on(Location::caller()).is_some_and(Condition::notify_one)
    }

    /// Wakes everybody who waits now. How many that were.
    #[inline]
    #[track_caller]
    pub fn notify_all(&self) -> usize {
        self.waited_on(Location::caller()).map_or(0, Condition::notify_all)
    }

    /// Its condition, if somebody waits; then it is noted who notifies.
    #[inline]
    fn waited_on(&self, notifier: &'static Location<'static>) -> Option<&'static Condition> {
        let condition = self.condition.get().filter(|condition| condition.has_waiters())?;
        condition.note_notifier(Some(notifier));
        Some(condition)
    }

    /// Its condition, made by the first wait.
    #[inline]
    pub(super) fn condition(&self) -> &'static Condition {
        self.condition.get().unwrap_or_else(|| self.make())
    }

    #[cold]
    fn make(&self) -> &'static Condition {
        let new = Condition::claim();
        match self.condition.set_first(new) {
            Ok(()) => new,
            Err(first) => {
                new.release();
                first
            }
        }
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

    /// As [`wait`](Self::wait), for a task: it is registered and the lock is free when this returns.
    ///
    /// Threads and tasks that wait on one condition variable stand in one queue. The lock is taken again in its own queue; a stop of the domain
    /// ends that too, at once. (While a task that stands there is not polled, a lock that hands itself over, as tokio's do, may be its
    /// already: see [`AsyncForeignLock`].)
    ///
    /// ```
    /// # #[cfg(feature = "tokio")] {
    /// use std::sync::Arc;
    /// use unwedge::{Condvar, Stop};
    /// use tokio::sync::Mutex;
    ///
    /// static CHANGED: Condvar = Condvar::new();
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let stop = Stop::new("mds.a");
    /// let ready = Arc::new(Mutex::new(false));
    /// let (own, domain) = (ready.clone(), stop.clone());
    /// let waiter = stop.spawn_task("waiter", async move {
    ///     let mut guard = own.lock().await;
    ///     while !*guard {
    ///         guard = CHANGED.wait_async(&domain, &*own, guard).await?;      // Err(Stopped): without the lock
    ///     }
    ///     Ok::<(), unwedge::Stopped>(())
    /// });
    /// *ready.lock().await = true;
    /// CHANGED.notify_one();
    /// waiter.await??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?; }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Stopped`]: *without* the lock. A notification that had reached this waiter has gone on to the next.
    ///
    /// # Panics
    /// When it is polled again after it was ready.
    ///
    /// # Cancel safety
    /// Dropping the future takes it out of the queue, that of the condition variable or that of the lock. A notification that had reached it goes
    /// on to the next. The lock is free, or on its way to the next in its queue.
    #[track_caller]
    pub fn wait_async<'a, L: AsyncForeignLock>(
        &'a self,
        stop: &Stop,
        lock: &'a L,
        guard: L::Guard<'a>,
    ) -> impl Future<Output = Result<L::Guard<'a>, Stopped>> + use<'a, L> {
        self.wait_for_task(*stop.domain(), guard, || lock.lock_async(), Location::caller())
    }

    /// As [`wait_async`](Self::wait_async), by who holds a reader-writer lock for reading: the reader's mode is taken again.
    ///
    /// What is notified must be changed in the writer's mode: see [`Reading`](crate::lock::Reading), which a thread uses for the same. (A task
    /// could not be moved to another thread while it waits through that wrapper, as far as the compiler can see.)
    ///
    /// # Errors
    /// [`Stopped`], as [`wait_async`](Self::wait_async).
    ///
    /// # Panics
    /// As [`wait_async`](Self::wait_async).
    ///
    /// # Cancel safety
    /// As [`wait_async`](Self::wait_async).
    #[track_caller]
    pub fn wait_shared_async<'a, L: AsyncSharedLock>(
        &'a self,
        stop: &Stop,
        lock: &'a L,
        guard: L::SharedGuard<'a>,
    ) -> impl Future<Output = Result<L::SharedGuard<'a>, Stopped>> + use<'a, L> {
        self.wait_for_task(*stop.domain(), guard, || lock.lock_shared_async(), Location::caller())
    }

    fn wait_by<'a, L: ForeignLock>(
        &self,
        domain: DomainRef,
        lock: &'a L,
        guard: L::Guard<'a>,
        deadline: Option<Instant>,
        location: &'static Location<'static>,
    ) -> Result<Timed<L::Guard<'a>>, Stopped> {
        let mut waiting = self.register(Kind::Thread, domain, location)?;
        drop(guard);
        waiting.ticket.park_while(|state| state == WAITING, deadline);
        let state = waiting.end();
        if state == STOPPED {
            return Err(Stopped);
        }
        // From here on a notification is this waiter's until the lock is had: `waiting` passes it on if that fails or unwinds.
        let guard = relock(domain, lock, location).ok_or(Stopped)?;
        waiting.settle();
        Ok(Timed { guard, timed_out: state != NOTIFIED })
    }

    /// Begins a wait over a foreign lock. The caller holds the lock, and lets go of it afterwards.
    pub(super) fn register(
        &self,
        kind: Kind,
        domain: DomainRef,
        location: &'static Location<'static>,
    ) -> Result<Waiting, Stopped> {
        let condition = self.condition();
        let note = Note { condition: Some(condition), ..Note::new(What::Condition, domain, location) };
        let ticket = Ticket::begin(kind, WAITING, &note);
        if ticket.is_over() {
            return Err(Stopped);
        }
        condition.push(ticket.waiter());
        Ok(Waiting { ticket, condition, notified: false })
    }
}

/// Takes a foreign lock again, as its adapter does it, unless a stop comes first.
fn relock<'a, L: ForeignLock>(
    domain: DomainRef,
    lock: &'a L,
    location: &'static Location<'static>,
) -> Option<L::Guard<'a>> {
    // For reports: the adapter looks at the flag itself.
    let _seen = Ticket::begin(Kind::Thread, WAITING, &Note::new(What::Lock, domain, location));
    let guard = lock.relock(&|| domain.is_over())?;
    // A plain lock may have come long after the stop: then it is let go again (L2).
    (!domain.is_over()).then_some(guard)
}

/// A wait that is linked to a condition; unlinks itself, and passes on a notification that was not used.
pub(super) struct Waiting {
    ticket: Ticket,
    condition: &'static Condition,
    notified: bool,
}

impl Waiting {
    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The notification was used.
    pub(super) fn settle(&mut self) {
        self.notified = false;
    }

    /// Ends the wait and says what came of it.
    pub(super) fn end(&mut self) -> u64 {
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
        if let Some(condition) = self.condition.get() {
            condition.clear();
            condition.release();
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

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use super::Condvar;
    use crate::wait::condition::conditions;

    /// Else each of these would cost the process a place for ever.
    #[test]
    fn the_place_of_a_condition_variable_that_is_gone_is_given_back() {
        let before = conditions().count();
        for _ in 0..2_000 {
            Condvar::new().condition();
        }
        let grown = conditions().count() - before;
        assert!(grown < 1_000, "{grown} places more");
    }
}
