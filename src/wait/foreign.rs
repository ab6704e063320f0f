//! A task's wait on a condition variable over a lock that unwedge does not own.
//!
//! It has two parts. The first is a waiter like any other, in the queue of the condition variable. A notification ends it; then the task stands
//! in the lock's own queue, of which no stop knows: so a second waiter stands beside it, which nothing but a stop can end, and whoever comes
//! first, the lock or the stop, wakes the task.
//!
//! # Invariants
//! - **Passed on.** From the notification on until the guard is given out the wait's [`Waiting`] owes it to the next (L3): dropped by a stop, a
//!   panic of the lock's future or with the whole future, it hands it on.
//! - **Unlocked.** A guard that comes together with the stop is dropped first (L2).

use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::task::{Context, Poll};

use crate::error::Stopped;
use crate::registry::domain::DomainRef;

use super::condvar::{Condvar, Waiting};
use super::ticket::{Note, Ticket};
use super::waiter::{Kind, NOTIFIED, WAITING, What};

impl Condvar {
    /// Registers, lets the guard go, and gives the rest of the wait as a future.
    pub(super) fn wait_for_task<'a, G, F: Future<Output = G>, R: FnOnce() -> F>(
        &'a self,
        domain: DomainRef,
        guard: G,
        lock: R,
        location: &'static Location<'static>,
    ) -> impl Future<Output = Result<G, Stopped>> + use<'a, G, F, R> {
        let waiting = self.register(Kind::Task, domain, location);
        drop(guard);
        async move {
            let mut waiting = waiting?;
            if poll_fn(|cx| waiting.poll(cx)).await != NOTIFIED {
                return Err(Stopped);
            }
            let guard = relock(domain, lock(), location).await.ok_or(Stopped)?;
            waiting.settle();
            Ok(guard)
        }
    }
}

impl Waiting {
    /// How the wait on the condition has ended, once it has.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        if self.ticket().set_waker(cx.waker()) { Poll::Pending } else { Poll::Ready(self.end()) }
    }
}

/// Takes a foreign lock again in its own queue, unless a stop comes first.
async fn relock<G>(
    domain: DomainRef,
    lock: impl Future<Output = G>,
    location: &'static Location<'static>,
) -> Option<G> {
    let mut locking = pin!(lock);
    let mut stop: Option<Ticket> = None;
    poll_fn(|cx| {
        if domain.is_over() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(guard) = locking.as_mut().poll(cx) {
            return Poll::Ready((!domain.is_over()).then_some(guard));
        }
        // Published before the flag is looked at: see `waiter`.
        let stop =
            stop.get_or_insert_with(|| Ticket::begin(Kind::Task, WAITING, &Note::new(What::Lock, domain, location)));
        if stop.set_waker(cx.waker()) && !stop.is_over() { Poll::Pending } else { Poll::Ready(None) }
    })
    .await
}
