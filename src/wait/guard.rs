//! A monitor's guard, and the waits that begin with one.
//!
//! A guard goes into a wait by value. It comes back with the wait's success or timeout, and not with a stop: that is L2, said by the type.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::task::Poll;
use std::time::Instant;

use crate::completion::{Completer, Completion};
use crate::error::{Abandoned, Stopped, Timed};
use crate::lock::{Lock, LockData, SharedLock};
use crate::registry::domain::DomainRef;
use crate::registry::order::{self, Held, Place};
use crate::stop::Stop;

use super::condition::Condition;
use super::condvar::Condvar;
use super::future::{Wait, WaitWhile};
use super::line::MonitorCell;
use super::monitor::{By, Monitor};
use super::pending::Pending;
use super::waiter::{Kind, What};

/// The mode of a guard that holds its lock alone.
#[derive(Debug)]
pub enum Exclusive {}

/// The mode of a guard that holds a reader-writer lock for reading.
#[derive(Debug)]
pub enum Shared {}

mod sealed {
    /// Only this crate's modes are modes.
    pub trait Sealed {}
    impl Sealed for super::Exclusive {}
    impl Sealed for super::Shared {}
}

/// How a lock is held: [`Exclusive`] or [`Shared`]. Sealed.
pub trait Mode<L: Lock>: sealed::Sealed + 'static {
    /// The lock's own guard of this mode.
    type Guard<'a>
    where
        L: 'a;

    #[doc(hidden)]
    const SHARED: bool;

    #[doc(hidden)]
    fn try_lock(lock: &L) -> Option<Self::Guard<'_>>;
}

impl<L: Lock> Mode<L> for Exclusive {
    type Guard<'a>
        = L::Guard<'a>
    where
        L: 'a;
    const SHARED: bool = false;

    #[inline]
    fn try_lock(lock: &L) -> Option<L::Guard<'_>> {
        lock.try_lock()
    }
}

impl<L: SharedLock> Mode<L> for Shared {
    type Guard<'a>
        = L::SharedGuard<'a>
    where
        L: 'a;
    const SHARED: bool = true;

    #[inline]
    fn try_lock(lock: &L) -> Option<L::SharedGuard<'_>> {
        lock.try_lock_shared()
    }
}

/// Proof that a [`Monitor`]'s lock is held; dropping it lets go.
///
/// It dereferences to what the lock protects, if the lock's own guard does. A guard that was dereferenced mutably makes the monitor's
/// [`when`](Monitor::when) waiters look again.
///
/// It remembers the domain under which it was taken, and its waits are that domain's.
#[must_use = "the lock is let go when the guard is dropped"]
pub struct MonitorGuard<'a, L: Lock, M: Mode<L> = Exclusive> {
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    /// Whether it was dereferenced mutably. A whole word: guards are moved about, and a copy of what is around a byte waits for the store of the byte.
    dirty: u64,
    /// Dropped in `drop`, between what comes before and after an unlock, and nowhere else.
    guard: ManuallyDrop<M::Guard<'a>>,
    /// For the order of locks.
    _held: Held,
    _mode: PhantomData<fn() -> M>,
}

/// Looks after the line if the user's unlock panics.
struct Unwinding(&'static MonitorCell, bool);

impl Drop for Unwinding {
    #[cold]
    fn drop(&mut self) {
        self.0.released(self.1);
    }
}

impl<L: Lock, M: Mode<L>> Drop for MonitorGuard<'_, L, M> {
    // Small, with everything rare out of line, so that it becomes a part of the caller.
    #[inline(always)]
    fn drop(&mut self) {
        let cell = self.monitor.cell;
        if self.dirty != 0 && cell.when.has_waiters() {
            cell.notify_when();
        }
        cell.releasing(M::SHARED);
        let unwinding = Unwinding(cell, M::SHARED);
        // The user's unlock: no lock of ours is held (L6).
        // SAFETY: this is the guard's only drop, and `self` is not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.guard) };
        let _ = ManuallyDrop::new(unwinding);
        cell.released(M::SHARED);
    }
}

impl<'a, L: Lock + 'a, M: Mode<L>> MonitorGuard<'a, L, M> {
    #[inline]
    pub(super) fn new(monitor: &'a Monitor<L>, domain: &'a DomainRef, guard: M::Guard<'a>, at: Place) -> Self {
        // First: if that panics the lock's own guard is dropped.
        let held = monitor.held(at);
        MonitorGuard { monitor, domain, dirty: 0, guard: ManuallyDrop::new(guard), _held: held, _mode: PhantomData }
    }

    /// Waits for a notification; the lock is free meanwhile. Blocks the thread.
    ///
    /// As with every condition variable it may return without a notification: wait in a loop, or with [`wait_while`](Self::wait_while).
    ///
    /// # Errors
    /// [`Stopped`]: *without* the lock. A notification that had reached this waiter goes on to the next: it may still be on its way, by the thread that stops.
    ///
    /// # Deadlocks
    /// None that a stop of the domain does not end.
    #[track_caller]
    pub fn wait(self, condvar: &Condvar) -> Result<Self, Stopped> {
        Ok(self.wait_on(condvar.condition(), What::Condition, None, Location::caller())?.guard)
    }

    /// As [`wait`](Self::wait), until a deadline. A timeout gives the lock back; taking it again is not bound by the deadline.
    ///
    /// # Errors
    /// [`Stopped`]: without the lock.
    #[track_caller]
    pub fn wait_until(self, condvar: &Condvar, deadline: Instant) -> Result<Timed<Self>, Stopped> {
        self.wait_on(condvar.condition(), What::Condition, Some(deadline), Location::caller())
    }

    /// Waits for a completion; the lock is free meanwhile. One `?` for the stop, one for the value.
    ///
    /// ```
    /// # use unwedge::{Abandoned, Completion, Monitor, Stop};
    /// let stop = Stop::new("mds.a");
    /// let mds = Monitor::new("mds_lock", std::sync::Mutex::new(0), &stop);
    /// let (completer, mut read) = Completion::<u32>::new("read", &stop);
    /// stop.spawn("disk", move || completer.complete(7))?;
    /// let (mut state, value) = mds.lock()?.wait_for(&mut read)?;
    /// *state = value?;
    /// # drop(state);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Stopped`]: without the lock; a value that has come or comes later stays with the completion.
    #[track_caller]
    pub fn wait_for<T, E: From<Abandoned>>(
        self,
        completion: &mut Completion<T, E>,
    ) -> Result<(Self, Result<T, E>), Stopped> {
        let (monitor, domain) = (self.monitor, self.domain);
        let location = Location::caller();
        if let Some(early) = completion.take_ready_in(Some(*domain))? {
            return Ok((self, early));
        }
        drop(self);
        completion.wait_ready_in(*domain, location)?;
        let guard = match monitor.acquire_until(domain, None, location) {
            Ok(guard) => guard,
            Err(_) => return Err(Stopped),
        };
        Ok((guard, completion.take()))
    }

    /// Whether the domain that the guard remembers is over: then none of its waits begins.
    pub(crate) fn is_over(&self) -> bool {
        self.domain.is_over()
    }

    /// A completion of the guard's own domain, to wait with for what is none.
    pub(crate) fn owe(&self, owed: &'static str) -> (Completer<()>, Completion<()>) {
        Completion::new_in(owed, *self.domain)
    }

    /// Goes on holding the lock, but under another domain: how a stopper that holds the lock carries it into a phase of the shutdown.
    pub fn adopt(mut self, domain: &'a Stop) -> Self {
        self.domain = domain.domain();
        self
    }

    /// As [`wait`](Self::wait), for a task: it is registered and the lock is free when this returns.
    ///
    /// A loop over it is not `Send` over a lock whose guard is not, because the compiler keeps the guard's variable: there use
    /// [`wait_while_async`](Self::wait_while_async) or [`Monitor::when_async`].
    ///
    /// # Cancel safety
    /// Dropping the future takes it out of the queue. A notification that had reached it goes on to the next.
    #[track_caller]
    pub fn wait_async(self, condvar: &'a Condvar) -> Wait<'a, L, M> {
        let location = Location::caller();
        let pending = self.begin_async(condvar.condition(), location);
        Wait::new(self.monitor, self.domain, pending, order::place(location))
    }

    /// Registers a task, before the lock is let go.
    #[inline(always)]
    fn begin_async(
        &self,
        condition: &'static Condition,
        location: &'static Location<'static>,
    ) -> Result<Pending, Stopped> {
        let note = self.monitor.note(What::Condition, M::SHARED, Some(condition), self.domain, location);
        Pending::on(condition, Kind::Task, &note)
    }

    /// The one blocking wait on a condition.
    pub(super) fn wait_on(
        self,
        condition: &'static Condition,
        what: What,
        deadline: Option<Instant>,
        location: &'static Location<'static>,
    ) -> Result<Timed<Self>, Stopped> {
        let (monitor, domain) = (self.monitor, self.domain);
        let note = monitor.note(what, M::SHARED, Some(condition), domain, location);
        let mut pending = Pending::on(condition, Kind::Thread, &note)?;
        drop(self);
        monitor.wanted(location);
        let by = By::new(monitor, domain, order::place(location));
        if let Poll::Ready(result) = pending.block(deadline, &by) {
            return Ok(Timed { guard: by.guard(result?), timed_out: false });
        }
        // The deadline ends the wait for the condition, and never the one for the lock.
        let timed_out = pending.expire();
        match pending.block(None, &by) {
            Poll::Ready(result) => Ok(Timed { guard: by.guard(result?), timed_out }),
            Poll::Pending => unreachable!("a wait without a deadline ends with an outcome"),
        }
    }
}

impl<'a, L: Lock + 'a, M: Mode<L>, T: ?Sized> MonitorGuard<'a, L, M>
where
    M::Guard<'a>: DerefMut<Target = T>,
{
    /// Waits while the predicate holds; the lock is free meanwhile. Blocks the thread.
    ///
    /// # Errors
    /// [`Stopped`]: without the lock.
    #[track_caller]
    pub fn wait_while(mut self, condvar: &Condvar, mut predicate: impl FnMut(&mut T) -> bool) -> Result<Self, Stopped> {
        let location = Location::caller();
        let condition = condvar.condition();
        while predicate(&mut self) {
            self = self.wait_on(condition, What::Condition, None, location)?.guard;
        }
        Ok(self)
    }

    /// As [`wait_while`](Self::wait_while), until a deadline: then the lock comes back with what the predicate says at last.
    ///
    /// # Errors
    /// [`Stopped`]: without the lock.
    #[track_caller]
    pub fn wait_while_until(
        mut self,
        condvar: &Condvar,
        deadline: Instant,
        mut predicate: impl FnMut(&mut T) -> bool,
    ) -> Result<Timed<Self>, Stopped> {
        let location = Location::caller();
        let condition = condvar.condition();
        let mut timed_out = false;
        loop {
            if !predicate(&mut self) {
                return Ok(Timed { guard: self, timed_out: false });
            }
            if timed_out {
                return Ok(Timed { guard: self, timed_out: true });
            }
            let back = self.wait_on(condition, What::Condition, Some(deadline), location)?;
            self = back.guard;
            timed_out = back.timed_out;
        }
    }
}

impl<'a, L: LockData + 'a> MonitorGuard<'a, L> {
    /// As [`wait_while`](Self::wait_while), for a task: registers, lets the lock go, and looks again under the lock. `Send` over every lock.
    ///
    /// # Cancel safety
    /// As [`wait_async`](Self::wait_async).
    #[track_caller]
    #[inline(always)]
    pub fn wait_while_async<F>(mut self, condvar: &'a Condvar, mut predicate: F) -> WaitWhile<'a, L, F>
    where
        F: FnMut(&mut L::Data) -> bool,
    {
        let location = Location::caller();
        let condition = condvar.condition();
        let (monitor, domain) = (self.monitor, self.domain);
        // Where it need not wait the lock is taken again by the first poll, so that no guard lives in the future.
        let first = if self.over_data(&mut predicate) { self.begin_async(condition, location).ok() } else { None };
        let waiting = WaitWhile::new(monitor, domain, condition, first, predicate, location);
        // Only now: the future is written before the lock's own unlock, a barrier mostly, and the caller, who moves it, does not wait for the stores to get through.
        drop(self);
        waiting
    }

    /// Runs a predicate over the data.
    #[inline]
    pub(super) fn over_data<R>(&mut self, f: &mut impl FnMut(&mut L::Data) -> R) -> R {
        self.dirty = 1;
        f(L::data(&mut self.guard))
    }

    /// Runs a `when` closure: only one that gives `Some` has changed the data.
    pub(super) fn fulfil<R>(&mut self, f: &mut impl FnMut(&mut L::Data) -> Option<R>) -> Option<R> {
        let was = self.dirty;
        let value = self.over_data(f);
        self.dirty = was | u64::from(value.is_some());
        value
    }

    /// The one registration of a task on a condition, by a future that looks again. `None`: the domain is over.
    #[inline(never)]
    pub(super) fn wait_again(
        self,
        condition: &'static Condition,
        what: What,
        location: &'static Location<'static>,
    ) -> Option<Pending> {
        let note = self.monitor.note(what, false, Some(condition), self.domain, location);
        Pending::on(condition, Kind::Task, &note).ok()
    }
}

impl<'a, L: Lock, M: Mode<L>, T: ?Sized> Deref for MonitorGuard<'a, L, M>
where
    M::Guard<'a>: Deref<Target = T>,
{
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<'a, L: Lock, M: Mode<L>, T: ?Sized> DerefMut for MonitorGuard<'a, L, M>
where
    M::Guard<'a>: DerefMut<Target = T>,
{
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.dirty = 1;
        &mut self.guard
    }
}

impl<'a, L: Lock, M: Mode<L>> fmt::Debug for MonitorGuard<'a, L, M>
where
    M::Guard<'a>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self.guard).fmt(f)
    }
}
