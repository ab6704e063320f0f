//! A future that is a member: it runs as that member, gives its result, and ends the membership.
//!
//! # Pinned
//! `future` is pinned with the whole: it is never moved, but polled and dropped in its place. `Tracked` has no destructor of its own, and is `Unpin` only
//! where the future is.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::completion::Completer;
use crate::wait::waiter;

use super::spawn::{Ending, JoinError};

/// See the head of this file. Its parts are dropped in the order of the head of `spawn`.
pub(super) struct Tracked<T, F> {
    future: Option<F>,
    completer: Completer<T, JoinError>,
    ending: Option<Ending>,
}

impl<T, F> Tracked<T, F> {
    pub(super) fn new(future: F, completer: Completer<T, JoinError>, ending: Ending) -> Self {
        Tracked { future: Some(future), completer, ending: Some(ending) }
    }
}

impl<T, F: Future<Output = T>> Future for Tracked<T, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: "Pinned": of what is reached by this only `future` is pinned, and it is not moved below.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: "Pinned": it stays where it is until it is dropped there.
        let mut future = unsafe { Pin::new_unchecked(&mut this.future) };
        let (Some(running), Some(ending)) = (future.as_mut().as_pin_mut(), &mut this.ending) else {
            return Poll::Ready(());
        };
        let entered = ending.enter();
        let result = match catch_unwind(AssertUnwindSafe(|| running.poll(cx))) {
            Ok(Poll::Pending) => {
                drop(entered);
                if ending.is_first_poll() {
                    // Most of thousands of tasks were let go of as soon as they were started: what is kept for their results is given back now, and not
                    // when all of them end at once. (Later it is not looked at: that would cost more than it gives.)
                    this.completer.rest_if_unwanted();
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => {
                ending.has_panicked();
                Err(JoinError::Panicked(panic))
            }
        };
        future.set(None);
        drop(entered);
        let unwanted = this.completer.settle(result);
        // A result that nobody wants is dropped here, and its drop may panic as well.
        waiter::contain(|| drop(unwanted));
        // Now, and not when the executor drops this: it may keep a future that has ended.
        this.ending = None;
        Poll::Ready(())
    }
}
