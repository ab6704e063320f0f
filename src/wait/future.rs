//! The futures of a monitor. None of them holds a guard while it waits, and none allocates: its waiter lies in a slot of the registry.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::error::Stopped;
use crate::lock::{Lock, LockData};
use crate::registry::domain::DomainRef;
use crate::registry::order::{self, Place};
use crate::sys;

use super::condition::Condition;
use super::guard::{Exclusive, Mode, MonitorGuard};
use super::monitor::{By, Monitor};
use super::pending::Pending;
use super::waiter::{Kind, What};

/// Polls an acquisition, until there is an outcome or the task sleeps with its waker in place. A task that was woken needs none.
#[inline(always)]
fn poll_pending<'a, L: Lock, M: Mode<L>>(
    pending: &mut Pending,
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    at: Place,
    cx: &mut Context<'_>,
) -> Poll<Result<MonitorGuard<'a, L, M>, Stopped>> {
    let by = By::new(monitor, domain, at);
    loop {
        if let Poll::Ready(result) = pending.poll(&by) {
            return Poll::Ready(result.map(|guard| by.guard(guard)));
        }
        if !sys::look_as_task(|| pending.may_go_on()) && pending.ticket().set_waker(cx.waker()) {
            return Poll::Pending;
        }
    }
}

/// Future of [`Monitor::lock_async`] and [`Monitor::read_async`].
#[must_use = "futures do nothing unless polled"]
pub struct LockFuture<'a, L, M = Exclusive> {
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    pending: Option<Pending>,
    location: &'static Location<'static>,
    _mode: PhantomData<fn() -> M>,
}

impl<'a, L, M> LockFuture<'a, L, M> {
    pub(super) fn new(monitor: &'a Monitor<L>, domain: &'a DomainRef, location: &'static Location<'static>) -> Self {
        LockFuture { monitor, domain, pending: None, location, _mode: PhantomData }
    }
}

impl<'a, L: Lock, M: Mode<L>> Future for LockFuture<'a, L, M> {
    type Output = Result<MonitorGuard<'a, L, M>, Stopped>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        poll_first(&mut this.pending, this.monitor, this.domain, this.location, cx)
    }
}

/// Future of [`MonitorGuard::wait_async`].
#[must_use = "the wait is registered, but ends only when polled"]
pub struct Wait<'a, L, M = Exclusive> {
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    pending: Result<Pending, Stopped>,
    at: Place,
    _mode: PhantomData<fn() -> M>,
}

impl<'a, L, M> Wait<'a, L, M> {
    pub(super) fn new(
        monitor: &'a Monitor<L>,
        domain: &'a DomainRef,
        pending: Result<Pending, Stopped>,
        at: Place,
    ) -> Self {
        Wait { monitor, domain, pending, at, _mode: PhantomData }
    }
}

impl<'a, L: Lock, M: Mode<L>> Future for Wait<'a, L, M> {
    type Output = Result<MonitorGuard<'a, L, M>, Stopped>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = match &mut this.pending {
            Ok(pending) => ready!(poll_pending(pending, this.monitor, this.domain, this.at, cx)),
            Err(stopped) => Err(*stopped),
        };
        this.pending = Err(Stopped);
        Poll::Ready(result)
    }
}

/// Future of [`MonitorGuard::wait_while_async`].
#[must_use = "the wait is registered, but ends only when polled"]
pub struct WaitWhile<'a, L, F> {
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    condition: &'static Condition,
    /// `None`: the lock is to be taken first; or the domain is over, as the next poll will find.
    pending: Option<Pending>,
    predicate: F,
    location: &'static Location<'static>,
}

impl<'a, L, F> WaitWhile<'a, L, F> {
    #[inline]
    pub(super) fn new(
        monitor: &'a Monitor<L>,
        domain: &'a DomainRef,
        condition: &'static Condition,
        pending: Option<Pending>,
        predicate: F,
        location: &'static Location<'static>,
    ) -> Self {
        WaitWhile { monitor, domain, condition, pending, predicate, location }
    }
}

// Nothing in it is pinned: the closure is called by reference and never moved from.
impl<L, F> Unpin for WaitWhile<'_, L, F> {}

impl<'a, L: LockData, F: FnMut(&mut L::Data) -> bool> Future for WaitWhile<'a, L, F> {
    type Output = Result<MonitorGuard<'a, L>, Stopped>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let mut guard: MonitorGuard<'_, L> =
                ready!(poll_first(&mut this.pending, this.monitor, this.domain, this.location, cx))?;
            if !guard.over_data(&mut this.predicate) {
                return Poll::Ready(Ok(guard));
            }
            this.pending = guard.wait_again(this.condition, What::Condition, this.location);
        }
    }
}

/// Future of [`Monitor::when_async`].
#[must_use = "futures do nothing unless polled"]
pub struct When<'a, L, F> {
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    /// As in [`WaitWhile`].
    pending: Option<Pending>,
    f: F,
    location: &'static Location<'static>,
}

impl<'a, L, F> When<'a, L, F> {
    pub(super) fn new(
        monitor: &'a Monitor<L>,
        domain: &'a DomainRef,
        f: F,
        location: &'static Location<'static>,
    ) -> Self {
        When { monitor, domain, pending: None, f, location }
    }
}

// As `WaitWhile`.
impl<L, F> Unpin for When<'_, L, F> {}

impl<L: LockData, R, F: FnMut(&mut L::Data) -> Option<R>> Future for When<'_, L, F> {
    type Output = Result<R, Stopped>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let mut guard: MonitorGuard<'_, L> =
                ready!(poll_first(&mut this.pending, this.monitor, this.domain, this.location, cx))?;
            if let Some(value) = guard.fulfil(&mut this.f) {
                return Poll::Ready(Ok(value));
            }
            this.pending = guard.wait_again(&this.monitor.cell.when, What::Predicate, this.location);
        }
    }
}

/// Polls what is pending, or takes the lock if nothing is; what is pending is used up by an outcome.
#[inline(always)]
fn poll_first<'a, L: Lock, M: Mode<L>>(
    pending: &mut Option<Pending>,
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    location: &'static Location<'static>,
    cx: &mut Context<'_>,
) -> Poll<Result<MonitorGuard<'a, L, M>, Stopped>> {
    if pending.is_none() {
        if let Some(guard) = begin(pending, monitor, domain, location)? {
            return Poll::Ready(Ok(guard));
        }
    }
    let Some(waiting) = pending else { return Poll::Ready(Err(Stopped)) };
    let result = ready!(poll_pending(waiting, monitor, domain, order::place(location), cx));
    match pending.take() {
        Some(had) if result.is_ok() => had.finish(),
        ended => drop(ended),
    }
    Poll::Ready(result)
}

/// The first step of an acquisition by a task: takes the lock if it is free, or queues.
#[inline(never)]
fn begin<'a, L: Lock, M: Mode<L>>(
    pending: &mut Option<Pending>,
    monitor: &'a Monitor<L>,
    domain: &'a DomainRef,
    location: &'static Location<'static>,
) -> Result<Option<MonitorGuard<'a, L, M>>, Stopped> {
    if domain.is_over() {
        return Err(Stopped);
    }
    monitor.wanted(location);
    if let Some(guard) = monitor.try_acquire(domain, order::place(location)) {
        return Ok(Some(guard));
    }
    let note = monitor.note(What::Lock, M::SHARED, None, domain, location);
    *pending = Some(Pending::in_line(monitor.cell, Kind::Task, &note)?);
    Ok(None)
}

macro_rules! debug_as {
    ($($name:literal: $type:ident<$($param:ident),*>),*) => {$(
        impl<$($param),*> fmt::Debug for $type<'_, $($param),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name).field("monitor", self.monitor).finish_non_exhaustive()
            }
        }
    )*};
}
debug_as!("LockFuture": LockFuture<L, M>, "Wait": Wait<L, M>, "WaitWhile": WaitWhile<L, F>, "When": When<L, F>);
