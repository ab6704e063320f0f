//! The deadline of every operation, where an [`Io`](super::Io) was built with one: what was not answered by then is told so.
//!
//! # Algorithm
//!
//! Every operation has the same limit, so their deadlines come in the order of their calls: a queue, and one thread that waits for the first.
//! An operation that was answered leaves an empty reference behind, which goes with its time, or when the queue would have to grow.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::backend::{guarded, start_thread};
use super::closing::WAY_OUT;
use crate::{
    stop::StartHook,
    sys::{JoinHandle, Mutex, Signal, Until, join_all_by, now},
};

/// What a deadline is for.
pub(super) trait Expires: Send + Sync {
    /// The time is up. Does nothing if the operation has ended.
    fn expire(&self);
}

pub(super) struct Deadlines {
    limit: Duration,
    state: Mutex<State>,
    /// The queue was empty and is not, or the end has come.
    changed: Signal,
}

/// All under the lock.
#[derive(Default)]
struct State {
    queue: VecDeque<(Instant, Weak<dyn Expires>)>,
    /// Nobody will ask for more: end when the queue is empty.
    retired: bool,
    /// End at once.
    closed: bool,
    /// Who waits for the end has no more time.
    hurried: bool,
    thread: Option<JoinHandle<()>>,
}

impl Deadlines {
    /// Starts the thread.
    pub(super) fn start(limit: Duration, name: &str, hook: Option<StartHook>) -> io::Result<Arc<Deadlines>> {
        let deadlines = Arc::new(Deadlines { limit, state: Mutex::new(State::default()), changed: Signal::default() });
        let own = Arc::clone(&deadlines);
        let thread = start_thread(name, hook, move || own.serve())?;
        deadlines.state.lock().thread = Some(thread);
        Ok(deadlines)
    }

    /// Tells an operation that begins now when its time is up.
    pub(super) fn add(&self, operation: Weak<dyn Expires>) {
        let Some(deadline) = now().checked_add(self.limit) else { return };
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        if state.queue.len() == state.queue.capacity() {
            state.queue.retain(|(_, operation)| operation.strong_count() > 0);
            // So that the next look comes after as many operations again.
            let room = state.queue.len().max(64);
            state.queue.reserve(room);
        }
        let first = state.queue.is_empty();
        state.queue.push_back((deadline, operation));
        drop(state);
        if first {
            self.changed.notify_one();
        }
    }

    /// Nobody will add anything. Does not wait for the thread.
    pub(super) fn retire(&self) {
        let mut state = self.state.lock();
        state.retired = true;
        state.queue.retain(|(_, operation)| operation.strong_count() > 0);
        drop(state);
        self.changed.notify_one();
    }

    /// Ends the thread; how many are late.
    pub(super) fn close(&self, deadline: Instant) -> usize {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue.clear();
        let thread = state.thread.take();
        drop(state);
        self.changed.notify_one();
        // It has nothing left to do, but what was closed before it may have used up the time.
        let until = Until::new(deadline.max(now() + WAY_OUT), || self.state.lock().hurried);
        join_all_by(thread, || until.at())
    }

    /// The deadline of a [`close`](Self::close) that runs, or is about to, is now.
    pub(super) fn hurry(&self) {
        self.state.lock().hurried = true;
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if state.closed || (state.retired && state.queue.is_empty()) {
                return;
            }
            state = match state.queue.front() {
                None => self.changed.wait(state),
                Some((deadline, _)) if *deadline > now() => {
                    let deadline = *deadline;
                    self.changed.wait_until(state, deadline)
                }
                Some(_) => {
                    let operation = state.queue.pop_front().and_then(|(_, operation)| operation.upgrade());
                    drop(state);
                    // Wakes who waits; and if it is the last reference, drops what the operation left: foreign code.
                    guarded(|| {
                        if let Some(operation) = operation {
                            operation.expire();
                        }
                    });
                    self.state.lock()
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::PlainU64;

    struct Counts(PlainU64);

    impl Expires for Counts {
        fn expire(&self) {
            self.0.fetch_add(1, crate::sys::Relaxed);
        }
    }

    fn deadlines(limit: Duration) -> Deadlines {
        Deadlines { limit, state: Mutex::new(State::default()), changed: Signal::default() }
    }

    fn add(deadlines: &Deadlines) -> Arc<Counts> {
        let operation = Arc::new(Counts(PlainU64::new(0)));
        let weak: Weak<Counts> = Arc::downgrade(&operation);
        deadlines.add(weak);
        operation
    }

    #[test]
    fn what_was_answered_goes_when_there_is_no_room() {
        let deadlines = deadlines(Duration::from_secs(3600));
        let kept: Vec<_> = (0..100).map(|_| add(&deadlines)).collect();
        (0..10_000).for_each(|_| drop(add(&deadlines)));
        let left = deadlines.state.lock().queue.len();
        assert!((100..1000).contains(&left), "{left}");
        deadlines.retire();
        assert_eq!(deadlines.state.lock().queue.len(), kept.len());
    }

    #[test]
    fn each_is_told_once() {
        let deadlines = deadlines(Duration::ZERO);
        let kept: Vec<_> = (0..1000).map(|_| add(&deadlines)).collect();
        deadlines.retire();
        deadlines.serve();
        assert!(kept.iter().all(|operation| operation.0.load(crate::sys::Relaxed) == 1));
    }
}
