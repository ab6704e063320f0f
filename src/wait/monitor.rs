//! The monitor: any lock, made stoppable.
//!
//! The lock is the user's and is taken by its `try_lock`; the line, the turn and the stop are ours (see `line`). The fast path is a look at
//! the domain's flag, one at whether the line is closed, the user's `try_lock`, and a store of who holds it.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::task::Poll;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::error::{Stopped, WaitError};
use crate::lock::{Lock, LockData, SharedLock};
use crate::registry::domain::DomainRef;
use crate::registry::member::MemberRef;
use crate::registry::order::{self, Class, Held, Place};
use crate::stop::Stop;
use crate::sys;

use super::condition::Condition;
use super::future::{LockFuture, When};
use super::guard::{Exclusive, Mode, MonitorGuard, Shared};
use super::line::{MonitorCell, monitors};
use super::pending::{Attempt, Pending};
use super::ticket::Note;
use super::waiter::{Kind, What};

/// Any lock `L`, made stoppable: one queue for threads and tasks, readers and writers.
///
/// The monitor owns the lock. Taking it is a wait like any other: a stop of the domain ends it, without the lock (laws L1 and L2). The lock and what it
/// protects lie on cache lines of their own, so that a monitor takes 256 bytes at least.
///
/// ```
/// use std::time::Duration;
/// use unwedge::{Condvar, Monitor, Plan, Stop};
///
/// static READY: Condvar = Condvar::new();
///
/// let stop = Stop::new("mds.a");
/// let mds = std::sync::Arc::new(Monitor::new("mds_lock", std::sync::Mutex::new(false), &stop));
/// let waiter = mds.clone();
/// stop.spawn("waiter", move || {
///     let guard = waiter.lock()?.wait_while(&READY, |ready| !*ready)?;   // nobody will ever set it
///     Ok::<bool, unwedge::Stopped>(*guard)
/// })?;
/// let held = mds.lock()?;                                            // held while the thread is waited for: no deadlock
/// let report = stop.shutdown_holding(held, Plan::within(Duration::from_secs(10)));
/// assert!(report.is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Fairness
/// Threads and tasks queue in one order. A thread that runs may overtake one that is just being woken, twice at the most; then the line is
/// closed until the overtaken thread has the lock; only who was about to take it as the line was closed may still have it once. A reader queues
/// behind a writer that is first in line.
///
/// The line is never closed for a task, because nobody knows when it will be polled: it keeps its place, and readers queue behind a task that
/// wants to write until it is woken; but whoever comes between that and its next poll may take the lock first, each time again. So a task
/// gets the lock in the first turn in which nobody came in between, and how late that is has no bound under a load without a gap.
///
/// # Deadlocks
/// A thread that takes a monitor while it holds its guard waits for itself, until the domain's stop: the report names it. The same goes for
/// reading twice when a writer comes in between.
pub struct Monitor<L> {
    pub(super) cell: &'static MonitorCell,
    pub(super) index: u32,
    pub(super) home: DomainRef,
    stop: Stop,
    class: Class,
    /// Apart from the rest, see "Cache lines" in `line`.
    pub(super) lock: CachePadded<L>,
}

/// Why the lock was not had.
enum NotHad {
    Held,
    /// Somebody in line has precedence.
    Closed,
}

impl<L> Monitor<L> {
    /// A monitor over `lock`, in the domain `stop`. The name (cut to 32 bytes) is what reports call it.
    #[cfg_attr(any(debug_assertions, feature = "lockdep"), track_caller)]
    pub fn new(name: &'static str, lock: L, stop: &Stop) -> Self {
        let index = MonitorCell::claim(name);
        Monitor {
            cell: monitors().get(index),
            index,
            home: *stop.domain(),
            stop: stop.clone(),
            class: Class::new(name, order::place(Location::caller())),
            lock: CachePadded::new(lock),
        }
    }

    /// Gives this monitor a place among those of its class (its name, and where it is made): where several are held at once, they are taken in rising order.
    ///
    /// Only the watch over the order of locks knows it: see [`Report::inversions`](crate::report::Report::inversions). Without an order such monitors may be
    /// taken in any, as long as no two are taken in both.
    ///
    /// ```
    /// # use unwedge::{Monitor, Stop};
    /// let stop = Stop::new("mds.a");
    /// let ranks: Vec<_> =
    ///     (0..16).map(|rank| Monitor::new("rank", std::sync::Mutex::new(rank), &stop).with_order(rank)).collect();
    /// let (first, second) = (ranks[3].lock()?, ranks[7].lock()?);
    /// # Ok::<(), unwedge::Stopped>(())
    /// ```
    #[must_use]
    pub fn with_order(mut self, order: u64) -> Self {
        self.class.set_order(order);
        self
    }

    /// A lock of this monitor is wanted by who will wait for it if need be.
    #[inline]
    pub(super) fn wanted(&self, location: &'static Location<'static>) {
        order::want(&self.class, order::place(location));
    }

    /// That it is held, for the watch over the order of locks.
    #[inline]
    pub(super) fn held(&self, at: Place) -> Held {
        Held::new(&self.class, at)
    }

    /// What reports call it.
    pub(crate) fn name(&self) -> String {
        self.cell.name.get()
    }

    /// The member that holds the lock exclusively, 0 for none.
    pub(crate) fn holder(&self) -> MemberRef {
        self.cell.look().holder
    }

    /// The domain that ends this monitor's waits.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The lock and what it protects: nobody can hold it any more.
    ///
    /// A monitor that a life leaves behind can so serve the next: `Monitor::new(name, old.into_lock(), &new_stop)`.
    pub fn into_lock(self) -> L {
        let this = std::mem::ManuallyDrop::new(self);
        MonitorCell::give_back(this.index);
        // SAFETY: `this` is never used or dropped again, so that `stop` is dropped once, here.
        drop(unsafe { std::ptr::read(&this.stop) });
        // SAFETY: as above: `lock` is moved out once.
        unsafe { std::ptr::read(&this.lock).into_inner() }
    }
}

impl<L> Drop for Monitor<L> {
    fn drop(&mut self) {
        MonitorCell::give_back(self.index);
    }
}

impl<L> fmt::Debug for Monitor<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("name", &self.cell.name.get()).finish_non_exhaustive()
    }
}

impl<L: Lock> Monitor<L> {
    /// Takes the lock; blocks the thread until it has it.
    ///
    /// # Errors
    /// [`Stopped`] if the domain's stop was requested before or meanwhile, whether or not the lock is free.
    ///
    /// # Deadlocks
    /// See [`Monitor`]. A stop of the domain ends each of them.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Result<MonitorGuard<'_, L>, Stopped> {
        self.acquire::<Exclusive>(&self.home)
    }

    /// Takes the lock if it is free, and nobody in line has been overtaken too often.
    ///
    /// # Errors
    /// [`Stopped`] if the domain's stop was requested.
    #[cfg_attr(any(debug_assertions, feature = "lockdep"), track_caller)]
    pub fn try_lock(&self) -> Result<Option<MonitorGuard<'_, L>>, Stopped> {
        if self.home.is_over() {
            return Err(Stopped);
        }
        Ok(self.try_acquire::<Exclusive>(&self.home, order::place(Location::caller())))
    }

    /// As [`lock`](Self::lock), until a deadline.
    ///
    /// # Errors
    /// [`WaitError::Stopped`] or [`WaitError::TimedOut`]; without the lock in both cases. A free lock is taken also after the deadline.
    #[track_caller]
    pub fn lock_until(&self, deadline: Instant) -> Result<MonitorGuard<'_, L>, WaitError> {
        self.acquire_until::<Exclusive>(&self.home, Some(deadline), Location::caller())
    }

    /// As [`lock`](Self::lock), in another domain than the monitor's own: a phase of a shutdown, in which the monitor can be taken after the
    /// stop of its own domain.
    ///
    /// # Errors
    /// [`Stopped`] if that domain's stop was requested, or its deadline has come.
    #[track_caller]
    pub fn lock_in<'a>(&'a self, domain: &'a Stop) -> Result<MonitorGuard<'a, L>, Stopped> {
        self.acquire::<Exclusive>(domain.domain())
    }

    /// As [`lock`](Self::lock), for a task.
    ///
    /// # Cancel safety
    /// Dropping the future takes it out of the queue; nothing is lost.
    #[inline]
    #[track_caller]
    pub fn lock_async(&self) -> LockFuture<'_, L> {
        LockFuture::new(self, &self.home, Location::caller())
    }

    /// As [`lock_async`](Self::lock_async), in another domain: see [`lock_in`](Self::lock_in).
    #[track_caller]
    pub fn lock_async_in<'a>(&'a self, domain: &'a Stop) -> LockFuture<'a, L> {
        LockFuture::new(self, domain.domain(), Location::caller())
    }

    /// Takes the lock for reading; blocks the thread until it has it.
    ///
    /// # Errors
    /// [`Stopped`], as [`lock`](Self::lock).
    #[track_caller]
    pub fn read(&self) -> Result<MonitorGuard<'_, L, Shared>, Stopped>
    where
        L: SharedLock,
    {
        self.acquire::<Shared>(&self.home)
    }

    /// As [`read`](Self::read), until a deadline.
    ///
    /// # Errors
    /// As [`lock_until`](Self::lock_until).
    #[track_caller]
    pub fn read_until(&self, deadline: Instant) -> Result<MonitorGuard<'_, L, Shared>, WaitError>
    where
        L: SharedLock,
    {
        self.acquire_until::<Shared>(&self.home, Some(deadline), Location::caller())
    }

    /// As [`read`](Self::read), in another domain: see [`lock_in`](Self::lock_in).
    ///
    /// # Errors
    /// As [`lock_in`](Self::lock_in).
    #[track_caller]
    pub fn read_in<'a>(&'a self, domain: &'a Stop) -> Result<MonitorGuard<'a, L, Shared>, Stopped>
    where
        L: SharedLock,
    {
        self.acquire::<Shared>(domain.domain())
    }

    /// As [`read`](Self::read), for a task.
    ///
    /// # Cancel safety
    /// As [`lock_async`](Self::lock_async).
    #[track_caller]
    pub fn read_async(&self) -> LockFuture<'_, L, Shared>
    where
        L: SharedLock,
    {
        LockFuture::new(self, &self.home, Location::caller())
    }

    /// Waits until the closure, run under the lock, gives `Some`, and returns that; blocks the thread.
    ///
    /// The closure runs again whenever an exclusive guard of this monitor was dereferenced mutably and let go, or another `when` was
    /// fulfilled: nobody has to notify. While it gives `None` it must leave the data as they are. (Over a reentrant mutex, whose guards are never
    /// dereferenced mutably, there is no `when`: [`LockData`] says what to do there.)
    ///
    /// ```
    /// # use unwedge::{Monitor, Stop};
    /// let stop = Stop::new("mds.a");
    /// let queue = Monitor::new("queue", std::sync::Mutex::new(vec![7]), &stop);
    /// assert_eq!(queue.when(|jobs| jobs.pop())?, 7);
    /// # Ok::<(), unwedge::Stopped>(())
    /// ```
    ///
    /// # Errors
    /// [`Stopped`]: then the closure gave `Some` in no run. Once it gave `Some` the result is `Ok`, whatever comes.
    #[track_caller]
    pub fn when<R>(&self, f: impl FnMut(&mut L::Data) -> Option<R>) -> Result<R, Stopped>
    where
        L: LockData,
    {
        match self.when_by(&self.home, None, Location::caller(), f) {
            Ok(value) => Ok(value),
            Err(_) => Err(Stopped),
        }
    }

    /// As [`when`](Self::when), until a deadline.
    ///
    /// # Errors
    /// [`WaitError::Stopped`], or [`WaitError::TimedOut`] if the closure gave `None` also in a last run after the deadline.
    #[track_caller]
    pub fn when_until<R>(&self, deadline: Instant, f: impl FnMut(&mut L::Data) -> Option<R>) -> Result<R, WaitError>
    where
        L: LockData,
    {
        self.when_by(&self.home, Some(deadline), Location::caller(), f)
    }

    /// As [`when`](Self::when), for a task: `Send` over every lock, because no guard lives across an await.
    ///
    /// # Cancel safety
    /// Dropping the future takes it out of the queue. A value that the closure has taken is returned by the same poll: it cannot be lost.
    #[track_caller]
    pub fn when_async<R, F>(&self, f: F) -> When<'_, L, F>
    where
        L: LockData,
        F: FnMut(&mut L::Data) -> Option<R>,
    {
        When::new(self, &self.home, f, Location::caller())
    }

    fn when_by<'a, R>(
        &'a self,
        domain: &'a DomainRef,
        deadline: Option<Instant>,
        location: &'static Location<'static>,
        mut f: impl FnMut(&mut L::Data) -> Option<R>,
    ) -> Result<R, WaitError>
    where
        L: LockData,
    {
        let mut guard = self.acquire_until::<Exclusive>(domain, None, location)?;
        let mut timed_out = false;
        loop {
            if let Some(value) = guard.fulfil(&mut f) {
                return Ok(value);
            }
            if timed_out {
                return Err(WaitError::TimedOut);
            }
            let back = guard.wait_on(&self.cell.when, What::Predicate, deadline, location)?;
            guard = back.guard;
            timed_out = back.timed_out;
        }
    }

    #[inline]
    #[track_caller]
    fn acquire<'a, M: Mode<L>>(&'a self, domain: &'a DomainRef) -> Result<MonitorGuard<'a, L, M>, Stopped> {
        if domain.is_over() {
            return Err(Stopped);
        }
        self.wanted(Location::caller());
        let guard = match self.try_raw::<M>() {
            Ok(guard) => guard,
            Err(_) => match self.acquire_slow::<M>(domain, None, Location::caller()) {
                Ok(guard) => guard,
                Err(_) => return Err(Stopped),
            },
        };
        Ok(MonitorGuard::new(self, domain, guard, order::place(Location::caller())))
    }

    pub(super) fn acquire_until<'a, M: Mode<L>>(
        &'a self,
        domain: &'a DomainRef,
        deadline: Option<Instant>,
        location: &'static Location<'static>,
    ) -> Result<MonitorGuard<'a, L, M>, WaitError> {
        if domain.is_over() {
            return Err(WaitError::Stopped);
        }
        self.wanted(location);
        let guard = match self.try_raw::<M>() {
            Ok(guard) => guard,
            Err(_) => self.acquire_slow::<M>(domain, deadline, location)?,
        };
        Ok(MonitorGuard::new(self, domain, guard, order::place(location)))
    }

    /// Tries the lock, unless somebody in line has precedence. The caller makes the guard.
    #[inline]
    fn try_raw<M: Mode<L>>(&self) -> Result<M::Guard<'_>, NotHad> {
        if !self.cell.seems_open(M::SHARED) {
            return Err(NotHad::Closed);
        }
        self.try_now::<M>().ok_or(NotHad::Held)
    }

    /// Tries the lock.
    #[inline]
    fn try_now<M: Mode<L>>(&self) -> Option<M::Guard<'_>> {
        let guard = M::try_lock(&self.lock)?;
        self.cell.acquired(M::SHARED);
        Some(guard)
    }

    /// As [`try_raw`](Self::try_raw), with a guard.
    #[inline]
    pub(super) fn try_acquire<'a, M: Mode<L>>(
        &'a self,
        domain: &'a DomainRef,
        at: Place,
    ) -> Option<MonitorGuard<'a, L, M>> {
        Some(MonitorGuard::new(self, domain, self.try_raw::<M>().ok()?, at))
    }

    /// Gives the lock's own guard and not a monitor's, so that the fast path can keep its guard in registers. The caller makes the guard.
    #[cold]
    #[inline(never)]
    fn acquire_slow<'a, M: Mode<L>>(
        &'a self,
        domain: &'a DomainRef,
        deadline: Option<Instant>,
        location: &'static Location<'static>,
    ) -> Result<M::Guard<'a>, WaitError> {
        for round in 0..sys::spin_rounds() {
            sys::pause(round);
            if domain.is_over() {
                return Err(WaitError::Stopped);
            }
            match self.try_raw::<M>() {
                Ok(guard) => return Ok(guard),
                Err(NotHad::Held) => {}
                Err(NotHad::Closed) => break,
            }
        }
        let note = self.note(What::Lock, M::SHARED, None, domain, location);
        let mut pending = Pending::in_line(self.cell, Kind::Thread, &note)?;
        match pending.block(deadline, &By::<L, M>::new(self, domain, order::place(location))) {
            Poll::Ready(result) => Ok(result?),
            Poll::Pending => Err(WaitError::TimedOut),
        }
    }

    /// What is noted of a wait in this monitor.
    #[inline(always)]
    pub(super) fn note(
        &self,
        what: What,
        shared: bool,
        condition: Option<&'static Condition>,
        domain: &DomainRef,
        location: &'static Location<'static>,
    ) -> Note<'static> {
        Note { what, domain: Some(*domain), monitor: Some(self.cell), shared, condition, owed: None, location }
    }
}

/// Who acquires a monitor's lock by steps: under which domain, and where.
pub(super) struct By<'a, L, M> {
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    at: Place,
    _mode: PhantomData<M>,
}

impl<'a, L: Lock, M: Mode<L>> By<'a, L, M> {
    #[inline]
    pub(super) fn new(monitor: &'a Monitor<L>, domain: &'a DomainRef, at: Place) -> Self {
        By { monitor, domain, at, _mode: PhantomData }
    }

    /// The monitor's guard around what was acquired.
    #[inline]
    pub(super) fn guard(&self, guard: M::Guard<'a>) -> MonitorGuard<'a, L, M> {
        MonitorGuard::new(self.monitor, self.domain, guard, self.at)
    }
}

impl<'a, L: Lock, M: Mode<L>> Attempt for By<'a, L, M> {
    type Guard = M::Guard<'a>;

    #[inline]
    fn try_lock(&self) -> Option<M::Guard<'a>> {
        self.monitor.try_now::<M>()
    }

    #[cold]
    fn let_go(&self, guard: M::Guard<'a>) {
        drop(self.guard(guard));
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use super::{Monitor, monitors};
    use crate::stop::Stop;

    /// Else each of these would cost the process a place for ever.
    #[test]
    fn the_place_of_a_monitor_that_is_gone_is_given_back() {
        let stop = Stop::new("monitors");
        let before = monitors().count();
        for _ in 0..2_000 {
            drop(Monitor::new("dropped", (), &stop));
        }
        let grown = monitors().count() - before;
        assert!(grown < 1_000, "{grown} places more");
    }
}
