//! Slots that a thread keeps for its next waits, so that a wait does not go through the arena.
//!
//! Linked by the slots' own links: a slot that nobody waits in is in no list.

#[cfg(not(unwedge_loom))]
mod kept {
    use std::cell::Cell;

    use crate::wait::waiter::{Waiter, waiters};

    /// The most that a thread keeps.
    const MOST: u32 = 16;

    /// What is said to be kept before a thread has kept anything, and again at its end.
    const NEVER: u32 = u32::MAX;

    struct Spare {
        first: Cell<Option<&'static Waiter>>,
        count: Cell<u32>,
    }

    /// Gives back what was kept when its thread ends.
    struct Guard;

    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = SPARE.try_with(|spare| {
                spare.count.set(NEVER);
                let mut next = spare.first.take();
                while let Some(waiter) = next {
                    next = waiter.next.get();
                    waiters().release(waiter.index());
                }
            });
        }
    }

    std::thread_local! {
        // Without a destructor of its own: then each access would look whether that has run.
        static SPARE: Spare = const { Spare { first: Cell::new(None), count: Cell::new(NEVER) } };
        static GUARD: Guard = const { Guard };
    }

    /// A slot that this thread has kept.
    #[inline]
    pub(in crate::wait) fn take() -> Option<&'static Waiter> {
        let kept = SPARE.try_with(|spare| {
            let waiter = spare.first.get()?;
            spare.first.set(waiter.next.get());
            spare.count.set(spare.count.get() - 1);
            Some(waiter)
        });
        kept.ok()?
    }

    /// Keeps a slot, or gives it to whoever needs one, if this thread has kept enough or is at its end.
    #[inline(always)]
    pub(in crate::wait) fn keep(waiter: &'static Waiter) {
        if !push(waiter) {
            keep_first(waiter);
        }
    }

    /// Keeps it, if there is room.
    #[inline(always)]
    fn push(waiter: &'static Waiter) -> bool {
        let kept = SPARE.try_with(|spare| {
            let room = spare.count.get() < MOST;
            if room {
                waiter.next.set(spare.first.get());
                spare.first.set(Some(waiter));
                spare.count.set(spare.count.get() + 1);
            }
            room
        });
        kept == Ok(true)
    }

    #[cold]
    fn keep_first(waiter: &'static Waiter) {
        // From now on there is somebody to give them back; at the thread's end, no more.
        if GUARD.try_with(|_| ()).is_ok() {
            let _ = SPARE.try_with(|spare| {
                if spare.count.get() == NEVER {
                    spare.count.set(0);
                }
            });
        }
        if !push(waiter) {
            waiters().release(waiter.index());
        }
    }
}

/// No slot is kept by a modelled thread.
#[cfg(unwedge_loom)]
mod kept {
    use crate::wait::waiter::{Waiter, waiters};

    pub(in crate::wait) fn take() -> Option<&'static Waiter> {
        None
    }

    pub(in crate::wait) fn keep(waiter: &'static Waiter) {
        waiters().release(waiter.index());
    }
}

pub(super) use kept::{keep, take};

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use std::panic::Location;

    use crate::sys;
    use crate::wait::ticket::{Note, Ticket};
    use crate::wait::waiter::{Kind, WAITING, What, waiters};

    /// What a thread has kept it gives back at its end, and what it has no room for at once: else each of these threads would cost the process 20 slots.
    #[test]
    fn slots_of_threads_that_end_are_given_back() {
        let begin = || Ticket::begin(Kind::Thread, WAITING, &Note::endless(What::Stop, Location::caller()));
        let before = waiters().count();
        for _ in 0..200 {
            let waits_at_once = move || drop((0..20).map(|_| begin()).collect::<Vec<_>>());
            let thread = sys::spawn_service("waits", waits_at_once).expect("a thread");
            assert!(sys::join_until(thread, sys::now() + std::time::Duration::from_secs(30)), "it ends");
        }
        let grown = waiters().count() - before;
        assert!(grown < 400, "{grown} slots more");
    }
}
